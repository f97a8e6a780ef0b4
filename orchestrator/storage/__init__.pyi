from .cache import Cache, make_cache
from .delta import DeltaStore
from .files import Files, StoredFile, check_path, resolve_root, usable_root
from .schema import METRICS, TABLES
from .tables import ResultStore

__all__ = [
    "METRICS",
    "TABLES",
    "Cache",
    "DeltaStore",
    "Files",
    "ResultStore",
    "StoredFile",
    "check_path",
    "make_cache",
    "resolve_root",
    "usable_root",
]
