"""What loads the data sets, by name."""

from collections.abc import Callable

from orchestrator.config import DataConfig
from orchestrator.training.data.folders import load_folder
from orchestrator.training.data.shipped import VISION_SETS, load_digits, load_vision
from orchestrator.training.data.splits import Loaded
from orchestrator.training.data.table_set import load_table

LOADERS: dict[str, Callable[[DataConfig], Loaded]] = {
    "digits": load_digits,
    "folder": load_folder,
    "table": load_table,
    **dict.fromkeys(VISION_SETS, load_vision),
}
