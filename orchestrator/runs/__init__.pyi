from .confirming import Request, confirm
from .reproducing import reproduce
from .rerunning import rerun
from .sweep import run_sweep
from .train import train_one

__all__ = [
    "Request",
    "confirm",
    "reproduce",
    "rerun",
    "run_sweep",
    "train_one",
]
