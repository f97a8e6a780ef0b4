"""Networks to cut: small, random, in float64, with batch-norm statistics that are not the defaults."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core import Decomposition, Scales, build_model, save_modules, unit_layers

CLASSES = ["ant", "bee", "cat", "dog", "eel"]


def randomise(network: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 0.3
            tensor.copy_(noise.abs() + 0.1 if name.endswith("running_var") else noise)
    return network.double().eval()


class Awkward(nn.Module):
    """Batch norm first and after a masked layer, ReLU after flattening, names that ours might clash with."""

    def __init__(self, *, in_channels: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.mask_0 = nn.Conv2d(in_channels, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.conv_place = nn.BatchNorm2d(6)
        self.flat = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.ReLU())
        features = 6 * (image_size // 2) ** 2
        self.hidden = nn.Sequential(nn.Linear(features, 9), nn.ReLU(), nn.BatchNorm1d(9), nn.ReLU())
        self.classes = nn.Linear(9, num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        out = self.mask_0(F.relu(self.norm(images)))
        kept = F.relu(out)
        out = self.conv(kept) + kept
        out = out + F.relu(self.conv_place(kept))
        return self.classes(self.hidden(self.flat(out)))


NETWORKS = {
    "awkward": {"name": "awkward", "image_size": 6, "in_channels": 3},
    "lenet5": {"name": "lenet5", "image_size": 12, "in_channels": 1},
    "vgg": {"name": "vgg", "image_size": 8, "in_channels": 3, "widths": [6, "M", 8, 8, "M"], "hidden": [10]},
    "resnet18": {"name": "resnet18", "image_size": 8, "in_channels": 3, "width": 4},
    "vit": {
        "name": "vit_small",
        "image_size": 6,
        "in_channels": 3,
        "patch": 3,
        "width": 12,
        "heads": 3,
        "depth": 2,
    },
}


@pytest.fixture(params=sorted(NETWORKS))
def network_and_images(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    options = dict(NETWORKS[request.param])
    size, channels = options["image_size"], options["in_channels"]
    build = Awkward if options["name"] == "awkward" else build_model
    if build is Awkward:
        options.pop("name")
    network = randomise(build(num_classes=5, **options), seed=1)
    images = torch.randn(16, channels, size, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return network, images


def random_masks(widths, classes, seed, density=0.4):
    generator = torch.Generator().manual_seed(seed)
    masks = [torch.rand(classes, n, generator=generator) < density for n in widths]
    for mask in masks:
        mask[:, 0] |= ~mask.any(1)  # as the floor does
    return masks


def random_decomposition(widths, classes, seed, density=0.4):
    """Random masks with scales, of some classes from no observation, and a bias."""
    generator = torch.Generator().manual_seed(seed)
    counts_C = torch.randint(4, (classes,), generator=generator)
    sums = [torch.randn(classes, n, generator=generator, dtype=torch.float64) * counts_C[:, None] for n in widths]
    bias_C = torch.randn(classes, generator=generator, dtype=torch.float64)
    return Decomposition(random_masks(widths, classes, seed, density), Scales(tuple(sums), counts_C), bias_C)


@pytest.fixture
def saved(network_and_images, tmp_path):
    """A module set of five classes on disk, and what it was made of."""
    network, images = network_and_images
    network, images = network.float(), images.float()
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 5, seed=11, density=0.5)
    preprocessing = {"shape": list(images.shape[1:]), "mean": [0.5] * images.shape[1], "std": [0.25] * images.shape[1]}
    folder, more = tmp_path / "set", {"about": {"tau": 0.9}, "documents": {"model_card.md": b"# A card"}}
    result = save_modules(
        folder, network, layers, masks, images, class_names=CLASSES, preprocessing=preprocessing, **more
    )
    return folder, network, layers, masks, images, result
