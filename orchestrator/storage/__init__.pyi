from .cache import Cache, make_cache
from .delta import DeltaStore
from .files import Files, StoredFile, check_path, resolve_root, usable_root
from .older_rows import CUT
from .schema import TABLES, TERM_COLUMNS
from .tables import ResultStore

__all__ = [
    "CUT",
    "TABLES",
    "TERM_COLUMNS",
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
