from .image_set import EVALUATION_BATCH, Data, ImageSet
from .loading import data_here, load_data
from .stored_images import StoredImages
from .vision import torchvision_models

__all__ = [
    "EVALUATION_BATCH",
    "Data",
    "ImageSet",
    "StoredImages",
    "data_here",
    "load_data",
    "torchvision_models",
]
