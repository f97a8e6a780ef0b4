"""Keeps pandas out of a command that looks at results."""

import sys

import pyarrow as pa


class _Absent:
    """Finds no pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def keep_pandas_out() -> None:
    """Make pyarrow take pandas for absent in this process, unless it is loaded.

    As soon as a Python value becomes an Arrow one, as in ``import pyarrow.dataset``, pyarrow looks whether it is a data
    frame, and imports pandas for that. It is a third of what looking at a sweep costs, and a command has no data frame.
    pyarrow looks once, and ``to_pandas()`` imports pandas all the same. A Python program may turn data frames into
    tables, so this is for processes that are a command.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _Absent)
    try:
        pa.scalar(True)
    finally:
        sys.meta_path.remove(_Absent)
