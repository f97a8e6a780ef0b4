"""Networks by name. Each builder is an ordinary ``nn.Module`` that ends in the logits."""

from collections.abc import Callable
from typing import Any

from torch import nn

from moda_core.models.lenet import LeNet5
from moda_core.models.resnet import resnet18
from moda_core.models.vgg import VGG

MODELS: dict[str, Callable[..., nn.Module]] = {"lenet5": LeNet5, "resnet18": resnet18, "vgg": VGG}


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


__all__ = ["MODELS", "build_model"]
