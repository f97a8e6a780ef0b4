"""The train loop: resumable to the bit, whole batches whoever shares them, divergence told."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from moda_core import build_model, unit_layers
from moda_core.methods.moda import Moda
from moda_core.methods.standard import Standard
from orchestrator.errors import ConfigError
from orchestrator.training.batches import Steps, Workers, augmented, augmented_once, samples_each
from orchestrator.training.data.loading import load_data
from orchestrator.training.loop import Diverged, check_device, read_checkpoint, train
from orchestrator.training.preparing import _trained, prepare_training


@pytest.fixture
def small(configured):
    config = configured("data.limit=300", "training.epochs=4", "training.batch_size=50")
    return config, load_data(config.data)


def make(data, seed=0):
    torch.manual_seed(seed)
    return build_model("vgg", in_channels=1, image_size=8, num_classes=10, widths=[8, "M", 8], hidden=[16])


def run(config, data, network, method=None, **options):
    options = {"num_classes": 10, "crop": 1, "flip": True} | options
    return train(network, data.train, config.training, method or Moda(), **options)


def test_a_gpu_that_is_not_there_is_refused(configured):
    check_device(configured().training)
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(
        ConfigError, match=r"^training\.gpus_per_worker=0\.5: PyTorch finds no GPU on this machine; set"
    ):
        check_device(configured("training.gpus_per_worker=0.5").training)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_resumed_training_is_the_uninterrupted_one(small, precision, optimizer):
    config, data = small
    training = dataclasses.replace(config.training, optimizer=optimizer, learning_rate=0.01, weight_decay=0.1)
    config = dataclasses.replace(config, training=training)
    whole, method = make(data), Moda(gamma_warmup=0.75)
    rows = [epoch.row for epoch in run(config, data, whole, method, precision=precision)]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    interrupted = make(data)
    epochs = run(config, data, interrupted, method, precision=precision)
    next(epochs)
    checkpoint = next(epochs).checkpoint()
    resumed = make(data, seed=99)  # its own weights do not matter
    resume = read_checkpoint(checkpoint, torch.device("cpu"))
    later = list(run(config, data, resumed, method, precision=precision, resume=resume))
    assert [epoch.row["epoch"] for epoch in later] == [3, 4]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    told = [{key: value for key, value in row.items() if key != "seconds"} for row in later[-1].rows]
    assert told == [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize(("decay_steps", "weight_decay"), [(5, 0.025), (20, 0.1), (500, 0.1)])
def test_weight_decay_is_that_of_so_many_steps_and_less_in_longer_trainings(small, decay_steps, weight_decay):
    """Four epochs of five batches are 20 steps."""
    config, data = small
    stated = dataclasses.replace(config.training, weight_decay=0.1, decay_steps=decay_steps)
    plain = dataclasses.replace(config.training, weight_decay=weight_decay)
    networks = []
    for training in (stated, plain):
        networks.append(make(data))
        list(run(dataclasses.replace(config, training=training), data, networks[-1]))
    for one, other in zip(*(network.state_dict().values() for network in networks), strict=True):
        assert torch.equal(one, other)


def test_adamw_has_the_same_schedule_and_no_momentum(small):
    config, data = small
    ends, rates = [], []
    for options in ({"momentum": 0.9}, {"momentum": 0.0}, {"weight_decay": 0.5}):
        training = dataclasses.replace(config.training, optimizer="adamw", learning_rate=0.01, **options)
        ends.append(make(data))
        epochs = list(run(dataclasses.replace(config, training=training), data, ends[-1], Standard()))
        rates.append([one.row["learning_rate"] for one in epochs])
        assert epochs[-1].row["cross_entropy"] < epochs[0].row["cross_entropy"]
    steps = Steps(len(data.train), dataclasses.replace(config.training, learning_rate=0.01), Workers(), each=2)
    assert rates[0] == [steps.learning_rate(steps.per_epoch * epoch) for epoch in range(4)]
    first, second, decayed = (torch.cat([one.flatten() for one in network.parameters()]) for network in ends)
    assert torch.equal(first, second)
    assert decayed.norm() < first.norm()


def test_by_epoch_the_learning_rate_is_that_of_pytorchs_cosine(small):
    training = dataclasses.replace(small[0].training, epochs=5, learning_rate=0.05, schedule="epoch")
    steps = Steps(240, training, Workers(), each=2)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05)
    plain = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5)
    expected = []
    for _ in range(5):
        expected += [optimizer.param_groups[0]["lr"]] * steps.per_epoch
        optimizer.step()
        plain.step()
    assert [steps.learning_rate(step) for step in range(5 * steps.per_epoch)] == pytest.approx(expected)
    assert expected[:: steps.per_epoch] == pytest.approx([0.05, 0.0452, 0.0327, 0.0173, 0.0048], abs=5e-5)
    by_step = Steps(240, dataclasses.replace(training, schedule="step"), Workers(), each=2)
    assert by_step.learning_rate(0) == 0.05
    assert by_step.learning_rate(1) < 0.05


@pytest.mark.parametrize("schedule", ["epoch", "step"])
@pytest.mark.parametrize("epochs", [0.5, 1.5, 3])
def test_warm_up_rises_from_step_to_step_to_the_rate_of_the_schedule(small, schedule, epochs):
    training = dataclasses.replace(small[0].training, epochs=5, schedule=schedule)
    warmed = dataclasses.replace(training, warmup_epochs=epochs)
    plain, warm = (Steps(500, one, Workers(), each=2) for one in (training, warmed))
    assert plain.per_epoch == 10
    rates = [(warm.learning_rate(step), plain.learning_rate(step)) for step in range(50)]
    rising = round(10 * epochs)
    assert [rate / full for rate, full in rates[:rising]] == pytest.approx([(n + 1) / rising for n in range(rising)])
    assert all(rate == full for rate, full in rates[rising - 1 :])


def test_warm_up_reaches_the_optimizer(small):
    config, data = small
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=2, warmup_epochs=2.0))
    rates, networks = [], [make(data), make(data)]
    for network, warmup in zip(networks, (2.0, 0.0), strict=True):
        own = dataclasses.replace(config, training=dataclasses.replace(config.training, warmup_epochs=warmup))
        rates.append([epoch.row["learning_rate"] for epoch in run(own, data, network)])
    assert rates[0] == pytest.approx([rates[1][0] / 10, rates[1][1] * 6 / 10])
    first, second = (torch.cat([one.flatten() for one in network.parameters()]) for network in networks)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_fused_optimizer_trains_alike(small, optimizer):
    config, data = small
    training = dataclasses.replace(config.training, optimizer=optimizer, learning_rate=0.01, weight_decay=0.1)
    losses, fused = [], []
    for step in ("auto", "plain", "fused"):
        own = dataclasses.replace(config, training=dataclasses.replace(training, optimizer_step=step, epochs=2))
        first, second = run(own, data, make(data))
        losses.append([row["loss"] for row in second.rows])
        fused.append(read_checkpoint(first.checkpoint(), torch.device("cpu")).optimizer["param_groups"][0]["fused"])
    assert losses[0] == losses[1] == pytest.approx(losses[2], rel=1e-3)
    assert fused == [None, None, True]


def test_the_fused_optimizer_resumes(small):
    config, data = small
    training = dataclasses.replace(config.training, optimizer="adamw", learning_rate=0.01, optimizer_step="fused")
    config = dataclasses.replace(config, training=training)
    whole, resumed = make(data), make(data, seed=9)
    epochs = run(config, data, whole)
    checkpoint = read_checkpoint(next(epochs).checkpoint(), torch.device("cpu"))
    assert [group["fused"] for group in checkpoint.optimizer["param_groups"]] == [True]
    assert len(list(epochs)) == len(list(run(config, data, resumed, resume=checkpoint))) == 3
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in whole.state_dict().items())


@pytest.mark.parametrize(
    ("wanted", "precision", "is_last"),
    [
        ("auto", torch.float32, False),
        ("auto", torch.bfloat16, True),
        ("channels_last", torch.float32, True),
        ("contiguous", torch.bfloat16, False),
    ],
)
def test_the_memory_format_is_as_asked_for(small, wanted, precision, is_last):
    config, data = small
    network = build_model("vgg", in_channels=1, image_size=8, num_classes=10, widths=[8, 8, "M"], hidden=[16])
    training = dataclasses.replace(config.training, memory_format=wanted)
    model = prepare_training(network, data.train, training, Moda(), precision).model
    (weight,) = (one for one in model.parameters() if one.shape == (8, 8, 3, 3))
    assert weight.is_contiguous(memory_format=torch.channels_last) == is_last


def test_the_draws_of_an_epoch_are_on_the_device_before_its_first_step(small):
    steps = Steps(120, small[0].training, Workers(1, 2), each=2)
    here, there = (list(steps.epoch(0, device)) for device in (None, torch.device("meta")))
    assert [batch.step for batch in there] == [batch.step for batch in here] == [0, 1, 2]
    for name in ("mine", "offsets_B2", "flips_B", "shapes_BT2"):
        assert {getattr(batch, name).device.type for batch in there} == {"meta"}
        assert [getattr(batch, name).shape for batch in there] == [getattr(batch, name).shape for batch in here]


def test_the_last_partial_batch_is_trained_on(small):
    training = dataclasses.replace(small[0].training, batch_size=128)
    steps = Steps(50_000, training, Workers(), each=2)
    sizes = [batch.size for batch in steps.epoch(0)]
    assert sizes == [128] * 390 + [80]
    assert (steps.per_epoch, steps.samples) == (391, 50_000)


def test_images_are_augmented_once_as_one_by_one_and_by_their_seed(small):
    images = small[1].train
    generator = torch.Generator().manual_seed(7)
    offsets = (torch.rand(len(images), 2, generator=generator) * 5).long()  # of a padding of 2
    flips = torch.rand(len(images), generator=generator) < 0.5
    expected = []
    for image, (top, left), flip in zip(images.images, offsets.tolist(), flips.tolist(), strict=True):
        turned = image.flip(2) if flip else image
        expected.append(nn.functional.pad(turned, (2, 2, 2, 2))[:, top : top + 8, left : left + 8])
    once = augmented_once(images, crop=2, flip=True, seed=7)
    assert torch.equal(once.images, torch.stack(expected))
    assert torch.equal(once.labels, images.labels)
    assert torch.equal(once.images, augmented_once(images, crop=2, flip=True, seed=7).images)
    assert not torch.equal(once.images, augmented_once(images, crop=2, flip=True, seed=8).images)


def test_training_learns_and_zero_coefficients_are_standard_training(small):
    config, data = small
    networks, rows = [], []
    for method in (Standard(), Moda(0.0, 0.0, 0.0)):
        networks.append(make(data))
        rows.append([epoch.row for epoch in run(config, data, networks[-1], method)])
    assert rows[0][-1]["cross_entropy"] < rows[0][0]["cross_entropy"]
    first, second = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_modular_training_lowers_its_terms(small):
    config, data = small
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=8))
    rows = [epoch.row for epoch in run(config, data, make(data), Moda(1.0, 1.0, 0.3), crop=0, flip=False)]
    assert rows[-1]["dispersion"] < rows[0]["dispersion"]
    assert rows[-1]["loss"] == pytest.approx(
        sum(
            rows[-1][k] * w for k, w in (("cross_entropy", 1), ("affinity", 1), ("dispersion", 1), ("compactness", 0.3))
        )
    )


def test_a_diverging_loss_is_told(small):
    config, data = small
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, learning_rate=1e20))
    with pytest.raises(Diverged, match="after epoch 1"):
        list(run(config, data, make(data)))


@pytest.mark.parametrize("each", [0, 1, 2])
@pytest.mark.parametrize(("images", "workers"), [(103, 1), (103, 2), (101, 2), (107, 4), (103, 4), (101, 4)])
def test_workers_share_every_global_batch(small, images, workers, each):
    config = small[0].training
    alone = list(Steps(images, config, Workers(), each=each).epoch(3))
    shared = [list(Steps(images, config, Workers(rank, workers), each=each).epoch(3)) for rank in range(workers)]
    for number, batches in enumerate(zip(*shared, strict=True)):
        together = torch.cat([batch.mine for batch in batches])
        assert len(together) == batches[0].size
        assert min(len(batch.mine) for batch in batches) >= each
        assert torch.equal(together, alone[number].mine)
        assert torch.equal(torch.cat([batch.offsets_B2 for batch in batches]), alone[number].offsets_B2)
    seen = sum(batch.size for batch in shared[0])
    assert seen == (
        images if images % 50 >= each * workers else images // 50 * 50
    )  # what is left out is the last batch


def test_the_learning_rate_falls_to_zero_as_a_cosine(small):
    steps = Steps(100, small[0].training, Workers(), each=2)
    last = steps.per_epoch * small[0].training.epochs
    assert steps.learning_rate(0) == pytest.approx(0.1)
    assert steps.learning_rate(last // 2) == pytest.approx(0.05)
    assert steps.learning_rate(last) == pytest.approx(0)


def test_too_few_images_for_the_workers(small):
    with pytest.raises(ValueError, match="every worker needs two samples"):
        Steps(1, small[0].training, Workers(), each=2)


def test_only_batch_norm_needs_samples_on_every_worker(small):
    training = small[0].training
    assert samples_each(make(small[1]), training) == 2
    shared = dataclasses.replace(training, num_workers=2, gpus_per_worker=1, sync_batch_norm=True)
    assert samples_each(make(small[1]), shared) == 1
    assert samples_each(build_model("lenet5", in_channels=1, image_size=12, num_classes=3), training) == 0


@pytest.mark.parametrize("method", [Moda(), Standard()])
def test_sync_batch_norm_is_in_the_traced_copy_alone(small, method):
    """One process: SyncBatchNorm computes what batch norm does, so both trainings end the same."""
    config, data = small
    networks = [make(data), make(data)]
    training = dataclasses.replace(config.training, epochs=2, num_workers=2, gpus_per_worker=1)
    rows = []
    for sync, network in enumerate(networks):
        own = dataclasses.replace(config, training=dataclasses.replace(training, sync_batch_norm=bool(sync)))
        rows.append([epoch.row["loss"] for epoch in run(own, data, network, method)])
    assert rows[0] == rows[1]
    plain, shared = (network.state_dict() for network in networks)
    assert list(plain) == list(shared)
    assert all(torch.equal(plain[name], shared[name]) for name in plain)
    kinds = [[type(module) for module in network.modules()] for network in networks]
    assert kinds[0] == kinds[1]

    converted = _trained(networks[1], data.train, method, sync_batch_norm=True).model
    changed = [module for module in converted.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert {type(module) for module in changed} == {nn.SyncBatchNorm}
    ours = {id(one) for one in (*networks[1].parameters(), *networks[1].buffers())}
    assert {id(one) for module in changed for one in (*module.parameters(), *module.buffers())} <= ours
    images = data.test[torch.arange(5)]
    output = converted.eval()(images)
    assert torch.equal(output if method == Standard() else output[0], networks[1].eval()(images))
    other = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(networks[1]))
    assert unit_layers(other, images).layers == unit_layers(networks[1], images).layers


def test_sync_batch_norm_needs_a_gpu_where_it_runs(small):
    config, data = small
    training = dataclasses.replace(config.training, num_workers=2, gpus_per_worker=1, sync_batch_norm=True)
    config = dataclasses.replace(config, training=training)
    with pytest.raises(ConfigError, match="SyncBatchNorm runs on GPUs only and this worker sees none"):
        next(run(config, data, make(data), workers=Workers(0, 2)))


def test_crop_and_flip_are_those_of_a_plain_loop(small):
    pixels = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8)
    batch = next(Steps(12, small[0].training, Workers(), each=2).epoch(0))
    found = augmented(pixels, batch, 2, True)
    padded = torch.nn.functional.pad(pixels, (2, 2, 2, 2))
    for index in range(12):
        top, left = (int(offset * 5) for offset in batch.offsets_B2[index])
        image = padded[index].flip(2) if batch.flips_B[index] else padded[index]
        assert torch.equal(found[index], image[:, top : top + 8, left : left + 8])
    assert len({int(offset * 5) for offset in batch.offsets_B2[:, 0]}) > 1
