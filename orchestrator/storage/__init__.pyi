from .cache import Cache, make_cache
from .delta import DeltaStore
from .files import Files, StoredFile, resolve_root, usable_root
from .schema import METRICS, TABLES, TERM_COLUMNS
from .tables import ResultStore

__all__ = [
    "METRICS",
    "TABLES",
    "TERM_COLUMNS",
    "Cache",
    "DeltaStore",
    "Files",
    "ResultStore",
    "StoredFile",
    "make_cache",
    "resolve_root",
    "usable_root",
]
