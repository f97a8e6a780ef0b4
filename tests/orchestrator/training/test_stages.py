"""Refitted and tuned modules in a trial: what is measured, on which subsets, and where it is recorded."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from moda_core import compose, draw_pairs, random_units, refit_network, reuse_by_composing
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.results.records import claim_sweep, read_sweep, utc_now
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.batches import Steps, Workers
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import choose
from orchestrator.training.stage_costs import stages_lines
from orchestrator.training.stages import check_staged, stage_subsets
from orchestrator.training.trial import Trial, load_trained, run_trial
from orchestrator.training.tuning import images_of, tune
from tests.integration.sweeps import call_moda

SMALL = (
    *("training.epochs=2", "model.widths=[8,M,8]", "model.hidden=[8]", "data.limit=300", "tracking=none"),
    *("evaluation.taus=[0.9]", "evaluation.thresholds=[0.0]", "evaluation.targets=[0.1,0.3]"),
    *("evaluation.stages=[refit,tuned]", "evaluation.tuned_epochs=2", "sweep.name=s"),
)
CHOICE = Choice.size(0.3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished trial with stages of its best choice and of one by name, its data and its tables."""
    root = tmp_path_factory.mktemp("stages")
    config = load_config([*SMALL, "evaluation.staged=[best,size/0.3]", "sweep.trials=1", f"storage={root}"])
    store, data = DeltaStore(str(root)), load_data(config.data)
    claim_sweep(store, config, prefix="x", now=utc_now())
    trial = Trial("s", 0, {"alpha": 1.0}, config, str(root))
    run_trial(trial, data, report=lambda _: None)
    return trial, data, store


def row_of(rows, stage, split, choice=CHOICE):
    (row,) = (
        row for row in rows if (row["stage"], row["split"], row["target"]) == (stage, split, choice.values["target"])
    )
    return row


def test_subsets_are_two_of_two_sizes_and_all_classes():
    drawn = stage_subsets(10, 0)
    assert [len(subset) for subset in drawn] == [2, 2, 5, 5, 10]
    assert drawn == stage_subsets(10, 0) != stage_subsets(10, 1)
    assert [len(subset) for subset in stage_subsets(5, 0)] == [2, 2, 5]
    assert stage_subsets(2, 0) == [(0, 1)]


def test_what_stages_will_cost_is_said_before_training():
    config = load_config([*SMALL, "evaluation.staged=[best,knee,size/0.3]", "evaluation.refit_images=50"])
    # Subsets of 2, 2, 5, 5 and 10 of 10 classes hold 2.4 times the images; 3 choices, as many random, 2 epochs each.
    assert stages_lines(config, 10) == [
        "stages after cutting: up to 30 modules of each trial (3 choices, 5 class subsets, each beside random units)"
        " are refitted on up to 50 images and tuned for 2 epochs; tuning them shows about as many images as 29 epochs"
        " of training, and a trial has 2"
    ]
    config = load_config([*SMALL, "evaluation.stages=[refit]", "evaluation.staged=[best]"])
    assert stages_lines(config, 2) == [
        "stages after cutting: up to 2 modules of each trial (1 choice, 1 class subset, each beside random units) are"
        " refitted on up to 1000 images"
    ]
    assert stages_lines(load_config(["data=digits"]), 10) == []


def test_points_of_later_stages_stand_beside_the_surface_and_change_nothing_of_it(trained):
    _, _, store = trained
    sweep = read_sweep(store, "s")
    best = sweep.find("best")
    labels = [f"0/{choice.name}/{stage}" for choice in {best.choice, CHOICE} for stage in ("refit", "tuned")]
    assert sorted(point.label for point in sweep.staged) == sorted(labels)
    assert all(point.test is not None for point in sweep.staged)
    assert [point.label for point in sweep.points] == ["0/0.9/0", "0/size/0.1", "0/size/0.3"]
    assert {point.stage for point in sweep.front} == {"cut"}
    with pytest.raises(ConfigError, match=r"0/size/0\.3/tuned is measured beside the front .* take 0/size/0\.3, as"):
        sweep.find("0/size/0.3/tuned")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_refit_is_that_of_the_core_on_every_subset_and_so_is_its_control(trained, split):
    trial, data, store = trained
    row = row_of(store.read("points", "s").to_pylist(), "refit", split)
    loaded, images = load_trained(trial, data), getattr(data, split)
    chosen = choose(loaded, CHOICE, trial.config.evaluation)
    subsets = stage_subsets(10, 0)
    draw = draw_pairs(images.labels, subsets, num_classes=10)
    seeds = {subset: place for place, subset in enumerate(subsets)}

    def units_of(subset, is_control):
        return random_units(chosen.units, subset, seed=seeds[subset]) if is_control else chosen.units

    def refitted(subset, is_control):
        index = [place for place, label in enumerate(data.train.labels.tolist()) if label in subset]
        shown = data.train[torch.tensor(index)]
        return refit_network(loaded.network, chosen.sites, units_of(subset, is_control), subset, [shown])

    def cut(subset, is_control):
        return compose(loaded.network, chosen.sites, units_of(subset, is_control), subset, data.train[:1])

    for column, make, is_control in (
        ("reuse_accuracy", refitted, False),
        ("control_accuracy", refitted, True),
        ("cut_accuracy", cut, False),
        ("control_cut_accuracy", cut, True),
    ):
        found = reuse_by_composing(lambda ids, make=make, control=is_control: make(tuple(ids), control), images, draw)
        assert row[column] == pytest.approx(found.mean, abs=2e-3), column  # images in another order round differently
    assert dict(row["accuracy_by_size"]).keys() == {"2", "5", "10"}
    by_size = dict(row["accuracy_by_size"]).values()
    assert row["reuse_accuracy"] == pytest.approx(sum(by_size) / 3)
    assert (row["reuse_subsets"], row["reuse_images"]) == (5, len(images))

    def size(network):
        return sum(parameter.numel() for parameter in network.parameters())

    sizes = [size(cut(subset, False)) / size(loaded.network) for subset in subsets]
    expected = (sum(sizes[:2]) / 2 + sum(sizes[2:4]) / 2 + sizes[4]) / 3
    assert row["composed_size"] == pytest.approx(expected)
    surface = next(point for point in read_sweep(store, "s").points if point.choice == CHOICE)
    assert row["cut_size"] == surface.metrics["cut_size"]
    assert (row["bias"], row["calibrated_reuse_accuracy"]) == (None, row["reuse_accuracy"])


def test_a_tuning_is_sgd_as_published(trained):
    trial, data, _ = trained
    loaded = load_trained(trial, data)
    chosen = choose(loaded, CHOICE, trial.config.evaluation)
    epochs, subset = trial.config.evaluation.tuned_epochs, (7, 2)
    images = images_of(data.train, subset)
    assert images.labels.tolist() == [subset.index(label) for label in data.train.labels.tolist() if label in subset]
    tuned, plain = (compose(loaded.network, chosen.sites, chosen.units, subset, data.train[:1]) for _ in range(2))
    tune(tuned, images, trial.config)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2 * epochs)
    drawn = dataclasses.replace(trial.config.training, epochs=2 * epochs, batch_size=128)
    plain.train()
    for epoch in range(epochs):
        batches = list(Steps(len(images), drawn, Workers(), each=0).epoch(epoch))
        assert len(batches) == math.ceil(len(images) / 128)
        for batch in batches:
            optimizer.zero_grad()
            F.cross_entropy(plain(images[batch.mine]), images.labels[batch.mine]).backward()
            optimizer.step()
        schedule.step()
    assert not tuned.training
    shown = data.test[:50]
    assert torch.allclose(tuned(shown), plain.eval()(shown), atol=1e-5)
    before = compose(loaded.network, chosen.sites, chosen.units, subset, data.train[:1])
    assert not torch.allclose(tuned(shown), before(shown), atol=1e-2)


def test_a_tuning_that_diverges_ends_there_and_its_module_is_given_back(trained):
    trial, data, _ = trained
    loaded = load_trained(trial, data)
    chosen = choose(loaded, CHOICE, trial.config.evaluation)
    module = compose(loaded.network, chosen.sites, chosen.units, (7, 2), data.train[:1])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(math.nan)
    assert tune(module, images_of(data.train, (7, 2)), trial.config) is module
    assert module(data.test[:5]).isnan().all()


def test_without_validation_images_choices_by_name_are_measured_on_test(tmp_path):
    named = (*SMALL, "data.validation_fraction=0", "evaluation.staged=[best,size/0.1]", "evaluation.stages=[refit]")
    done = call_moda("train", *named, storage=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "up to 20 modules of each trial (2 choices, 5 class subsets, each beside random units)" in done.stdout
    assert "refitted and tuned modules, on test" in done.stdout
    sweep = read_sweep(DeltaStore(str(tmp_path)), "s")
    assert [(point.label, point.metrics) for point in sweep.staged] == [("0/size/0.1/refit", {})]


def test_a_training_with_stages_is_shown_and_comes_out_the_same_again(trained):
    trial, _, _ = trained
    front = call_moda("front", "s", storage=trial.root)
    assert front.returncode == 0, front.stderr
    assert "refitted and tuned modules, on validation" in front.stdout
    again = call_moda("rerun", "s/0", storage=trial.root)
    assert again.returncode == 0, again.stdout
    assert "0 values differ; the weights are the same" in again.stdout


def test_a_name_that_no_choice_has_is_refused_before_training():
    config = load_config([*SMALL, "evaluation.staged=[size/0.2]", "storage=nowhere"])
    with pytest.raises(
        ConfigError, match=r"evaluation\.staged='size/0\.2' is not a choice .* such as 0\.9/0 or size/0"
    ):
        check_staged(config.evaluation)
