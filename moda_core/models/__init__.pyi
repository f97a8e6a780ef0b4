from .by_name import MODELS, build_model
from .options import MODEL_OPTIONS, OPTION_DEFAULTS

__all__ = [
    "MODELS",
    "MODEL_OPTIONS",
    "OPTION_DEFAULTS",
    "build_model",
]
