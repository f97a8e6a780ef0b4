"""A bias of each class from the training to the pulled set: fitted once on validation, then used as stored."""

import pytest
import torch

from moda_core import correct_pairs, draw_budget, export_modules, load_modules, open_modules, reuse_logits
from moda_core.choosing import mask_network
from orchestrator.cli.command_line import main
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import choose
from orchestrator.training.trial import Trial, load_trained, measure_on_test

NAME = "calibrated"
OVERRIDES = (
    *("tracking=none", f"sweep.name={NAME}", "model.widths=[8,M,8]", "model.hidden=[16]"),
    *("training.epochs=8", "method.gamma=1"),  # which learns well, so that rounding decides nothing
    *("evaluation.taus=[0.5,0.9]", "evaluation.thresholds=[0.0]", "evaluation.levels=[0.3,0.7,1.0]"),
    "evaluation.ranking=contribution",
)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("calibrated"))
    assert main(["train", *OVERRIDES, f"storage={folder}"]) == 0
    return folder


def sweep_of(storage):
    return read_sweep(DeltaStore(storage), NAME)


def trained_of(storage):
    sweep = sweep_of(storage)
    state = sweep.trials[0]
    config = sweep.config.for_trial(0, state.coefficients)
    trial = Trial(NAME, 0, state.coefficients, config, storage)
    data = load_data(config.data)
    return trial, data, load_trained(trial, data)


def biased_points(sweep):
    return [point for point in sweep.points if point.bias is not None]


def test_small_modules_keep_a_bias_and_are_better_with_it(storage):
    points = sweep_of(storage).points
    biased = biased_points(sweep_of(storage))
    assert biased
    for point in points:
        gain = point.metrics["calibrated_reuse_accuracy"] - point.metrics["reuse_accuracy"]
        assert gain > 0 if point.bias is not None else gain == 0
    assert all(len(point.bias) == 10 and abs(sum(point.bias)) < 1e-6 for point in biased)


def test_test_is_measured_with_the_stored_bias(storage):
    trial, data, trained = trained_of(storage)
    point = biased_points(sweep_of(storage))[0]
    measure_on_test(trial, data, [point.choice])
    found = next(one for one in sweep_of(storage).points if one.choice == point.choice)
    evaluation = trial.config.evaluation
    chosen = choose(trained, point.choice, evaluation)
    draw = draw_budget(data.test.labels, evaluation.test_pairs, num_classes=10, seed=evaluation.seed)
    logits = reuse_logits(trained.network, chosen.sites, chosen.units, data.test, draw)
    bias = torch.tensor(point.bias, dtype=torch.float64)
    assert found.test["calibrated_reuse_accuracy"] == draw.mean(correct_pairs(logits, draw, bias))[0]
    assert found.test["reuse_accuracy"] == draw.mean(correct_pairs(logits, draw))[0]
    assert found.bias == point.bias


def test_the_pulled_set_slice_and_export_have_the_stored_bias(storage, tmp_path, capfd):
    trial, _, trained = trained_of(storage)
    point = biased_points(sweep_of(storage))[0]
    reference = f"sweep:{NAME}/{point.label}"
    for name, classes in (("set", ()), ("slice", ("--classes", "7", "2"))):
        to = ["--to", str(tmp_path / name), f"storage={storage}"]
        assert main(["pull", reference, *classes, *to]) == 0, capfd.readouterr().err
    assert open_modules(tmp_path / "set").decomposition.bias_C.tolist() == list(point.bias)
    images = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    chosen = choose(trained, point.choice, trial.config.evaluation)
    sliced = load_modules(tmp_path / "slice", ["7", "2"])
    masked = mask_network(trained.network, chosen.sites, chosen.units.merge([7, 2]).keep, [7, 2])
    expected = masked(sliced.preprocess(images)) + torch.tensor([point.bias[7], point.bias[2]])
    torch.testing.assert_close(sliced(sliced.preprocess(images)), expected, rtol=1e-4, atol=1e-4)
    export_modules(sliced, tmp_path / "slice.onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "slice.onnx"))
    (exported,) = session.run(None, {session.get_inputs()[0].name: sliced.preprocess(images).numpy()})
    torch.testing.assert_close(torch.from_numpy(exported), expected.detach(), rtol=1e-3, atol=1e-4)


def test_choices_that_keep_the_same_units_have_the_same_row(storage):
    trial, _, trained = trained_of(storage)
    rows = {point.choice: point for point in sweep_of(storage).points}
    masks = {
        choice: b"".join(mask.numpy().tobytes() for mask in choose(trained, choice, trial.config.evaluation).units.keep)
        for choice in rows
    }
    for one in rows:
        for other in rows:
            if masks[one] == masks[other]:
                assert rows[one].metrics == {**rows[other].metrics, "floored": rows[one].metrics["floored"]}
                assert rows[one].bias == rows[other].bias


def test_it_is_trained_again_with_the_same_biases(storage, capfd):
    assert main(["rerun", f"{NAME}/0", f"storage={storage}"]) == 0, capfd.readouterr().out


def test_the_front_is_judged_by_it(storage):
    sweep = sweep_of(storage)
    assert list(sweep.config.search.objectives) == ["calibrated_reuse_accuracy", "cut_size"]
    assert sweep.reuse_metric == "calibrated_reuse_accuracy"
