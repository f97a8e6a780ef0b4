"""Real processes give the losses, gradients, training and counts that one gives on the whole batch.

Each world of 1, 2 or 4 workers is started once and runs every case; one worker without processes is the oracle. All in
float64, and equal to 1e-10.
"""

import dataclasses
import os
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from moda_core import build_model, count_contributions, count_frequencies, unit_layers
from moda_core.methods import Moda, Mwt, Nemo
from moda_core.rules import GATE
from orchestrator.config.data_section import DataConfig
from orchestrator.config.training_section import TrainingConfig
from orchestrator.training.batch_losses import model_output, shown_losses
from orchestrator.training.batches import Workers
from orchestrator.training.data.facts import ImageFacts
from orchestrator.training.data.image_set import ImageSet
from orchestrator.training.data.mapped import Decoded, MappedImages
from orchestrator.training.loop import train

CLASSES = 5
METHOD = Moda(1.0, 0.7, 0.3)
WORLDS = (1, 2, 4)
NETWORKS = {
    "no batch norm": {"name": "lenet5"},
    "batch norm in eval mode": {"name": "vgg", "widths": [5, "M", 6, "M", 7], "hidden": [8]},
    "masks of MwT": {"name": "vgg", "widths": [5, "M", 6, "M", 7], "hidden": [8]},
    "masks of NeMo": {"name": "vgg", "widths": [5, "M", 6, "M", 7], "hidden": [8]},
}
METHODS = {
    "no batch norm": METHOD,
    "batch norm in eval mode": Moda(1.0, 0.7, 0.3, "sqrt_size", gamma_warmup=0.5),
    "masks of MwT": Mwt(0.7, 1.2),
    "masks of NeMo": Nemo(1.3, 0.3),
}
METHOD_WITH_GATES = METHODS["masks of MwT"]
COLLECTIVES = dict.fromkeys(METHODS, (1, 0)) | {"masks of NeMo": (0, 2)}  # sums and gatherings of a step
BATCHES = {
    "even": [0, 1, 2, 3, 4, 0, 1, 2],
    "uneven": [0, 1, 2, 0, 1, 4, 0, 2, 3, 4, 4],
    "absent classes": [0, 3, 3, 0, 3, 0, 3],
    "one class": [2, 2, 2, 2, 2, 2],
    "fewer than four": [1, 4, 1],
    "all different": [0, 1, 2, 3],
    "one": [3],
}
TRAININGS = {"the last batch has five": 53, "the last batch has one": 49}  # number of images, 16 a batch
SHARES = {"uneven": (2, 0, 0, 1, 0), "one worker without any": (0, 0, 0, 0, 0)}  # who counts which batch


class Double(ImageSet):
    """Images as float64."""

    def normalise(self, images):
        return super().normalise(images).double()


def image_set(labels):
    generator = torch.Generator().manual_seed(len(labels))
    images = torch.randint(0, 256, (len(labels), 1, 12, 12), generator=generator, dtype=torch.uint8)
    return Double(images, labels, (0.5,), (0.3,))


def make(name):
    """A network with batch norm in eval mode has statistics as if it had been trained."""
    torch.manual_seed(0)
    options = dict(NETWORKS[name])
    network = build_model(**options, in_channels=1, image_size=12, num_classes=CLASSES).double().train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network


def step(name, labels, workers):
    """One step on this worker's part: the numbers told, every parameter's gradient, and our collectives."""
    labels = torch.tensor(labels)
    images = image_set(labels)
    network = make(name)
    model, parts = METHODS[name].prepare(network, images[torch.arange(2).clamp(max=len(labels) - 1)])
    if workers.world > 1 or dist.is_initialized():
        model = DistributedDataParallel(model)
    mine = torch.arange(len(labels)).tensor_split(workers.world)[workers.rank]
    with (
        mock.patch.object(dist, "all_reduce", wraps=dist.all_reduce) as sums,
        mock.patch.object(dist, "all_gather", wraps=dist.all_gather) as gatherings,
    ):
        output = model_output(model, images, images.images[mine])
        size = len(labels)
        options = {"num_classes": CLASSES, "workers": workers, "size": size}
        loss, shown = shown_losses(output, labels[mine], METHODS[name], **options)
        loss.backward()
    trained = nn.ModuleList([network] if parts is None else [network, parts])
    gradients = {key: one.grad for key, one in trained.named_parameters()}
    return shown, gradients, (sums.call_count, gatherings.call_count)


@dataclasses.dataclass
class AsTheyAre:
    """Images that need no decoding."""

    images: np.ndarray
    facts: ImageFacts = dataclasses.field(default_factory=ImageFacts)

    def __iter__(self):
        return iter(self.images)


def in_file(images):
    """The same images in a mapped file, which the workers of a world make and read together."""
    pixels = images.images.numpy()
    config = DataConfig(name="table", path="not read")
    decoded = Decoded(config, f"{len(pixels)}", None, np.arange(len(pixels)), pixels.shape[1:])
    decoded.open(lambda: AsTheyAre(pixels))
    return dataclasses.replace(images, images=MappedImages(decoded.rows, decoded.shape, decoded=decoded))


def training(name, images, workers, keep=lambda images: images):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (images,), generator=generator)
    network = make(name)
    config = TrainingConfig(epochs=2, batch_size=16, learning_rate=0.02, num_workers=workers.world)
    options = {"num_classes": CLASSES, "crop": 1, "flip": True, "workers": workers}
    rows = [epoch.row for epoch in train(network, keep(image_set(labels)), config, METHOD, **options)]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows], network.state_dict()


def counts(name, shares, workers):
    """``shares[batch]`` is the worker that counts it; one worker counts all."""
    labels = torch.arange(43) % CLASSES
    images = image_set(labels)
    network = make(name).eval()
    batches = [
        (images[index], labels[index])
        for index, worker in zip(torch.arange(43).tensor_split(len(shares)), shares, strict=True)
        if worker % workers.world == workers.rank
    ]
    layers = unit_layers(network, images[torch.arange(2)])
    options = {"num_classes": CLASSES, "group": workers.group}
    found = count_frequencies(network, layers, batches, thresholds=(0.0, 0.3, 1.0), **options)
    contributions = count_contributions(network, layers, batches, **options)
    return found.counts_TCN, found.class_sizes_C, found.means_N, contributions.means_CN


def gate_counts(shares, workers):
    labels = torch.arange(43) % CLASSES
    images = image_set(labels)
    network = make("masks of MwT").eval()
    parts = METHOD_WITH_GATES.prepare(network, images[:2]).parts
    gated = METHOD_WITH_GATES.gates(network, parts, images[:2])
    batches = [
        (images[index], labels[index])
        for index, worker in zip(torch.arange(43).tensor_split(len(shares)), shares, strict=True)
        if worker % workers.world == workers.rank
    ]
    return GATE.count(*gated.counted(gated.sites), batches, num_classes=CLASSES, grid={}, group=workers.group)


def everything(workers):
    """All cases on one worker of a world."""
    return {
        "steps": {(name, batch): step(name, BATCHES[batch], workers) for name in NETWORKS for batch in BATCHES},
        "trainings": {case: training("no batch norm", images, workers) for case, images in TRAININGS.items()},
        "from a file": training("no batch norm", 53, workers, in_file),
        "batch norm": training("batch norm in eval mode", 53, workers)[1],  # which training puts into training mode
        "counts": {(name, case): counts(name, SHARES[case], workers) for name in NETWORKS for case in SHARES},
        "gates": {case: gate_counts(SHARES[case], workers) for case in SHARES},
    }


def worker(rank, world, folder):
    torch.set_num_threads(1)
    os.environ["MODA_CACHE_DIR"] = folder
    dist.init_process_group("gloo", init_method=f"file://{folder}/store-{world}", rank=rank, world_size=world)
    torch.save(everything(Workers(rank, world)), f"{folder}/{world}-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODA_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return everything(Workers())


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """What each worker of each world found."""
    folder = tmp_path_factory.mktemp("worlds")
    for world in WORLDS:
        mp.start_processes(worker, args=(world, str(folder)), nprocs=world, start_method="forkserver")
    return {
        world: [torch.load(folder / f"{world}-{rank}.pt", weights_only=True) for rank in range(world)]
        for world in WORLDS
    }


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_loss_and_the_gradients_are_those_of_the_whole_batch(alone, worlds, name, batch, world):
    shown, gradients, _ = alone["steps"][name, batch]
    assert all(torch.isfinite(one).all() for one in (shown, *gradients.values()))
    parts = [one["steps"][name, batch] for one in worlds[world]]
    for theirs, their_gradients, _ in parts:
        terms = slice(2, 2 + len(METHODS[name].terms))
        same(theirs[terms], shown[terms])  # the whole batch's on every worker
        same(their_gradients, gradients)
    same(torch.stack([theirs for theirs, _, _ in parts]).mean(0), shown)


@pytest.mark.parametrize("world", WORLDS)
def test_a_step_has_few_collectives_for_all_layers(alone, worlds, world):
    """Beside the gradient buckets of DDP, which are no call of ours."""
    for one in worlds[world]:
        for (name, _), (_, _, calls) in one["steps"].items():
            assert calls == ((0, 0) if world == 1 else COLLECTIVES[name])


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", SHARES)
def test_counts_of_gates_are_those_of_all_batches(alone, worlds, case, world):
    expected = alone["gates"][case]
    assert 0 < int(expected["gate_opens"].sum()) < 43 * 13
    for one in worlds[world]:
        for name, tensor in one["gates"][case].items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-14, atol=0)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", TRAININGS)
def test_a_training_is_that_of_one_worker(alone, worlds, case, world):
    rows, state = alone["trainings"][case]
    for one in worlds[world]:
        their_rows, theirs = one["trainings"][case]
        same(theirs, state)
        assert their_rows == [pytest.approx(row, rel=1e-10, abs=1e-10) for row in rows]


@pytest.mark.parametrize("world", WORLDS)
def test_a_training_from_a_mapped_file_is_that_from_memory_to_the_bit(alone, worlds, world):
    for one in (alone, *worlds[world]):
        assert one["from a file"][0] == one["trainings"]["the last batch has five"][0]
        for key, tensor in one["trainings"]["the last batch has five"][1].items():
            assert torch.equal(one["from a file"][1][key], tensor)


@pytest.mark.parametrize("world", WORLDS)
def test_batch_norm_of_ones_own_ends_with_one_network(alone, worlds, world):
    """Another training than on one worker, but the same network, running statistics included, on all of them."""
    first = worlds[world][0]["batch norm"]
    for one in worlds[world]:
        assert all(torch.equal(one["batch norm"][key], tensor) for key, tensor in first.items())
    alike = all(torch.allclose(first[key], tensor) for key, tensor in alone["batch norm"].items())
    assert alike == (world == 1)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", SHARES)
@pytest.mark.parametrize("name", NETWORKS)
def test_counts_are_those_of_all_batches(alone, worlds, name, case, world):
    active, sizes, means, contributions = alone["counts"][name, case]
    for one in worlds[world]:
        theirs, their_sizes, their_means, their_contributions = one["counts"][name, case]
        assert torch.equal(theirs, active)
        assert torch.equal(their_sizes, sizes)
        torch.testing.assert_close(their_means, means, rtol=1e-14, atol=0)
        same(their_contributions, contributions)
        assert torch.equal(their_means, worlds[world][0]["counts"][name, case][2])
        assert torch.equal(their_contributions, worlds[world][0]["counts"][name, case][3])
