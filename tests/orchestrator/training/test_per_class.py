"""Each class of a trial's best and knee, and of what is measured on test, against networks that are really cut."""

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from moda_core.cutting import cut_graph
from moda_core.graph import channel_graph
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.results.per_class import read_classes
from orchestrator.results.records import claim_sweep, read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.calibration import with_stored_bias
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import choose
from orchestrator.training.trial import Trial, load_trained, measure_on_test, run_trial

OVERRIDES = (
    "training.epochs=4",
    "evaluation.taus=[0.3,0.9]",
    "evaluation.thresholds=[0]",
    "evaluation.levels=[]",
    "evaluation.targets=[0.1]",
    "tracking=none",
    "sweep.name=s",
)
EVERY_CLASS = tuple(range(10))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, one_thread):
    root = str(tmp_path_factory.mktemp("storage"))
    config = load_config([*OVERRIDES, f"storage={root}"])
    store, data = DeltaStore(root), load_data(config.data)
    claim_sweep(store, config, prefix="x", now=datetime(2026, 1, 2, tzinfo=UTC))
    trial = Trial("s", 0, {"alpha": 1.0}, config, root)
    run_trial(trial, data, report=lambda _: None)
    return trial, data, store


def cut_networks(trial, data, point):
    """The whole network, and functions that cut one of some classes."""
    network = load_trained(trial, data)
    chosen = choose(network, point.choice, trial.config.evaluation)
    graph, state = channel_graph(network.network, chosen.sites, data.train[:2])
    units = with_stored_bias(chosen.units, point.bias)
    return network.network, lambda classes: cut_graph(graph, state, units, classes).eval()


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_trial_s_best_and_knee_have_the_confusion_of_the_cut_network_of_all_classes(trained):
    trial, data, store = trained
    sweep = read_sweep(store, "s")
    classes = read_classes(store, sweep)
    named = {sweep.find(role).label for role in ("best", "knee")}
    assert {point.label for point in sweep.points if classes.of(point, "validation")} == named
    point = sweep.find("best")
    results = classes.of(point, "validation")
    whole, cut = cut_networks(trial, data, point)
    labels = data.validation.labels
    with torch.no_grad():
        taken, by_whole = (network(data.validation[:]).argmax(1) for network in (cut(EVERY_CLASS), whole))
    expected = np.zeros((10, 10), dtype=int)
    np.add.at(expected, (labels.numpy(), taken.numpy()), 1)
    assert results.confusion_CC.tolist() == expected.tolist()
    assert results.images_C.tolist() == torch.bincount(labels).tolist()
    right = [float((by_whole == labels)[labels == label].double().mean()) for label in EVERY_CLASS]
    assert results.whole_accuracy_C == pytest.approx(right)
    sizes = [parameters(cut([label])) / parameters(whole) for label in EVERY_CLASS]
    assert results.cut_sizes_C == pytest.approx(sizes)
    assert results.cut_sizes_C.mean() == pytest.approx(point.metrics["cut_size"])
    assert list(results.class_names) == list(data.class_names)
    assert all(0 < units <= results.full_units for units in results.units_C)


def test_what_is_measured_on_test_has_its_classes_on_both_splits(trained):
    trial, data, store = trained
    choice = Choice.activity(0.3, 0.0)
    measure_on_test(trial, data, [choice])
    sweep = read_sweep(store, "s")
    classes = read_classes(store, sweep)
    point = next(point for point in sweep.points if point.choice == choice)
    assert classes.shown(point)[0] == "test"
    _, cut = cut_networks(trial, data, point)
    with torch.no_grad():
        is_right = cut(EVERY_CLASS)(data.test[:]).argmax(1) == data.test.labels
    results = classes.of(point, "test")
    assert results.confusion_CC.diagonal().tolist() == torch.bincount(data.test.labels[is_right], minlength=10).tolist()
    assert classes.of(point, "validation").images_C.sum() == len(data.validation)
    rows = store.read("classes", "s").num_rows
    measure_on_test(trial, data, [choice])  # again, as after an interruption: nothing is added
    assert store.read("classes", "s").num_rows == rows


def test_no_more_images_are_drawn_than_there_are_pairs_and_of_each_class_equally_many(trained):
    trial, data, store = trained
    evaluation = dataclasses.replace(trial.config.evaluation, test_pairs=100)
    fewer = dataclasses.replace(trial, config=dataclasses.replace(trial.config, evaluation=evaluation))
    point = read_sweep(store, "s").points[-1]
    assert point.test is None
    measure_on_test(fewer, data, [point.choice])
    rows = [row for row in store.read("classes", "s").to_pylist() if Choice.of_row(row) == point.choice]
    assert [row["images"] for row in rows if row["split"] == "test"] == [10] * 10
