"""Networks by name. Each builder is an ordinary ``nn.Module`` that ends in the logits."""

from collections.abc import Callable
from typing import Any

from torch import nn

from moda_core.models.initialising import LINEAR_DEVIATIONS, initialise_published, initialise_transformer
from moda_core.models.lenet import LeNet5
from moda_core.models.mobilenet import MobileNetV1
from moda_core.models.options import INITIALISATIONS
from moda_core.models.resnet import resnet18, resnet50
from moda_core.models.vgg import VGG, vgg16
from moda_core.models.vit import VisionTransformer, deit_small, vit_small

MODELS: dict[str, Callable[..., nn.Module]] = {
    "deit_small": deit_small,
    "lenet5": LeNet5,
    "mobilenet_v1": MobileNetV1,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "vgg": VGG,
    "vgg16": vgg16,
    "vit_small": vit_small,
}


def build_model(
    name: str, *, in_channels: int, image_size: int, num_classes: int, init: str = "pytorch", **options: Any
) -> nn.Module:
    """Build the network called ``name`` for square images of ``in_channels x image_size x image_size``.

    Args:
        name: a key of :data:`MODELS`.
        in_channels: channels of the image.
        image_size: its height and width.
        num_classes: number of logits.
        init: how the weights are drawn: ``pytorch``, as PyTorch's layers do, or ``published``, as the published code
            does (:mod:`moda_core.models.initialising`).
        options: the builder's own keywords.

    Raises:
        ValueError: an unknown name, option or ``init``, or images too small for the network.
    """
    if name not in MODELS:
        raise ValueError(f"model.name={name!r} is not known; known: {', '.join(sorted(MODELS))}")
    if init not in INITIALISATIONS:
        raise ValueError(f"model.init={init!r} is not known; known: {', '.join(INITIALISATIONS)}")
    try:
        network = MODELS[name](in_channels=in_channels, image_size=image_size, num_classes=num_classes, **options)
    except TypeError as error:
        raise ValueError(f"model {name!r} does not take these options: {error}") from error
    if init == "published" and isinstance(network, VisionTransformer):
        initialise_transformer(network)
    elif init == "published":
        initialise_published(network, LINEAR_DEVIATIONS[name])
    return network
