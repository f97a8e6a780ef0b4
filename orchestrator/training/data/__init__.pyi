from .image_set import EVALUATION_BATCH, Data, ImageSet
from .loading import data_here, load_data
from .vision import torchvision_models

__all__ = [
    "EVALUATION_BATCH",
    "Data",
    "ImageSet",
    "data_here",
    "load_data",
    "torchvision_models",
]
