"""Artifacts in W&B of points that were on a sweep's front and are not any more."""

import logging
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.modules.retention import Retention
from orchestrator.storage import DeltaStore
from orchestrator.tracking import API_SECONDS, TYPE, has_key, one_line, quieten, tracking_mode

if TYPE_CHECKING:
    import wandb

LOG = logging.getLogger("moda")
OF_POINT = re.compile(r"pareto-.+")
OF_WANDB = re.compile(r"latest|v\d+")  # aliases that it gives by itself


@dataclass(frozen=True)
class StaleVersion:
    """A version of a sweep's collection that nothing asks for any more.

    Attributes:
        sweep_id: the sweep.
        artifact: W&B's own.
    """

    sweep_id: str
    artifact: Any
    what = "W&B artifact versions of such points"

    @property
    def count(self) -> int:
        """The number of its files."""
        return int(self.artifact.file_count)

    @property
    def bytes(self) -> int:
        """The size of its files."""
        return int(self.artifact.size)


def is_stale(aliases: Iterable[str], kept: set[str]) -> bool:
    """Whether a version with these aliases is of a point that does not stay.

    One that is ``best`` or ``knee`` is not, nor one to which people gave an alias of their own.
    """
    own = {alias for alias in aliases if not OF_WANDB.fullmatch(alias)}
    return bool(own) and all(OF_POINT.fullmatch(alias) for alias in own) and not own & kept


def is_ours(metadata: Mapping[str, Any], storage: str | None, manifests: Container[str]) -> bool:
    """Whether a version was logged from this storage: from its id, and a set that it published.

    Versions of earlier versions of this program name no storage. A copy of a storage has the same id, and publishes
    sets that this one does not know.

    Args:
        metadata: the version's.
        storage: this storage's id.
        manifests: the sha256 of the manifests of all sets that this storage ever published.
    """
    return metadata.get("storage") in (None, storage) and metadata.get("manifest_sha256") in manifests


def stale_versions(retentions: Iterable[Retention], store: DeltaStore) -> tuple[list[StaleVersion], str | None]:
    """Return the artifact versions of points that do not stay; none if no API key is set.

    Args:
        retentions: what stays of the sweeps.
        store: the tables of their storage. A version that is from another storage, where a sweep has the same name, is
            left alone, and that is reported.

    Returns:
        The versions, and what is to be said of a W&B that does not answer.
    """
    asked = [kept for kept in retentions if kept.sweep.config.tracking.name == "wandb"]
    found: list[StaleVersion] = []
    if not asked or tracking_mode() != "online" or not has_key():
        return found, None
    quieten()
    storage = store.storage_id()
    manifests = set(store.read("modules")["manifest_sha256"].to_pylist())
    import wandb

    try:
        api = wandb.Api(timeout=API_SECONDS)
        for kept in asked:
            stale = [version for version in _versions(api, kept) if is_stale(version.aliases, kept.aliases)]
            ours = [version for version in stale if is_ours(version.metadata, storage, manifests)]
            found += [StaleVersion(kept.sweep.sweep_id, version) for version in ours]
            if len(ours) < len(stale):
                text = "%d W&B versions of %s are kept: they may be from another storage"
                LOG.warning(text, len(stale) - len(ours), kept.sweep.sweep_id)
    except Exception as error:  # a service of somebody else's, which raises what it likes
        return found, _said(error, "asked")
    return found, None


def delete_versions(versions: Iterable[StaleVersion]) -> tuple[int, str | None]:
    """Delete artifact versions together with their aliases.

    Returns:
        How many, and what is to be said of a W&B that does not do it.
    """
    deleted = 0
    for version in versions:
        try:
            version.artifact.delete(delete_aliases=True)
        except Exception as error:  # as above
            return deleted, _said(error, f"told to delete {version.artifact.name}")
        deleted += 1
    return deleted, None


def _versions(api: "wandb.Api", of: Retention) -> list[Any]:
    tracking = of.sweep.config.tracking
    name = "/".join(filter(None, (tracking.entity, tracking.project, of.sweep.sweep_id)))
    import wandb.errors

    try:
        return list(api.artifact_collection(TYPE, name).artifacts())
    except wandb.errors.CommError as error:
        if isinstance(error.exc, ValueError):  # it answered, and there is no such collection
            return []
        raise


def _said(error: Exception, what: str) -> str:
    return f"W&B could not be {what} ({one_line(error)}); run the same command again to retry"
