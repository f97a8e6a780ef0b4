from .confirming import Request, confirm
from .rerunning import rerun
from .sweep import run_sweep
from .train import train_one

__all__ = [
    "Request",
    "confirm",
    "rerun",
    "run_sweep",
    "train_one",
]
