from .confirming import Request, confirm
from .examining import examine
from .expecting import expect
from .planning import Plan, plan_sweep
from .reproducing import reproduce
from .rerunning import rerun
from .sweep import run_sweep
from .train import train_one

__all__ = [
    "Plan",
    "Request",
    "confirm",
    "examine",
    "expect",
    "plan_sweep",
    "reproduce",
    "rerun",
    "run_sweep",
    "train_one",
]
