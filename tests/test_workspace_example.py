"""The example that saves a workspace in W&B: what it would save, where its package is installed."""

import importlib.util
import json
from pathlib import Path

import pytest

from orchestrator import OpenSweep
from tests.orchestrator.results.test_sweep import made_sweep

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "wandb_workspace.py"


def test_its_panels_name_what_runs_hold():
    pytest.importorskip("wandb_workspaces")
    spec = importlib.util.spec_from_file_location("wandb_workspace", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    workspace = example.make_workspace(OpenSweep(made_sweep(), "/storage"), "team", "moda")
    text = json.dumps(workspace._to_model().model_dump(by_alias=True, exclude_none=True), default=str)
    for name in (
        '"xAxis": "trials", "metrics": ["hypervolume"]',
        '"config:coefficients.value.alpha"',
        '"summary:best/calibrated_reuse_accuracy"',
        '"targetKey": "best/calibrated_reuse_accuracy"',
        '"front_chart_table"',
    ):
        assert name in text
