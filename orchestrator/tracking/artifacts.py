"""Module sets as W&B artifacts: a set is one artifact of type ``modules``, a sweep one collection of its name.

W&B's aliases are unique in a collection, so ``team/project/<sweep>:best`` is the best of that sweep, whatever it was
before. What comes back is hostile until its manifest and every file's size and sha256 have been checked.
"""

import hashlib
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moda_core.errors import ModuleSetError
from moda_core.sets import FILE_NAME, LARGEST_MANIFEST, LARGEST_WEIGHTS, MANIFEST, parse_manifest
from orchestrator.errors import ConfigError
from orchestrator.results import Point
from orchestrator.tracking.login import has_key, quieten

if TYPE_CHECKING:  # looking at a sweep, or a run without tracking, loads no client
    import wandb

LOG = logging.getLogger("moda")
TYPE = "modules"
LARGEST_METADATA = 100  # keys, W&B's limit
API_SECONDS = 30


@dataclass(frozen=True)
class ModuleArtifact:
    """A published module set to be uploaded to W&B.

    Attributes:
        collection: the sweep's id, at most 128 characters.
        alias: of this set alone: ``pareto-<point>``.
        roles: other aliases, ``best`` and ``knee``; they move to the set that is logged last.
        files: its bytes by name, the manifest among them.
        folder: where they lie, None where that is an object store.
        storage: the id of the storage that it comes from.
    """

    collection: str
    alias: str
    roles: tuple[str, ...]
    files: Mapping[str, bytes]
    folder: Path | None
    storage: str | None = None

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(map(len, self.files.values()))

    @property
    def sha256(self) -> str:
        """The hash of its manifest, which contains those of its files."""
        return hashlib.sha256(self.files[MANIFEST]).hexdigest()

    def log(self, run: "wandb.Run") -> None:
        """Log it as an output of the run; an artifact that was logged before only gets its roles."""
        if not run.offline:
            self._report_others(run)
            found = self._version(run, self.alias)
            if found is not None and found.metadata.get("manifest_sha256") == self.sha256:
                if missing := set(self.roles) - set(found.aliases):
                    found.aliases = [*found.aliases, *sorted(missing)]
                    found.save()
                return
        import wandb

        about = metadata(self.files[MANIFEST], self.sha256, self.storage)
        artifact = wandb.Artifact(self.collection, TYPE, metadata=about)
        for name, data in self.files.items():
            if self.folder is not None:  # a published set never changes: no copy is made of it
                artifact.add_file(str(self.folder / name), name=name, policy="immutable", skip_cache=True)
            else:
                with artifact.new_file(name, mode="wb") as stream:
                    stream.write(data)
        run.log_artifact(artifact, aliases=["latest", self.alias, *self.roles])

    def _report_others(self, run: "wandb.Run") -> None:
        """Warn where an alias is about to move away from a set of another storage."""
        for alias in (self.alias, *self.roles):
            version = self._version(run, alias)
            if version is not None and version.metadata.get("storage") not in (None, self.storage):
                LOG.warning(
                    "W&B collection %s: %r moves away from a module set of another storage, which has a sweep of this"
                    " name and project too; choose another sweep.name or tracking.project for one of them",
                    *(self.collection, alias),
                )

    def _version(self, run: "wandb.Run", alias: str) -> "wandb.Artifact | None":
        import wandb

        api = wandb.Api(timeout=API_SECONDS)
        name = f"{run.entity}/{run.project}/{self.collection}:{alias}"
        return api.artifact(name, type=TYPE) if api.artifact_exists(name, type=TYPE) else None


def point_alias(point: Point) -> str:
    """Return the alias of a point's module set, such as ``pareto-3-0.9-0.1``."""
    return "pareto-" + point.label.replace("/", "-")


def metadata(text: bytes, sha256: str, storage: str | None = None) -> dict[str, Any]:
    """Return the metadata of a set for W&B, from its manifest and the id of its storage: flat, at most 100 keys."""
    manifest = parse_manifest(text)
    about = manifest["about"]
    facts = {"manifest_sha256": sha256, "classes": len(manifest["class_names"])}
    facts |= {} if storage is None else {"storage": storage}
    found: dict[str, Any] = dict(facts)
    found |= {
        name: value for name, value in about.items() if isinstance(value, str | int | float) and name not in facts
    }
    for group in ("coefficients", "test", "validation"):
        found |= {f"{group}.{name}": value for name, value in (about.get(group) or {}).items()}
    return dict(list(found.items())[:LARGEST_METADATA])


class ArtifactSource:
    """A W&B artifact. In a process with an active online run, the artifact is recorded as used by that run.

    Args:
        reference: ``entity/project/collection:alias``.

    Raises:
        ConfigError: no key, no such artifact, or a W&B that does not answer.
        ModuleSetError: an artifact that is not a module set.
    """

    is_far = True

    def __init__(self, reference: str) -> None:
        import wandb

        run = wandb.run
        if run is None and not has_key():
            raise ConfigError(f"{reference}: no W&B API key is set; run `wandb login` or set WANDB_API_KEY")
        if run is None:
            quieten()
        self._reference = reference
        self._artifact = _ask(
            reference,
            lambda: (
                wandb.Api(timeout=API_SECONDS).artifact(reference)
                if run is None or run.offline
                else run.use_artifact(reference)
            ),
        )
        if self._artifact.type != TYPE:
            raise ModuleSetError(f"{reference} is an artifact of type {self._artifact.type!r}, not {TYPE!r}")
        self._sizes = _sizes(reference, _ask(reference, lambda: self._artifact.manifest.entries))

    def size(self, name: str) -> int | None:
        """Return the size of a file; None if it does not exist."""
        return self._sizes.get(name)

    def read(self, name: str) -> bytes:
        """Return a file's bytes, from W&B.

        Raises:
            ConfigError: a W&B that does not give it.
            ModuleSetError: the manifest of a set, which does not name another file that is there.
        """
        with tempfile.TemporaryDirectory(prefix="moda-fetch-") as scratch:
            entry = self._artifact.get_entry(name)
            path = _ask(self._reference, lambda: entry.download(root=scratch, skip_cache=True))
            data = Path(path).read_bytes()
        if name == MANIFEST and (unknown := sorted(set(self._sizes) - {*parse_manifest(data)["files"], MANIFEST})):
            raise ModuleSetError(f"{self._reference} holds {unknown[0]!r}, which its manifest does not name")
        return data


def _sizes(reference: str, entries: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of an artifact's files, where all have names and sizes that a module set may have."""
    sizes = {}
    for name, entry in entries.items():
        if not FILE_NAME.fullmatch(name) or entry.path != name:
            raise ModuleSetError(f"{reference}: {name!r:.100} is not a file name that a module set may have")
        largest = LARGEST_MANIFEST if name == MANIFEST else LARGEST_WEIGHTS
        if entry.ref is not None or not isinstance(entry.size, int) or not 0 <= entry.size <= largest:
            raise ModuleSetError(f"{reference}: {name!r:.100} is a reference, or larger than {largest} bytes")
        sizes[name] = entry.size
    return sizes


def _ask(reference: str, call: Callable[[], Any]) -> Any:
    """Ask W&B; what it answers instead is one line."""
    try:
        return call()
    except Exception as error:  # a service of somebody else's, which raises what it likes
        raise ConfigError(f"{reference}: it cannot be downloaded from W&B ({one_line(error)})") from error


def one_line(error: Exception) -> str:
    """Return the message of another library's error on one line of bounded length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text:.300}"
