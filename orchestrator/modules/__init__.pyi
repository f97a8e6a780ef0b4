from .classifying import classify_files
from .deleting import Deletion, delete_sweep, plan_deletions
from .garbage import remove, survey
from .measuring import NetworkCost, measure_modules
from .pulling import Pulled, pull, pull_point
from .references import FORMS, SweepPoint, parse_reference
from .replacing import Request, replace_from_sets
from .retention import retentions
from .stale_artifacts import delete_versions, stale_versions
from .uploads import module_artifacts

__all__ = [
    "FORMS",
    "Deletion",
    "NetworkCost",
    "Pulled",
    "Request",
    "SweepPoint",
    "classify_files",
    "delete_sweep",
    "delete_versions",
    "measure_modules",
    "module_artifacts",
    "parse_reference",
    "plan_deletions",
    "pull",
    "pull_point",
    "remove",
    "replace_from_sets",
    "retentions",
    "stale_versions",
    "survey",
]
