"""Figures of a sweep: what their points are called, and the scales of their axes."""

import dataclasses
import math

import pytest

from orchestrator.config.composing import override_config
from orchestrator.results.records import canonical, claim_sweep, read_sweep, utc_now
from orchestrator.storage.delta import DeltaStore
from orchestrator.views.baselines import baseline_name, is_standard
from orchestrator.views.figures import background, hover_text
from orchestrator.views.pairs import objectives_figure
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


def test_axes_are_those_of_the_objectives_scales(tmp_path, configured):
    """Where it is logarithmic the mark of a point is placed by the logarithm, in both directions."""
    store = DeltaStore(str(tmp_path))
    claim_sweep(store, configured("sweep.name=s"), prefix="x", now=utc_now())
    store.append("trials", [event(0, "finished", 1)])
    store.append("points", [{**point(0, 0.5, 0.9, 0.04), "flops": 0.1}])
    sweep = read_sweep(store, "s")

    def drawn(*overrides):
        return objectives_figure(dataclasses.replace(sweep, config=override_config(sweep.config, overrides)))

    figure = drawn()
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", None)
    assert (figure.layout.xaxis.tickformat, figure.layout.yaxis.tickformat) == (".3~%", ".3~%")
    assert [(mark.x, mark.y) for mark in figure.layout.annotations] == [(pytest.approx(math.log10(0.04)), 0.9)]
    figure = drawn("search.objectives.cut_size.scale=linear")
    assert (figure.layout.xaxis.type, figure.layout.annotations[0].x) == (None, 0.04)
    figure = drawn("search.objectives.flops=min", "~search.objectives.calibrated_reuse_accuracy")
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "log")
    assert (figure.layout.annotations[0].x, figure.layout.annotations[0].y) == (
        pytest.approx(-1), pytest.approx(math.log10(0.04)),
    )  # fmt: skip
    three = drawn("search.objectives.flops={direction: min, scale: linear}")
    assert {three.layout[f"yaxis{place}"].type for place in ("", "2")} == {"log", None}


def test_a_point_says_how_many_times_fewer_parameters_its_modules_have(tmp_path, configured):
    store = DeltaStore(str(tmp_path))
    claim_sweep(store, configured("sweep.name=s"), prefix="x", now=utc_now())
    store.append("trials", [event(0, "finished", 1)])
    store.append("points", [point(0, 0.5, 0.9, 1 / 24), point(0, 0.9, 0.8, 0.0)])
    sweep = read_sweep(store, "s")
    texts = [hover_text(one, sweep.config.metrics) for one in sweep.points]
    assert "module size 4.2 % (24 times fewer parameters), overlap 0.0 %" in texts[0]
    assert "module size 0.0 %, overlap 0.0 %" in texts[1]
