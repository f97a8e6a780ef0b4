from .loading import EVALUATION_BATCH, Data, ImageSet, data_here, load_data
from .vision import torchvision_models

__all__ = [
    "EVALUATION_BATCH",
    "Data",
    "ImageSet",
    "data_here",
    "load_data",
    "torchvision_models",
]
