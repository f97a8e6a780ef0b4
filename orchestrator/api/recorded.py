"""Looking at what is recorded: opening sweeps, asking tables, pulling module sets."""

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import pyarrow as pa

from orchestrator.api.asking import PathText, Sections, asked_storage, asked_words, checked_names
from orchestrator.api.columns import sweeps_table
from orchestrator.api.opened import OpenSweep
from orchestrator.config import override_config
from orchestrator.errors import ConfigError
from orchestrator.results import read_sweep
from orchestrator.storage import DeltaStore, Files

if TYPE_CHECKING:
    from orchestrator.modules import Pulled

JUDGING = ("search.objectives", "search.constraints", "search.reference")  # by which points are judged, not made
PLACES = ("data.path=", "data.test_path=")  # where tables lie here; that they hold the same is checked
ROOT = "data.root="
_JUDGING_KEYS = [key.split(".") for key in JUDGING]


def open_sweep(
    sweep_id: str, /, *overrides: str, storage: PathText | None = None, **sections: Unpack[Sections]
) -> OpenSweep:
    """Open a sweep to look at its results and to pull modules.

    Args:
        sweep_id: its name.
        overrides: ``search.objectives``, ``search.constraints`` and ``search.reference`` judge its points anew;
            ``data.root=``, ``data.path=`` and ``data.test_path=`` say where the data lies here.
        storage: a folder or a URI; None: as the command line has it (``MODA_STORAGE``, else ``~/moda-results``).
        sections: the same as mappings: ``search={"objectives": {"flops": "min"}}``.

    Raises:
        ConfigError: no such sweep, a storage that cannot be read, or other overrides.
    """
    words = asked_words(overrides, sections, storage)
    check_looking(words, ("storage=", ROOT, *PLACES), taker="opening a sweep")
    return open_recorded(asked_storage(words), sweep_id, words)


def sweeps(*, storage: PathText | None = None) -> pa.Table:
    """List the sweeps of a storage, one per row, the oldest first.

    Args:
        storage: as for :func:`open_sweep`.

    Returns:
        ``sweep``, ``created``, ``model``, ``data``, ``method``, ``trials`` (asked for when it began), ``finished``
        trials, and ``confirms``: the sweep whose points it confirms, or null.

    Raises:
        ConfigError: a storage that cannot be read.
    """
    return sweeps_table(open_store(asked_storage(asked_words([], {}, storage))))


def query(sweep_id: str, sql: str, /, *, storage: PathText | None = None) -> pa.Table:
    """Run a SELECT on the tables of a sweep, as ``moda query`` does.

    Args:
        sweep_id: its name.
        sql: one SELECT in DuckDB's SQL over ``sweeps``, ``trials``, ``epochs``, ``points``, ``reference_points``,
            ``rungs``, ``modules`` and ``front``; docs/tables.md describes their columns.
        storage: as for :func:`open_sweep`.

    Raises:
        ConfigError: no such sweep or table, or SQL that is wrong or wants more than to look.
    """
    from orchestrator.results import query

    root = asked_storage(asked_words([], {}, storage))
    open_store(root)
    return query(root, sweep_id, sql)


def pull(
    reference: str,
    to: PathText,
    *overrides: str,
    classes: Sequence[str] | None = None,
    storage: PathText | None = None,
    **sections: Unpack[Sections],
) -> "Pulled":
    """Bring a module set, or some of its classes, to a new folder, as ``moda pull`` does.

    Args:
        reference: ``sweep:mine/best`` (or ``knee``, or a point's name), a folder, a URI, or
            ``entity/project/collection:alias`` of W&B.
        to: a new folder.
        overrides: for a sweep's point, as for :func:`open_sweep`, like ``storage`` and ``sections``.
        classes: names, in the order wanted of the logits; None: all of the set's.

    Raises:
        ConfigError: a reference that names nothing, a folder that is taken, or overrides beside another reference.
        ModuleSetError: a set that is not what its manifest says, or that lacks a class.
    """
    from orchestrator.modules import SweepPoint, parse_reference, pull

    named = parse_reference(reference)
    if isinstance(named, SweepPoint):
        sweep = open_sweep(named.sweep_id, *overrides, storage=storage, **sections)
        return sweep.pull(named.point, to, classes=classes)
    if words := asked_words(overrides, sections, storage):
        raise ConfigError(f"{words[0]}: only pulling a sweep's point takes overrides")
    names = None if classes is None else checked_names("classes", classes)
    return pull(reference, os.fspath(to), classes=names)


def open_recorded(storage: str, sweep_id: str, words: Sequence[str] = ()) -> OpenSweep:
    """Open a sweep with its recorded configuration and the overrides that :func:`check_looking` accepted.

    Raises:
        ConfigError: no such sweep, a storage that cannot be read, or an override that cannot be right.
    """
    store, root = open_store(storage), Files(storage).root
    sweep = read_sweep(store, sweep_id)
    placed = [word for word in words if word.startswith(ROOT)]
    data_root = override_config(sweep.config, placed).data.root if placed else None
    kept = [word for word in words if is_judging(word) or word.startswith(PLACES)]
    return OpenSweep(dataclasses.replace(sweep, config=override_config(sweep.config, kept)), root, data_root)


def open_store(storage: str) -> DeltaStore:
    """Open the tables of a storage.

    Raises:
        ConfigError: they cannot be read.
    """
    store = DeltaStore(Files(storage).root)
    try:
        store.version("sweeps")
    except OSError as error:
        plain = " ".join(re.sub(r"\x1b\[\d+m|↳", "", str(error)).split())
        raise ConfigError(f"storage={storage!r} cannot be read: {plain}") from error
    return store


def check_looking(words: Sequence[str], taken: tuple[str, ...], *, taker: str = "this command") -> None:
    """Refuse overrides that neither judge the points of a recorded sweep nor begin like one of ``taken``.

    Raises:
        ConfigError: the first of them, and what ``taker`` takes.
    """
    if wrong := [word for word in words if not is_judging(word) and not word.startswith(taken)]:
        known = ", ".join([*taken, *(f"{key}=" for key in JUDGING)])
        raise ConfigError(f"{wrong[0]}: {taker} takes {known} only; the rest is as recorded")


def is_judging(word: str) -> bool:
    """Return whether an override changes how the points of a recorded sweep are judged."""
    return re.split(r"[.=]", word.lstrip("+~"), maxsplit=2)[:2] in _JUDGING_KEYS
