"""``python -m orchestrator`` is ``moda``."""

from orchestrator.cli import main

raise SystemExit(main())
