"""Means over the seeds of a set of coefficients, and which trial is which of them."""

import dataclasses
import io
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.config.identities import identity
from orchestrator.errors import ConfigError
from orchestrator.results.points import Point, TrialState
from orchestrator.results.records import canonical, claim_sweep, read_sweep, utc_now
from orchestrator.results.repeats import mean_points
from orchestrator.runs.proposals import Proposals
from orchestrator.search import Status, make_searcher
from orchestrator.search.problem import History, Problem
from orchestrator.storage.delta import DeltaStore
from orchestrator.views.figures import front_figure
from orchestrator.views.page import render_report
from orchestrator.views.report_data import report_data
from orchestrator.views.terminal import front_table
from tests.defaults import THREE_COEFFICIENTS
from tests.objectives import LINEAR
from tests.orchestrator.results.test_records import event, point

NAMES = ("calibrated_reuse_accuracy", "cut_size")
LEVEL = Choice.contribution(0.1)
VALUES = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=1, max_size=12)


def single(number, reuse, size, choice=LEVEL, test=None):
    trial = TrialState(f"s-{number}", number, {"alpha": 1.0}, Status.FINISHED, 1, None, 1.0, 1.0)
    metrics = {"calibrated_reuse_accuracy": reuse, "cut_size": size, "calibrated_reuse_accuracy_error": 0.03}
    return Point(trial, choice, metrics, test)


@given(VALUES, st.integers(1, 4), st.randoms(use_true_random=False))
def test_means_are_those_of_complete_sets_in_any_order(values, repeats, chance: random.Random):
    points = [single(number, *pair) for number, pair in enumerate(values)]
    chance.shuffle(points)
    means = sorted(mean_points(points, repeats, NAMES), key=lambda one: one.trial.number)
    assert len(means) == len(values) // repeats
    for place, mean in enumerate(means):
        mine = values[place * repeats : (place + 1) * repeats]
        assert place * repeats <= mean.trial.number < (place + 1) * repeats
        for index, name in enumerate(NAMES):
            column = [pair[index] for pair in mine]
            assert mean.metrics[name] == pytest.approx(statistics.mean(column))
            spread = statistics.stdev(column) if repeats > 1 else 0.0
            assert mean.deviation(name) == pytest.approx(spread)
            shared = 0.03 if name == "calibrated_reuse_accuracy" else 0.0
            assert mean.error(name) ** 2 == pytest.approx(shared**2 + spread**2 / repeats)
        assert mean.own.metrics == single(0, *values[mean.trial.number]).metrics


def test_the_trial_is_the_one_nearest_to_the_mean_and_of_two_the_first():
    group = [single(3, 0.9, 0.30), single(4, 0.8, 0.21), single(5, 0.7, 0.10)]
    assert [one.trial.number for one in mean_points(group, 3, NAMES)] == [4]
    pair = [single(3, 0.77, 0.1), single(2, 0.91, 0.1)]
    assert [one.trial.number for one in mean_points(pair, 2, NAMES)] == [2]


def test_choices_stay_apart_and_test_counts_once_all_seeds_have_it():
    other = Choice.activity(0.5, 0.0)
    tested = [single(0, 0.9, 0.1, test={"accuracy": 0.8}), single(1, 0.9, 0.1, test={"accuracy": 0.9})]
    half = [single(0, 0.9, 0.2, other, test={"accuracy": 0.8}), single(1, 0.9, 0.2, other)]
    whole, part = mean_points([*tested, *half, single(2, 0.9, 0.1)], 2, NAMES)
    assert whole.test == pytest.approx({"accuracy": 0.85})
    assert whole.deviation("accuracy", on_test=True) == pytest.approx(0.1 / 2**0.5)
    assert (part.choice, part.test) == (other, None)


def test_seeds_follow_from_the_number_and_once_is_as_before(configured):
    config = configured("search.repeats=3", "training.seed=7")
    assert [config.for_trial(number, {"alpha": 2.0}).training.seed for number in range(5)] == [7, 8, 9, 7, 8]
    assert config.for_trial(4, {"alpha": 2.0}).method.coefficients["alpha"] == 2.0
    assert "repeats" not in identity(load_config([]))
    assert identity(load_config(["search.repeats=1"])) == identity(load_config([]))
    assert identity(config) != identity(configured("training.seed=7"))
    with pytest.raises(ConfigError, match=r"search\.repeats=0: must be at least 1"):
        configured("search.repeats=0")


@pytest.fixture
def sweep(tmp_path, configured):
    """Two sets, each trained twice: single points of trial 3 and 0 would lead, the means of trials 0 and 1 do."""
    store = DeltaStore(str(tmp_path))
    claim_sweep(store, configured("sweep.name=s", "search.repeats=2", *LINEAR), prefix="x", now=utc_now())
    rows = [{**event(n, Status.FINISHED, 1), "coefficients": canonical({"alpha": n // 2})} for n in range(5)]
    store.append("trials", rows)
    store.append("points", [point(0, 0.5, 0.98, 0.2), point(1, 0.5, 0.94, 0.2), point(0, 0.9, 0.99, 0.3)])
    store.append("points", [point(2, 0.5, 0.60, 0.2), point(3, 0.5, 1.0, 0.2), point(4, 0.5, 1.0, 0.1)])
    store.append("points", [point(0, 0.5, 0.9, 0.2, "test")])
    return read_sweep(store, "s")


def test_the_front_is_made_of_means(sweep):
    (front,) = sweep.front
    assert (front.label, front.metrics["calibrated_reuse_accuracy"]) == ("0/0.5/0", pytest.approx(0.96))
    assert front.test is None
    assert sweep.find("best") == sweep.find("0/0.5/0") == front
    assert sweep.find("best").own.metrics["calibrated_reuse_accuracy"] == 0.98
    assert sweep.find("3/0.5/0").metrics["calibrated_reuse_accuracy"] == 1.0
    assert sweep.hypervolume == pytest.approx((0.96 - 0.5) * (1 - 0.2))


def test_deviations_are_shown(sweep):
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(front_table(sweep))
    text = console.export_text()
    assert "96.0±2.8" in text
    assert "over the 2 seeds" in text
    figure = front_figure(sweep)
    (front,) = (one for one in figure.data if one.name == "front (validation)")
    assert front.error_y.array[0] == pytest.approx(0.02 * 2**0.5)
    assert "trials 0, 1" in front.text[0]
    page = render_report(sweep)
    assert "96.0±2.8" in page
    assert "mean ± deviation of trials 0, 1" in report_data(sweep, {})["points"][0]["notes"]
    assert "<td>1</td>" in page  # the seed of trial 1


def test_without_a_complete_set_there_are_no_points(sweep):
    alone = dataclasses.replace(sweep, points=[one for one in sweep.points if one.trial.number in (1, 2, 4)])
    assert alone.front == []
    with pytest.raises(ConfigError, match="let all 2 trainings of a set of coefficients finish first"):
        alone.find("best")


def test_every_set_is_proposed_as_often_as_it_is_trained(tmp_path, configured):
    store = DeltaStore(str(tmp_path))
    config = configured(*THREE_COEFFICIENTS, "search=sobol", "sweep.name=s", "search.repeats=2", "sweep.trials=7")
    claim_sweep(store, config, prefix="x", now=utc_now())
    first = Proposals(config, "s", store)
    given_first = [first.next() for _ in range(5)]
    second = Proposals(config, "s", store)  # a fresh process, which knows the tables only
    assert [second.next() for _ in range(5)] == given_first
    rest = [second.next() for _ in range(2)]
    numbers, coefficients = zip(*given_first, *rest, strict=True)
    assert numbers == tuple(range(7))
    space = {key: vars(one) for key, one in sorted(config.search.space.items())}
    sobol = make_searcher("sobol", Problem(space, {}, {}, seed=config.search.seed))
    expected = [*map(dict, config.search.baselines), *(sobol.propose(History(), [], number) for number in range(2))]
    assert list(coefficients) == [expected[number // 2] for number in range(7)]
