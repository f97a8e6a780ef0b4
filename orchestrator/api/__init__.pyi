from .asking import Sections
from .columns import confirmed_table, sweep_summary
from .opened import OpenSweep
from .opened_confirmation import OpenConfirmation
from .opened_point import OpenPoint
from .recorded import PLACES, check_looking, is_judging, open_recorded, open_store, open_sweep, pull, query, sweeps
from .running import confirm, sweep, train
from .writing import write_output

__all__ = [
    "PLACES",
    "OpenConfirmation",
    "OpenPoint",
    "OpenSweep",
    "Sections",
    "check_looking",
    "confirm",
    "confirmed_table",
    "is_judging",
    "open_recorded",
    "open_store",
    "open_sweep",
    "pull",
    "query",
    "sweep",
    "sweep_summary",
    "sweeps",
    "train",
    "write_output",
]
