"""What would fail in a trial or after it is refused before, in one line; what would not is left alone."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from orchestrator.errors import ConfigError
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.data.loading import load_data
from orchestrator.training.dry_run import distinct
from orchestrator.training.trial import Trial, check_trainable, run_trial

HERE = "tests.orchestrator.training.test_dry_run"
SHORT = (
    "training.epochs=1",
    "evaluation.taus=[0.9]",
    "evaluation.thresholds=[0.0]",
    "evaluation.levels=[0.1]",
    "evaluation.targets=[]",
)


class Net(nn.Module):
    """A small network whose parts others change."""

    def __init__(self, in_channels, image_size, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.head = nn.Linear(4, num_classes)

    def units(self, images):
        return F.relu(self.conv(images))

    def forward(self, images):
        return self.head(self.units(images).mean((2, 3)))


class Unused(Net):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.spare = nn.Linear(2, 2)


class Clamped(Net):
    def __init__(self, in_channels, image_size, num_classes, largest):
        super().__init__(in_channels, image_size, num_classes)


# Taken.


class TwoNames(Net):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.net = nn.Sequential(self.conv, nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU())
        self.first = self.net[2]

    def units(self, images):
        return self.net(images)


class Views(Net):
    """Two layers whose weights are parts of one storage."""

    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        storage = torch.randn(24) / 4
        self.one, self.two = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.one.weight, self.two.weight = (nn.Parameter(storage[at : at + 16].view(4, 4, 1, 1)) for at in (0, 8))

    def units(self, images):
        return F.relu(self.two(F.relu(self.one(F.relu(self.conv(images))))))


class Lazy(Net):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.conv, self.norm = nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d()

    def units(self, images):
        return F.relu(self.norm(self.conv(images)))


class Frozen(Net):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.conv.requires_grad_(False)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("wide", torch.zeros(2, dtype=torch.float64))


class Normed(Net):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.conv, self.head = weight_norm(self.conv), spectral_norm(self.head)


class NonPersistent(Net):
    """What is not a part of its state is the same whenever it is built."""

    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.register_buffer("order", torch.randperm(4), persistent=False)


class Viewing(Net):
    """Its view needs images that are contiguous, which those with the channels last are not."""

    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.head = nn.Linear(4 * image_size**2, num_classes)

    def forward(self, images):
        units = self.units(images)
        return self.head(units.view(units.size(0), -1))


IN_HALF = (Views, "bfloat16")
TAKEN = [Viewing, Net, TwoNames, Views, Lazy, Frozen, Normed, NonPersistent]


# Refused.


class Squeezing(Net):
    def forward(self, images):
        return self.head(F.adaptive_avg_pool2d(self.units(images), 1).squeeze())


class AllFrozen(Net):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.requires_grad_(False)


class ChangesImages(Net):
    def forward(self, images):
        images *= 2
        return super().forward(images)


class Counting(Net):
    """Keeps state between calls, as plain Python."""

    calls = 0

    def forward(self, images):
        self.calls += 1
        return super().forward(images) + self.calls


class DropsInEval(Net):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.drop = nn.Dropout(0.5)

    def train(self, mode=True):
        return super().train(True)

    def forward(self, images):
        return self.head(self.drop(self.units(images).mean((2, 3))))


class MixesImages(Net):
    """Batch norm that stays in training mode."""

    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.norm = nn.BatchNorm2d(4)

    def train(self, mode=True):
        return super().train(True)

    def units(self, images):
        return F.relu(self.norm(self.conv(images)))


class ExtraState(Net):
    def get_extra_state(self):
        return {"epoch": 3}

    def set_extra_state(self, state):
        pass


class NumpyBuffer(Net):
    """What it draws other than by torch is another one when it is built again."""

    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.conv = nn.Conv2d(in_channels, 4, 3, padding=int(np.random.randint(0, 1)))
        self.scale = float(np.random.rand())

    def forward(self, images):
        return super().forward(images) * self.scale


class Renaming(Net):
    """Writes names that it does not read."""

    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self._register_state_dict_hook(self.rename)

    @staticmethod
    def rename(module, state, prefix, local_metadata):
        state["renamed"] = state.pop("head.weight")


class Infinite(Net):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.head.bias.data[0] = float("inf")


class Overflowing(Net):
    """Batch norm cannot have the variance of what is nearly too large to be a number."""

    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.norm = nn.BatchNorm2d(4)
        self.conv.weight.data *= 1e30

    def units(self, images):
        return F.relu(self.norm(self.conv(images)) * 1e-30)


class ExpandedBuffer(Net):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.register_buffer("offset", torch.zeros(1).expand(5))


class OneGroupAChannel(Net):
    """Group norm of one value."""

    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes)
        self.norm = nn.GroupNorm(4, 4)

    def forward(self, images):
        return self.head(self.norm(self.units(images).mean((2, 3))))


REFUSED = {
    Squeezing: r"no row of logits for each image of a batch of 1; write .flatten\(1\) instead of .squeeze",
    AllFrozen: "training steps of the first batches of 2: RuntimeError: .* does not require grad",
    ChangesImages: "its forward changes the images that it is given",
    Counting: "computes something else than its traced graph",
    DropsInEval: "give different logits when called again",
    MixesImages: "logits of an image depend on the others in its batch",
    ExtraState: "_extra_state of its state is a dict; only tensors can be kept",
    NumpyBuffer: "rebuilt and loaded with its weights it gives different logits",
    Renaming: "its weights, saved and loaded again: RuntimeError: .*renamed",
    Infinite: "logits for images of this data are NaN or infinite",
    Overflowing: "a training step makes norm.running_var NaN or infinite",
    ExpandedBuffer: "its weights, saved and loaded again: RuntimeError",
    OneGroupAChannel: r"a batch of 1\).*: Expected more than 1 value",
}


@pytest.fixture
def trying(configured):
    def check(kind, *overrides):
        config = configured("data.limit=200", "model=own", f"model.name={HERE}:{kind.__name__}", *overrides)
        check_trainable(config, load_data(config.data))
        return config

    return check


@pytest.mark.parametrize(
    ("kind", "precision"),
    [(kind, precision) for kind in TAKEN for precision in ("float32", "bfloat16") if (kind, precision) != IN_HALF],
)
def test_networks_that_are_taken_finish_their_trials(trying, one_thread, kind, precision):
    config = trying(kind, f"training.precision={precision}", *SHORT)
    run_trial(Trial("s", 0, {}, config, config.storage), load_data(config.data), report=lambda _: None)
    store = DeltaStore(config.storage)
    assert sorted(store.read("trials")["event"].to_pylist()) == ["finished", "started"]
    points = sorted(store.read("points").to_pylist(), key=lambda row: row["level"] or 0)
    assert [(row["tau"], row["level"]) for row in points] == [(0.9, None), (None, 0.1)]
    assert all(0 < row["cut_size"] <= 1 and 0 <= row["reuse_accuracy"] <= 1 for row in points)
    trying(kind, f"training.precision={precision}", "method=standard", "training.optimizer=adamw")


def test_views_come_apart_in_half_precision_and_are_refused_there(trying):
    with pytest.raises(ConfigError, match=r"one.weight has changed; give it its own memory"):
        trying(Views, "training.precision=bfloat16")


@pytest.mark.parametrize("kind", REFUSED)
def test_networks_that_are_refused(trying, kind):
    with pytest.raises(ConfigError, match=REFUSED[kind]) as error:
        trying(kind)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_parameter_that_takes_no_part_is_refused_where_workers_wait_for_it(trying):
    trying(Unused, "method=standard")
    trying(Unused, "training.num_workers=2")  # the network that gives its units has the layers that it calls alone
    with pytest.raises(ConfigError, match=r"training.num_workers=2: spare.weight .* does not contribute to the loss"):
        trying(Unused, "method=standard", "training.num_workers=2")


def test_batches_that_are_too_small_for_batch_norm(trying):
    trying(Net, "training.batch_size=1")
    trying(Lazy, "training.batch_size=2", "data.limit=201")
    trying(Lazy, "training.batch_size=100000")
    with pytest.raises(ConfigError, match=r"training.batch_size=1: .*two samples for its batch norm a batch; set .*=2"):
        trying(Lazy, "training.batch_size=1")
    with pytest.raises(ConfigError, match=r"training.batch_size=5: .*num_workers=3.*; set training.batch_size=6"):
        trying(Lazy, "training.batch_size=5", "training.num_workers=3")


@pytest.mark.parametrize("names", [("a",), ("a", "a"), ("a", "b", "a")])
def test_classes_must_be_two_or_more_different_ones(configured, names):
    config = configured("data.limit=200")
    data = dataclasses.replace(load_data(config.data), class_names=names)
    with pytest.raises(ConfigError, match="are not two or more different ones"):
        check_trainable(config, data)


def test_many_classes_are_tried_with_few_images(configured):
    config = configured("data.limit=200")
    data = load_data(config.data)
    data = dataclasses.replace(data, class_names=tuple(map(str, range(300))))
    check_trainable(config, data)


def test_global_generators_are_left_alone(trying):
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    seed_generators()
    expected = draw()
    seed_generators()
    trying(Net)
    assert draw() == expected


def seed_generators():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def test_a_sweep_tries_what_differs_in_more_than_coefficients_once(configured):
    base = configured("data.limit=200")
    given = [{"alpha": 1.0}, {"alpha": 0.1, "learning_rate": 0.2}, {"alpha": 0, "beta": 0, "gamma": 0}, {"epochs": 9}]
    given += [{"batch_size": 7}, {"hidden": [9]}, {"alpha": 0.5, "batch_size": 7}]
    configs = [base.with_coefficients(coefficients) for coefficients in given]
    assert distinct(configs) == [configs[0], configs[2], configs[4], configs[5]]


def test_what_the_configuration_of_a_set_cannot_record(trying):
    trying(Clamped, "model.largest=6")
    with pytest.raises(ConfigError, match="NaN or infinite, which a module set cannot record"):
        trying(Clamped, "model.largest=inf")
