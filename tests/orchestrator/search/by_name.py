"""Every searcher as a parameter of a test."""

import pytest

from orchestrator.search import SEARCHERS

# Optuna's Gaussian process takes seconds for what the others do at once.
ALL = [
    pytest.param(name, marks=pytest.mark.slow) if name == "optuna_gp" else pytest.param(name)
    for name in sorted(SEARCHERS)
]
