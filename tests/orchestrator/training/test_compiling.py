"""Recorded training is the training, and compiled training is it up to rounding; what cannot be done so is trained
without."""

import dataclasses
import logging

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from moda_core import build_model
from moda_core.methods import Moda, Mwt, Nemo, Standard
from orchestrator.config.training_section import TrainingConfig
from orchestrator.training.batch_losses import BatchLosses
from orchestrator.training.batches import Steps, Workers
from orchestrator.training.compiling import compiled, forget_compiled
from orchestrator.training.data.image_set import ImageSet
from orchestrator.training.loop import read_checkpoint, train
from orchestrator.training.preparing import prepare_training

CONFIG = TrainingConfig(epochs=3, batch_size=16, learning_rate=0.05, compile="none", precision="float32")
WARMING = Moda(compactness="sqrt_size", gamma_warmup=0.5)
SLOW = [pytest.param(method, marks=pytest.mark.slow) for method in (Standard(), WARMING, Nemo())]


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.randint(0, 5, (40,), generator=generator), (0.5,) * 3, (0.3,) * 3)


@pytest.fixture(autouse=True)
def forgetful():
    yield
    forget_compiled()


def make(seed=0):
    torch.manual_seed(seed)
    network = build_model("vgg", in_channels=3, image_size=16, num_classes=5, widths=[4, "M", 4], hidden=[6])
    return nn.Sequential(network, nn.ReLU(), nn.Linear(5, 5))


def trained(network, images, compiling, resume=None, method=Moda()):  # noqa: B008
    config = dataclasses.replace(CONFIG, compile=compiling)
    return list(train(network, images, config, method, num_classes=5, crop=1, flip=True, resume=resume))


def are_equal(network, other):
    state = network.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in other.state_dict().items())


def warning_of_plain_training(images, compiling, caplog):
    """What is said where a training runs without what was asked for; it is the plain training, to the bit."""
    plain, other = make(), make()
    expected = trained(plain, images, "none")[-1].row
    with caplog.at_level(logging.WARNING, "moda"):
        row = trained(other, images, compiling)[-1].row
    assert row["loss"] == expected["loss"]
    assert are_equal(plain, other)
    (record,) = [record for record in caplog.records if record.name == "moda"]
    return record.getMessage()


def losses_of(images, method):
    model, _ = prepare_training(make(), images, CONFIG, method, torch.float32)
    return BatchLosses(model, images, method, num_classes=5, crop=1, flip=True)


@pytest.mark.parametrize("method", [Moda(), Mwt(), *SLOW])
def test_a_step_of_every_method_is_one_graph_of_whole_batches(images, method):
    """From the images to the losses; that of the units, too. The last batch, of 8, is not compiled for."""
    losses = losses_of(images, method)
    counter = CompileCounterWithBackend("aot_eager")
    compute = compiled(losses, "kernels")
    compute.compiled = torch.compile(losses.of_images, backend=counter, fullgraph=True, dynamic=False)
    batches = [batch for epoch in range(2) for batch in Steps(40, CONFIG, Workers(), each=2).epoch(epoch)]
    assert [batch.size for batch in batches] == [16, 16, 8] * 2
    state = {name: tensor.clone() for name, tensor in losses.model.state_dict().items()}
    shown = [compute(batch)[1] for batch in batches]
    assert counter.frame_count == 1
    losses.model.load_state_dict(state)
    torch.testing.assert_close(shown, [losses(batch)[1] for batch in batches])


@pytest.mark.slow  # PyTorch compiles C++
def test_compiled_training_is_the_training(images):
    plain, fast, resumed = make(), make(), make(seed=9)
    expected = trained(plain, images, "none")[-1].rows
    epochs = trained(fast, images, "kernels")
    names = ("loss", "cross_entropy", "affinity", "dispersion", "compactness", "training_accuracy", "learning_rate")
    for row, other in zip(epochs[-1].rows, expected, strict=True):
        assert [row[name] for name in names] == pytest.approx([other[name] for name in names], rel=1e-4)
    state = fast.state_dict()
    assert list(state) == list(plain.state_dict())
    torch.testing.assert_close(state, plain.state_dict(), rtol=1e-3, atol=1e-5)

    first = next(
        train(make(), images, dataclasses.replace(CONFIG, compile="kernels"), Moda(), num_classes=5, crop=1, flip=True)
    )
    checkpoint = read_checkpoint(first.checkpoint(), torch.device("cpu"))
    assert list(checkpoint.network) == list(state)
    later = trained(resumed, images, "kernels", checkpoint)
    assert [epoch.row["epoch"] for epoch in later] == [2, 3]
    assert all(torch.equal(tensor, state[name]) for name, tensor in resumed.state_dict().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("method", [Standard(), Moda(), WARMING, Mwt(), Nemo()])
def test_recorded_training_is_the_training_to_the_bit(images, method):
    """With the same kernels, of which none adds up in an order that changes."""
    images = images.to(torch.device("cuda"))
    plain, recorded = make().cuda(), make().cuda()
    with torch.backends.cudnn.flags(deterministic=True):
        expected = trained(plain, images, "none", method=method)[-1].rows
        rows = trained(recorded, images, "auto", method=method)[-1].rows
    assert [row["loss"] for row in rows] == [row["loss"] for row in expected]
    assert are_equal(plain, recorded)


def test_a_gpu_s_graphs_are_refused_where_there_is_none(images, caplog):
    warning = warning_of_plain_training(images, "cuda_graphs", caplog)
    assert warning.endswith("RuntimeError: CUDA graphs are of a GPU, and this training has none")


def test_by_itself_nothing_is_compiled_on_a_cpu(images):
    losses = losses_of(images, Moda())
    assert compiled(losses, "auto") is losses


@pytest.mark.slow
def test_what_cannot_be_compiled_is_trained_without(images, monkeypatch, caplog):
    """Without a compiler of C++ there is no code for a CPU."""
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    warning = warning_of_plain_training(images, "kernels", caplog)
    assert warning.startswith("training.compile=kernels cannot be done here, so this training runs without: ")
    assert "\n" not in warning


@pytest.mark.slow
def test_many_trainings_in_one_process_are_all_compiled(images):
    """PyTorch compiles one function for eight networks at most; trials forget those before."""
    counter = CompileCounterWithBackend("eager")
    batch = next(Steps(40, CONFIG, Workers(), each=2).epoch(0))
    for number in range(10):
        forget_compiled()
        losses = losses_of(images, Standard())
        torch.compile(losses.of_images, backend=counter, dynamic=False)(*losses.read(batch), batch)
        assert counter.frame_count == number + 1
