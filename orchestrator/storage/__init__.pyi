from .cache import Cache, cache_folder, make_cache
from .delta import DeltaStore
from .files import Files, StoredFile, check_path, resolve_root, usable_root
from .followed import FollowedTable
from .layout import (
    AFTER_CHECKPOINT,
    CHECKPOINT,
    METHOD_PARTS,
    MODULES,
    TRIALS,
    WEIGHTS,
    counts_file,
    folder_of,
    heartbeat_file,
    is_counts_file,
    is_set_of,
    set_file,
    set_folder,
    set_name,
    trial_file,
    trial_folder,
)
from .schema import TABLES, TERM_COLUMNS
from .tables import ResultStore

__all__ = [
    "AFTER_CHECKPOINT",
    "CHECKPOINT",
    "METHOD_PARTS",
    "MODULES",
    "TABLES",
    "TERM_COLUMNS",
    "TRIALS",
    "WEIGHTS",
    "Cache",
    "DeltaStore",
    "Files",
    "FollowedTable",
    "ResultStore",
    "StoredFile",
    "cache_folder",
    "check_path",
    "counts_file",
    "folder_of",
    "heartbeat_file",
    "is_counts_file",
    "is_set_of",
    "make_cache",
    "resolve_root",
    "set_file",
    "set_folder",
    "set_name",
    "trial_file",
    "trial_folder",
    "usable_root",
]
