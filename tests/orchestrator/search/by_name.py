"""Every searcher as a parameter of a test."""

import pytest

from orchestrator.search import SEARCHERS

# Optuna's Gaussian process takes seconds for what the others do at once.
OPTUNA_GP = pytest.param("optuna_gp", marks=pytest.mark.slow)
ALL = [OPTUNA_GP if name == "optuna_gp" else pytest.param(name) for name in sorted(SEARCHERS)]
