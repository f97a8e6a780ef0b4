from .by_name import MODELS, build_model
from .options import MODEL_OPTIONS

__all__ = [
    "MODELS",
    "MODEL_OPTIONS",
    "build_model",
]
