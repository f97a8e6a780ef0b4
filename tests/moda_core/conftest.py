"""Networks to cut: small, random, in float64, with batch-norm statistics that are not the defaults."""

import pytest
import torch
from torch import Tensor, nn

from moda_core import build_model


def randomise(network: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 0.3
            tensor.copy_(noise.abs() + 0.1 if name.endswith("running_var") else noise)
    return network.double().eval()


NETWORKS = {
    "lenet5": {"name": "lenet5", "image_size": 12, "in_channels": 1},
    "vgg": {"name": "vgg", "image_size": 8, "in_channels": 3, "widths": [6, "M", 8, 8, "M"], "hidden": [10]},
    "resnet18": {"name": "resnet18", "image_size": 8, "in_channels": 3, "width": 4},
}


@pytest.fixture(params=sorted(NETWORKS))
def network_and_images(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    options = dict(NETWORKS[request.param])
    network = randomise(build_model(num_classes=5, **options), seed=1)
    size, channels = options["image_size"], options["in_channels"]
    images = torch.randn(16, channels, size, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return network, images
