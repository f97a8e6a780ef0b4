"""What a sweep says of its points: which count, which are on the front, which have names, and why there are none."""

import dataclasses

import pytest

from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.declarations import METRICS
from orchestrator.errors import ConfigError
from orchestrator.results.points import Point, TrialState
from orchestrator.results.reference_point import BaselineReference
from orchestrator.results.sweep import Sweep
from orchestrator.search import Status
from tests.objectives import LINEAR, linear

CONFIG = load_config(LINEAR)  # reuse accuracy of at least 0.5 up, module size of at most 1 down
STATES = ["finished", "finished", "failed", "diverged", "stopped", "started"]
TRIALS = [
    TrialState(f"s-{number}", number, {"alpha": 1.0 + number}, Status(status), 1, None, 2.0, 0.5)
    for number, status in enumerate(STATES)
]


def made_point(trial, choice, reuse, size, *, error=0.0, test=None, **metrics):
    values = {"calibrated_reuse_accuracy": reuse, "cut_size": size, "calibrated_reuse_accuracy_error": error, **metrics}
    return Point(TRIALS[trial], choice, values, test)


def by_tau(tau, threshold=0.0):
    return Choice.activity(tau, threshold)


POINTS = [
    made_point(0, by_tau(0.5), 0.95, 0.75),
    made_point(0, by_tau(0.9), 0.93, 0.5, error=0.01),
    made_point(0, by_tau(0.9, 0.1), 0.93, 0.5),  # equal to the one before
    made_point(0, Choice.contribution(0.1), 0.9, 0.25),
    made_point(1, by_tau(0.5), 0.9, 0.5),  # dominated
    made_point(1, Choice.contribution(0.25), 0.6, 0.125),
]


def made_sweep(points=POINTS, trials=TRIALS, **search):
    config = dataclasses.replace(CONFIG, search=dataclasses.replace(CONFIG.search, **search).completed(METRICS))
    return Sweep("s", config, list(trials), list(points))


def staged_point(stage, reuse, choice=None, **metrics):
    """A point of a later stage of trial 0."""
    return dataclasses.replace(made_point(0, choice or by_tau(0.9), reuse, 0.5, **metrics), stage=stage)


def labels(points):
    return [point.label for point in points]


def test_the_front_is_sorted_by_the_last_objective_and_of_equal_points_the_first_stays():
    assert labels(made_sweep().front) == ["1/0.25", "0/0.1", "0/0.9/0", "0/0.5/0"]
    turned = made_sweep(objectives=linear(cut_size="min", calibrated_reuse_accuracy="max"))
    assert labels(turned.front) == ["1/0.25", "0/0.1", "0/0.9/0", "0/0.5/0"]
    assert labels(made_sweep(objectives=linear(calibrated_reuse_accuracy="min", cut_size="max")).front) == [
        "1/0.25", "1/0.5/0", "0/0.5/0",
    ]  # fmt: skip


def test_the_hypervolume_is_the_area_up_to_the_reference_point():
    strips = [(0.95 - 0.5) * (1 - 0.75), (0.93 - 0.5) * 0.25, (0.9 - 0.5) * 0.25, (0.6 - 0.5) * 0.125]
    assert made_sweep().hypervolume == pytest.approx(sum(strips))
    nearer = made_sweep(reference={"calibrated_reuse_accuracy": 0.9, "cut_size": 0.75})
    assert nearer.hypervolume == pytest.approx((0.93 - 0.9) * (0.75 - 0.5))


@pytest.mark.parametrize(("error", "label"), [(0.0, "0/0.5/0"), (0.021, "0/0.9/0"), (0.06, "0/0.1")])
def test_best_is_the_smallest_within_a_standard_error_of_the_most_accurate(error, label):
    top = made_point(0, by_tau(0.5), 0.95, 0.75, error=error)
    assert made_sweep([top, *POINTS[1:]]).find("best").label == label


def test_knee_is_farthest_from_the_line_between_the_ends():
    """Of 0.35 in accuracy and 0.625 in size: 0/0.1 lacks 1/7 and 1/5, 0/0.9/0 lacks 2/35 and 3/5."""
    assert made_sweep().find("knee").label == "0/0.1"


def test_knee_is_at_most_five_points_below_the_whole_network():
    told = [
        made_point(0, by_tau(0.5), 0.95, 0.75, reuse_baseline=0.96),
        made_point(0, by_tau(0.9), 0.94, 0.3, reuse_baseline=0.96),
        made_point(0, by_tau(0.9, 0.1), 0.93, 0.25, reuse_baseline=0.96),
        made_point(0, by_tau(0.99), 0.7, 0.01, reuse_baseline=0.96),
    ]
    unknown = {"calibrated_reuse_accuracy": None, "cut_size": None}
    assert made_sweep(told, reference=unknown).find("knee").label == "0/0.9/0"
    # The whole network of a standard training is less accurate, so that all of them count.
    frozen = BaselineReference("s-0001", {"calibrated_reuse_accuracy": 0.65})
    known = dataclasses.replace(made_sweep(told, reference=unknown), frozen=frozen)
    assert known.find("knee").label == "0/0.9/0.1"
    # A stated value is for the hypervolume alone.
    assert made_sweep(told, reference={**unknown, "calibrated_reuse_accuracy": 0.94}).find("knee").label == "0/0.9/0.1"
    # None is as accurate as that: then of all.
    better = dataclasses.replace(known, frozen=BaselineReference("s-0001", {"calibrated_reuse_accuracy": 0.99}))
    assert better.find("knee").label == "0/0.9/0.1"


def test_roles_are_of_the_front_and_one_point_may_have_both():
    sweep = made_sweep()
    assert sweep.roles == {"0/0.5/0": ["best"], "0/0.1": ["knee"]}
    assert [sweep.mark(point) for point in sweep.front] == ["", "knee", "", "best"]
    alone = made_sweep(POINTS[:1])
    assert alone.roles == {"0/0.5/0": ["best", "knee"]}
    assert alone.mark(POINTS[0]) == "best, knee"
    assert made_sweep([]).roles == {}


def test_only_points_that_meet_every_constraint_count():
    sweep = made_sweep(constraints=("cut_size <= 0.5", "calibrated_reuse_accuracy >= 0.9"))
    assert labels(sweep.feasible) == ["0/0.9/0", "0/0.9/0.1", "0/0.1", "1/0.5/0"]
    assert labels(sweep.front) == ["0/0.1", "0/0.9/0"]
    assert (
        sweep.broken == "1 of 6 points violate cut_size <= 0.5, 1 of 6 points violate calibrated_reuse_accuracy >= 0.9"
    )
    assert made_sweep().broken == ""
    assert sweep.hypervolume == pytest.approx((0.93 - 0.5) * 0.5 + (0.9 - 0.5) * 0.25)


def test_why_there_is_no_front_and_what_to_do():
    assert made_sweep([]).why_no_front == "sweep 's' has no points yet; let a trial finish first"
    thrice = made_sweep(POINTS, repeats=3)
    assert thrice.candidates == []
    assert thrice.why_no_front == (
        "sweep 's' has no points yet; let all 3 trainings of a set of coefficients finish first"
    )
    strict = made_sweep(constraints=("calibrated_reuse_accuracy >= 0.99", "cut_size <= 0.1"))
    assert strict.front == []
    assert strict.why_no_front == (
        "sweep 's': no point meets search.constraints: 6 of 6 points violate calibrated_reuse_accuracy >= 0.99,"
        " 6 of 6 points violate cut_size <= 0.1 (calibrated_reuse_accuracy reaches 0.95, cut_size reaches 0.125);"
        " loosen them or train more trials"
    )


@pytest.mark.parametrize("name", ["best", "knee", "0/0.5/0"])
def test_nothing_is_found_in_a_sweep_without_points(name):
    with pytest.raises(ConfigError, match=r"^sweep 's' has no points yet; let a trial finish first$"):
        made_sweep([]).find(name)


def test_points_are_found_by_their_labels_on_the_front_or_not():
    sweep = made_sweep(constraints=("calibrated_reuse_accuracy >= 0.99",))  # which none meets
    for point in POINTS:
        assert sweep.find(point.label) is point
    with pytest.raises(ConfigError, match=r"^sweep 's': no point meets search.constraints"):
        sweep.find("best")
    remedy = (
        "^2/0.5/0: no such point; use best, knee, or trial/tau/threshold, trial/size/target or trial/level such as {}"
    )
    with pytest.raises(ConfigError, match=remedy.format("0/0.5/0")):
        sweep.find("2/0.5/0")
    with pytest.raises(ConfigError, match=remedy.format("1/0.25")):  # the first of the front
        made_sweep().find("2/0.5/0")


def test_a_mean_goes_before_a_training_of_the_same_name():
    pair = [made_point(0, by_tau(0.5), 0.9, 0.5), made_point(1, by_tau(0.5), 0.8, 0.3)]
    sweep = made_sweep(pair, repeats=2)
    (mean,) = sweep.candidates
    assert (mean.label, mean.over) == ("0/0.5/0", tuple(pair))
    assert mean.metrics == pytest.approx(
        {"calibrated_reuse_accuracy": 0.85, "cut_size": 0.4, "calibrated_reuse_accuracy_error": 0}
    )
    assert sweep.find("0/0.5/0") == sweep.find("best") == mean
    assert sweep.find("1/0.5/0") is pair[1]  # a training of its own can be had, too
    assert [sweep.set_of(trial) for trial in TRIALS] == [0, 0, 1, 1, 2, 2]


def test_trials_are_counted_by_how_they_stand():
    sweep = made_sweep()
    assert [sweep.count(status) for status in ("finished", "stopped", "proposed")] == [2, 1, 0]
    assert sweep.finished_text == "2 of 6 trials finished, 1 stopped early"
    assert made_sweep(trials=TRIALS[:4]).finished_text == "2 of 4 trials finished"
    assert [trial.number for trial in TRIALS if trial.is_over] == [0, 1, 3, 4]


def test_coefficients_are_those_of_all_trials():
    other = dataclasses.replace(TRIALS[1], coefficients={"learning_rate": 0.1, "alpha": 1.0})
    assert made_sweep(trials=[TRIALS[0], other]).coefficient_names == ["alpha", "learning_rate"]


def test_a_metric_that_was_not_measured_is_named():
    message = "^point 0/0.5/0 was measured before the metric flops existed; choose another metric$"
    for search in (
        {"objectives": linear(calibrated_reuse_accuracy="max", flops="min")},
        {"constraints": ("flops <= 0.5",)},
    ):
        sweep = made_sweep(**search)
        with pytest.raises(ConfigError, match=message):
            sweep.find("best")


def test_points_of_later_stages_are_on_no_front_unless_they_are_asked_for():
    refit, tuned = staged_point("refit", 0.94), staged_point("tuned", 0.99)
    plain = made_sweep()
    sweep = dataclasses.replace(plain, staged=[refit, tuned])
    assert labels(sweep.front) == labels(plain.front)
    assert (sweep.hypervolume, sweep.roles) == (plain.hypervolume, plain.roles)
    asked = sweep.with_stages(["tuned"])
    assert labels(asked.front) == ["1/0.25", "0/0.1", "0/0.9/0/tuned"]
    assert asked.find("best").label == "0/0.9/0/tuned"
    assert asked.hypervolume == pytest.approx(0.49 * (1 - 0.5) + 0.4 * 0.25 + 0.1 * 0.125)
    assert labels(sweep.with_stages(["refit", "tuned"]).points) == [*labels(POINTS), "0/0.9/0/refit", "0/0.9/0/tuned"]
    assert labels(sweep.with_stages([]).points) == labels(POINTS)
    with pytest.raises(ConfigError, match="--stages sharpened: not known; known: refit, tuned"):
        sweep.with_stages(["sharpened"])


def test_a_point_of_a_later_stage_has_a_name_and_no_module_set():
    sweep = dataclasses.replace(made_sweep(), staged=[staged_point("tuned", 0.99)])
    message = (
        "0/0.9/0/tuned is measured beside the front and has no module set, because its networks are made for each class"
        " subset anew; take 0/0.9/0, as it was cut"
    )
    with pytest.raises(ConfigError) as refused:
        sweep.find("0/0.9/0/tuned")
    assert str(refused.value) == message
    assert sweep.points[0].why_no_set == ""


def test_means_over_seeds_keep_stages_apart():
    pair = [made_point(trial, by_tau(0.9), 0.8 + trial / 10, 0.5) for trial in range(2)]
    tuned = [dataclasses.replace(point, metrics={**point.metrics, "cut_size": 0.25}, stage="tuned") for point in pair]
    sweep = dataclasses.replace(made_sweep(pair, repeats=2), staged=tuned).with_stages(["tuned"])
    assert [(point.stage, point.metrics["cut_size"]) for point in sweep.candidates] == [("cut", 0.5), ("tuned", 0.25)]
