"""The orchestrator: every side effect around ``moda_core``. Ray, tables, tracking, files, report, command line."""
