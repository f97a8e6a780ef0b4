"""What is read of the classes of a point: which is worst, what it is taken for, and means over seeds."""

import dataclasses

import pytest

from orchestrator.config.choice import Choice
from orchestrator.results.per_class import SweepClasses
from orchestrator.views.per_class import class_sections, worst_class_text
from tests.orchestrator.results.test_sweep import TRIALS, by_tau, made_point, made_sweep

POINT = made_point(0, by_tau(0.5), 0.95, 0.75)


def class_rows(trial, split, *taken_for, choice=POINT.choice, whole=1.0, names=("cat", "dog", "cow")):
    return [
        {
            "trial_id": TRIALS[trial].trial_id,
            **choice.columns,
            "split": split,
            "class_id": label,
            "class_name": name,
            "images": sum(counts),
            "whole_accuracy": whole,
            "taken_for": list(counts),
            "cut_size": 0.1 * (1 + label),
            "units": 3 + label,
            "full_units": 20,
        }
        for label, (name, counts) in enumerate(zip(names, taken_for, strict=True))
    ]


MEASURED = class_rows(0, "validation", (9, 1, 0), (4, 5, 1), (0, 0, 10))


def test_the_worst_class_is_named_with_its_error_and_what_it_is_taken_for():
    split, results = SweepClasses(reversed(MEASURED)).shown(POINT)
    assert (split, results.class_names[results.worst]) == ("validation", "dog")
    assert results.accuracy_C.tolist() == [0.9, 0.5, 1.0]
    assert results.errors_C.tolist() == pytest.approx([0.1, 0.5 / 10**0.5, 0.1])  # at least 1 / images
    assert [results.mistaken_for(label) for label in range(3)] == [1, 0, None]
    assert worst_class_text(split, results) == (
        "Class dog is worst: the module of all classes gets 50.0±15.8 % of its 10 validation images right (the whole"
        " network 100.0 %), and takes 40.0 % of them for cat."
    )


def test_test_images_come_first_and_what_was_not_measured_is_none():
    on_test = class_rows(0, "test", (5, 5, 0), (0, 10, 0), (0, 0, 10))
    classes = SweepClasses([*MEASURED, *on_test])
    split, results = classes.shown(POINT)
    assert (split, results.worst) == ("test", 0)
    assert classes.of(POINT, "validation").worst == 1
    for other in (made_point(1, POINT.choice, 0.5, 0.5), made_point(0, Choice.contribution(0.1), 0.5, 0.5)):
        assert classes.shown(other) is None


def test_a_mean_over_seeds_has_the_images_of_all_and_means_of_the_rest():
    seeds = [made_point(trial, POINT.choice, 0.9, 0.5) for trial in (0, 1)]
    mean = dataclasses.replace(POINT, over=tuple(seeds))
    second = class_rows(1, "validation", (5, 5, 0), (0, 10, 0), (0, 0, 10), whole=0.5)
    results = SweepClasses([*MEASURED, *second]).of(mean, "validation")
    assert results.confusion_CC.tolist() == [[14, 6, 0], [4, 15, 1], [0, 0, 20]]
    assert results.whole_accuracy_C.tolist() == [0.75] * 3
    assert results.cut_sizes_C.tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_the_report_s_section_has_a_row_and_the_shares_of_mistakes_of_each_class():
    sweep = made_sweep([POINT])
    (section,) = class_sections(sweep, SweepClasses(MEASURED))
    assert (section["point"], section["role"]) == ("0/0.5/0", "best, knee")
    assert section["head"] == ["class", "accuracy %", "whole network %", "module size %", "units (of 20)"]
    assert section["rows"][1].cells == ["dog", "50.0±15.8", "100.0", "20.0", "4"]
    assert section["lines"][1] == (
        "The largest module is that of class cow: 30.0 % of the parameters, where the mean is 20.0 %."
    )
    cells = section["confusion"][1]["cells"]
    assert [(cell["count"], cell["text"], cell["shade"], cell["kind"]) for cell in cells] == [
        (4, "40", 100, "wrong"),
        (5, "50", 50, "right"),
        (1, "10", 25, "wrong"),
    ]
    assert cells[2]["title"] == "1 of 10 images of dog are taken for cow"
    assert list(class_sections(sweep, SweepClasses())) == []
