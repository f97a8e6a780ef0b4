"""A sweep says before it trains anything, and once, what its stages will cost."""

import pytest

from orchestrator.config.composing import load_config
from orchestrator.runs.sweep import run_sweep

SWEEP = (
    "search.space.method={choices: [moda, standard]}",
    *("model.widths=[8,M,8]", "model.hidden=[8]", "data.limit=300", "tracking=none", "sweep.trials=2"),
    *("evaluation.stages=[tuned]", "evaluation.staged=[best]", "evaluation.tuned_epochs=5"),
)


class Stopped(Exception):
    """The sweep went on to what a person sees of its trials."""


class Lines:
    """Progress that keeps the lines, and stops a sweep before its first trial."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)

    def prepare(self, what):
        pass

    def close(self):
        pass

    def begin(self, *_, **__):
        raise Stopped


def test_what_stages_cost_is_said_once_for_all_methods(tmp_path, monkeypatch):
    progress = Lines()
    monkeypatch.setattr("orchestrator.runs.sweep.connected", progress.begin)
    with pytest.raises(Stopped):
        run_sweep(load_config([*SWEEP, f"storage={tmp_path}"]), progress)
    assert progress.said[2:] == [  # after what the data is
        "stages after cutting: up to 10 modules of each trial (1 choice, 5 class subsets, each beside random units) are"
        " tuned for 5 epochs; tuning them shows about as many images as 24 epochs of training, and a trial has 30"
    ]
