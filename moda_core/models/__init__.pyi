from .by_name import MODELS, build_model
from .options import MODEL_OPTIONS, OPTION_DEFAULTS
from .vit import VisionTransformer

__all__ = [
    "MODELS",
    "MODEL_OPTIONS",
    "OPTION_DEFAULTS",
    "VisionTransformer",
    "build_model",
]
