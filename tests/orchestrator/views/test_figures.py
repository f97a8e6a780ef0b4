"""Figures of a sweep: what their points are called."""

import pytest

from orchestrator.results.records import canonical, claim_sweep, read_sweep, utc_now
from orchestrator.storage.delta import DeltaStore
from orchestrator.views.figures import background, baseline_name, is_standard
from tests.orchestrator.results.test_records import event, point

ZEROS = {"alpha": 0.0, "beta": 0.0, "gamma": 0.0}


@pytest.mark.parametrize(
    ("overrides", "coefficients", "name"),
    [
        ([], ZEROS, "standard training"),
        ([], {**ZEROS, "learning_rate": 0.05}, "standard training, learning_rate 0.05"),
        ([], {"learning_rate": 0.05}, "baseline learning_rate 0.05"),
        ([], {"alpha": 0.0, "beta": 0.0}, "baseline alpha 0 beta 0"),
        ([], {"alpha": 1.0, "beta": 0.0, "gamma": 0.0}, "baseline alpha 1 beta 0 gamma 0"),
        ([], {"optimizer": "adamw"}, "baseline optimizer adamw"),
        ([], {}, "baseline"),
        (["method.alpha=0", "method.beta=0"], {"gamma": 0.0}, "standard training"),
        (["method=standard"], {"learning_rate": 0.05}, "standard training, learning_rate 0.05"),
    ],
)
def test_only_the_cross_entropy_alone_is_standard_training(configured, overrides, coefficients, name):
    config = configured(*overrides)
    assert baseline_name(config, coefficients) == name
    assert is_standard(config, coefficients) == name.startswith("standard training")


def test_baselines_are_drawn_under_their_names(tmp_path, configured):
    store = DeltaStore(str(tmp_path))
    baselines = [ZEROS, {"learning_rate": 0.05}]
    claim_sweep(
        store,
        configured("sweep.name=s", "search.baselines=[{alpha: 0, beta: 0, gamma: 0}, {learning_rate: 0.05}]"),
        prefix="x",
        now=utc_now(),
    )
    rows = [{**event(number, "finished", 1), "coefficients": canonical(one)} for number, one in enumerate(baselines)]
    store.append("trials", rows)
    store.append("points", [point(0, 0.5, 0.9, 0.1), point(1, 0.5, 0.8, 0.2)])
    drawn = {name: (points, marker) for points, name, marker in background(read_sweep(store, "s"))}
    for number, (name, symbol) in enumerate(
        [("standard training", "x"), ("baseline learning_rate 0.05", "diamond-open")]
    ):
        points, marker = drawn[name]
        assert [one.trial.number for one in points] == [number]
        assert marker["symbol"] == symbol
