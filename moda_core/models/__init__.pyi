from .by_name import MODELS, build_model

__all__ = [
    "MODELS",
    "build_model",
]
