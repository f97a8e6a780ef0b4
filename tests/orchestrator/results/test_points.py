"""Points: how they are called, and how far their metrics are to be trusted."""

import dataclasses
import math

import pytest

from orchestrator.config.choice import Choice
from orchestrator.results.points import Point, TrialState, deviation
from orchestrator.search import Status

LEVEL = Choice.contribution(0.1)


def trial(number):
    return TrialState(f"s-{number}", number, {}, Status.FINISHED, 1, None, 1.0, 1.0)


def point(number, accuracy, *, error=0.3, test=None, choice=LEVEL):
    return Point(trial(number), choice, {"accuracy": accuracy, "accuracy_error": error}, test)


@pytest.mark.parametrize(
    ("choice", "label"),
    [
        (Choice.activity(0.9, 0.0), "7/0.9/0"),
        (Choice.activity(1.0, 0.1), "7/1/0.1"),
        (Choice.activity(0.123456789, 1e-7), "7/0.123456789/1e-07"),
        (Choice.contribution(0.05), "7/0.05"),
        (Choice.contribution(0.1 + 0.2), "7/0.3"),  # twelve digits: what was typed, and not what a float makes of it
    ],
)
def test_a_label_is_the_trial_and_what_was_chosen(choice, label):
    assert point(7, 0.5, choice=choice).label == label


def test_a_point_of_one_training_is_its_own():
    alone = point(3, 0.5)
    assert (alone.singles, alone.own) == ((alone,), alone)
    assert alone.deviation("accuracy") is None
    assert alone.error("accuracy") == 0.3
    assert alone.error("cut_size") == 0.0  # of which no error was estimated


def test_a_mean_knows_its_seeds():
    seeds = (point(2, 0.5, test={"accuracy": 0.25}), point(3, 0.75, test={"accuracy": 0.75}))
    mean = dataclasses.replace(seeds[1], metrics={"accuracy": 0.625, "accuracy_error": 0.3}, over=seeds)
    assert mean.singles == seeds
    assert mean.own is seeds[1]
    assert mean.deviation("accuracy") == pytest.approx(0.25 / math.sqrt(2))
    assert mean.deviation("accuracy", on_test=True) == pytest.approx(0.5 / math.sqrt(2))
    assert mean.error("accuracy") == pytest.approx(math.hypot(0.3, 0.25 / 2))


def test_a_deviation_on_test_is_of_the_seeds_that_were_measured():
    seeds = (point(2, 0.5, test={"accuracy": 0.25}), point(3, 0.75))
    assert dataclasses.replace(seeds[0], over=seeds).deviation("accuracy", on_test=True) == 0.0


@pytest.mark.parametrize(("values", "expected"), [([], 0.0), ([3.0], 0.0), ([1.0, 3.0], math.sqrt(2)), ([2, 2, 2], 0)])
def test_the_deviation_is_that_of_the_population(values, expected):
    assert deviation(values) == pytest.approx(expected)
