"""The options of each network by its name, as data: what checks a configuration loads no PyTorch."""

from typing import Any

INITIALISATIONS = ("pytorch", "published")

MODEL_OPTIONS: dict[str, tuple[str, ...]] = {
    "deit_small": ("width", "depth", "heads", "patch", "init"),
    "lenet5": ("width", "padding", "init"),
    "mobilenet_v1": ("width", "init"),
    "resnet18": ("width", "init"),
    "resnet50": ("width", "init"),
    "vgg": ("widths", "hidden", "init"),
    "vgg16": ("width", "init"),
    "vit_small": ("width", "depth", "heads", "patch", "init"),
}

# What an option of these networks means where it is not stated.
OPTION_DEFAULTS: dict[str, Any] = {"init": "pytorch", "padding": 2, "depth": 12, "patch": 4}
