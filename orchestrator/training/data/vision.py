"""torchvision, also where its compiled operators do not load.

With a CPU-only torch, torchvision's wheel from the package index does not find the CUDA library that its shared object
links, and its import then fails while it registers fake kernels for ``nms``. Declaring the two operator schemas first
is all that it takes: data sets, transforms and models are pure Python. Import torchvision only through this module.
"""

import importlib
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # a schema lives as long as its library


def torchvision_datasets() -> ModuleType:
    """``torchvision.datasets``."""
    return _imported("torchvision.datasets")


def torchvision_transforms() -> ModuleType:
    """Import and return ``torchvision.transforms.v2``."""
    return _imported("torchvision.transforms.v2")


def torchvision_models() -> ModuleType:
    """Import and return ``torchvision.models``."""
    return _imported("torchvision.models")


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
    return importlib.import_module(name)
