"""Bringing a module set to a local folder, whole and checked or not at all, from wherever a reference says it is."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from moda_core import open_modules, slice_modules
from moda_core.errors import ModuleSetError
from moda_core.placing import new_folder, write_whole
from moda_core.sets import MANIFEST, WEIGHTS, check_file, check_manifest_size, check_size, parse_manifest
from orchestrator.config import storage_of
from orchestrator.errors import ConfigError, StorageError, listed, shown
from orchestrator.modules.model_card import CARD, sliced_card
from orchestrator.modules.publishing import published
from orchestrator.modules.references import Folder, SweepPoint, parse_reference
from orchestrator.results import Point, Sweep, read_sweep
from orchestrator.storage import Cache, DeltaStore, Files, check_path, make_cache, resolve_root, set_folder


class Source(Protocol):
    """Where a module set is. Nothing that it says is trusted."""

    @property
    def is_far(self) -> bool:
        """Whether its files are worth caching."""
        ...

    def size(self, name: str) -> int | None:
        """Return the size of a file; None if it does not exist."""
        ...

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        ...


@dataclass(frozen=True)
class FolderSource:
    """A folder or a place in an object store."""

    files: Files
    folder: str = ""

    @property
    def is_far(self) -> bool:
        return self.files.local is None

    def size(self, name: str) -> int | None:
        return self.files.size(f"{self.folder}{name}")

    def read(self, name: str) -> bytes:
        return self.files.read(f"{self.folder}{name}")


@dataclass(frozen=True, repr=False)
class Pulled:
    """A module set on the local disk.

    Attributes:
        folder: where.
        manifest: what it says.
        bytes: of all its files.
        downloaded: bytes of them that came from elsewhere than this disk, the manifest aside.
    """

    folder: Path
    manifest: dict[str, Any]
    bytes: int
    downloaded: int

    @property
    def class_names(self) -> list[str]:
        """The classes of its modules, in the order of the logits."""
        names: list[str] = self.manifest["class_names"]
        return names

    def __repr__(self) -> str:
        return f"<Pulled {str(self.folder)!r}: classes {listed(self.class_names)}, {self.bytes / 1024:.0f} KiB>"


def pull(
    reference: str,
    to: str,
    *,
    classes: Sequence[str] | None = None,
    storage: str | None = None,
    data_root: str | None = None,
) -> Pulled:
    """Bring the module set of a reference to the folder ``to``.

    Args:
        reference: ``sweep:<id>/<point>``, a folder, a URI, or ``entity/project/collection:alias`` of W&B. In a process
            with an active online W&B run, that run used the artifact.
        to: a new folder.
        classes: names, in the order wanted of the logits; None: all of the set's.
        storage: of the sweep; None: as the command line has it.
        data_root: for a point that nobody asked for before: where the data set lies here.

    Raises:
        ConfigError: a reference that names nothing, a folder that is taken or cannot be made, a W&B or an object store
            that does not give it.
        ModuleSetError: a set that is not what its manifest says, or that lacks a class.
    """
    named = parse_reference(reference)
    if isinstance(named, SweepPoint):
        root = resolve_root(storage or storage_of([]))
        sweep = read_sweep(DeltaStore(root), named.sweep_id)
        return pull_point(sweep, sweep.find(named.point), root, to, classes=classes, data_root=data_root)
    if isinstance(named, Folder):
        folder, files = free_folder(to), Files(named.root)
        if files.local is not None and not files.local.is_dir():
            raise ConfigError(f"{reference} is not a folder here; a sweep's point is sweep:<id>/<point>")
        return place(folder, FolderSource(files), reference, classes)
    from orchestrator.tracking import ArtifactSource

    folder = free_folder(to)
    return place(folder, ArtifactSource(named.name), reference, classes)


def pull_point(
    sweep: Sweep,
    point: Point,
    root: str,
    to: str,
    *,
    classes: Sequence[str] | None = None,
    data_root: str | None = None,
) -> Pulled:
    """Bring a point's module set to the folder ``to``; publish it first if that has not been done.

    Args:
        sweep: the sweep.
        point: one of its points.
        root: the storage.
        to: as for :func:`pull`, like ``classes`` and ``data_root``.

    Raises:
        ConfigError: a point without a module set, or a folder that is taken or cannot be made.
        ModuleSetError: as :func:`pull`.
    """
    if point.why_no_set:
        raise ConfigError(point.why_no_set)
    folder, files = free_folder(to), Files(root)
    if files.local is not None and Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(files.local)):
        raise ConfigError(f"--to {to} lies inside the storage {files.local}; choose a folder elsewhere")
    name = published(sweep, point, root, data_root=data_root)
    return place(folder, FolderSource(files, f"{set_folder(name)}/"), f"{sweep.sweep_id}/{point.label}", classes)


def free_folder(to: str) -> Path:
    """Return the folder ``to``, which must be empty or new.

    Raises:
        ConfigError: it is taken or cannot be looked at, or it is a URI.
    """
    check_path(to)
    try:
        folder = Path(to).expanduser().absolute()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"--to {to} is not empty; choose a new folder")
    except (OSError, RuntimeError) as error:  # the latter: the home of somebody unknown
        raise ConfigError(f"--to {to} cannot be used: {error}; choose another folder") from error
    return folder


def place(folder: Path, source: Source, where: str, classes: Sequence[str] | None = None) -> Pulled:
    """Put a module set, or some classes of it, into a folder: complete and checked, or not at all.

    Args:
        folder: as :func:`free_folder` gives it.
        source: where the set is.
        where: the same for people.
        classes: as for :func:`pull`.

    Raises:
        ConfigError: a folder that cannot be made, or that somebody else took in the meantime; it stays as it is.
        StorageError: a source that cannot be read.
        ModuleSetError: a set that is not what its manifest says, or lacks a class.
    """
    text = _read_manifest(source, where)
    manifest = parse_manifest(text)
    if wrong := [name for name in classes or () if name not in manifest["class_names"]]:
        raise ModuleSetError(f"{where} has no class {shown(wrong[0])}; it has {listed(manifest['class_names'])}")
    with _placed(folder) as part:
        fetched = part if classes is None else part.parent / "all"
        downloaded = _fetch(source, where, text, manifest, fetched)
        if classes is None:
            open_modules(fetched)  # refuses a graph or tensors that loading would refuse
        else:
            documents = {name: (fetched / name).read_bytes() for name in manifest["files"] if name != WEIGHTS}
            if CARD in documents:
                documents[CARD] = sliced_card(documents[CARD], classes)
            slice_modules(fetched, part, classes, documents=documents)
            manifest = parse_manifest((part / MANIFEST).read_bytes())
    return Pulled(folder, manifest, sum(file.stat().st_size for file in folder.iterdir()), downloaded)


@contextlib.contextmanager
def _placed(folder: Path) -> Iterator[Path]:
    """A folder to write to, which becomes ``folder``; what hinders that is one line."""
    is_filled = False
    try:
        with new_folder(folder) as part:
            is_filled = True
            yield part
            is_filled = False
    except OSError as error:
        if is_filled:  # of what is written to it, and not of the place
            raise
        if isinstance(error, FileExistsError):
            text = f"--to {folder} was created by another process in the meantime; choose a new folder"
            raise ConfigError(text) from error
        raise ConfigError(f"--to {folder} cannot be made: {error.strerror}; choose another folder") from error


def _fetch(source: Source, where: str, text: bytes, manifest: dict[str, Any], folder: Path) -> int:
    """Write a set's checked files to a folder. Returns how many bytes were downloaded."""
    folder.mkdir(exist_ok=True)
    cache, downloaded = make_cache(), 0
    for name in manifest["files"]:
        data, came = _file(source, name, manifest, cache, where)
        downloaded += came
        write_whole(folder / name, data)
    write_whole(folder / MANIFEST, text)
    return downloaded


def _read_manifest(source: Source, where: str) -> bytes:
    check_manifest_size(where, _size(source, MANIFEST, where))
    return _read(source, MANIFEST, where)


def _size(source: Source, name: str, where: str) -> int | None:
    try:
        return source.size(name)
    except OSError as error:
        raise StorageError(f"{where}: {name} cannot be read: {error}") from error


def _read(source: Source, name: str, where: str) -> bytes:
    try:
        return source.read(name)
    except OSError as error:
        raise StorageError(f"{where}: {name} cannot be read: {error}") from error


def _file(source: Source, name: str, manifest: dict[str, Any], cache: Cache, where: str) -> tuple[bytes, int]:
    """The checked bytes of a file, and how many of them were downloaded."""
    kept = cache.get(manifest["files"][name]["sha256"]) if source.is_far else None
    if kept is not None:
        check_file(name, kept, manifest)
        return kept, 0
    check_size(where, name, _size(source, name, where), manifest)
    data = _read(source, name, where)
    check_file(name, data, manifest)
    if not source.is_far:
        return data, 0
    cache.put(data)
    return data, len(data)
