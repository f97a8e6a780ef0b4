"""Networks by name. Each builder is an ordinary ``nn.Module`` that ends in the logits."""

from collections.abc import Callable
from typing import Any

from torch import nn

from moda_core.models.lenet import LeNet5
from moda_core.models.mobilenet import MobileNetV1
from moda_core.models.resnet import resnet18, resnet50
from moda_core.models.vgg import VGG, vgg16

MODELS: dict[str, Callable[..., nn.Module]] = {
    "lenet5": LeNet5,
    "mobilenet_v1": MobileNetV1,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "vgg": VGG,
    "vgg16": vgg16,
}


def build_model(name: str, *, in_channels: int, image_size: int, num_classes: int, **options: Any) -> nn.Module:
    """Build the network called ``name`` for square images of ``in_channels x image_size x image_size``.

    Raises:
        ValueError: an unknown name, an unknown option, or images too small for the network.
    """
    if name not in MODELS:
        raise ValueError(f"model.name={name!r} is not known; known: {', '.join(sorted(MODELS))}")
    try:
        return MODELS[name](in_channels=in_channels, image_size=image_size, num_classes=num_classes, **options)
    except TypeError as error:
        raise ValueError(f"model {name!r} does not take these options: {error}") from error
