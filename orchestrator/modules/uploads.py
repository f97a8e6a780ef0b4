"""The module sets of a sweep's best point and knee, published and ready for W&B."""

import logging
from collections.abc import Sequence

from moda_core.sets import MANIFEST, parse_manifest
from orchestrator.errors import MISTAKES
from orchestrator.modules.publishing import published
from orchestrator.results import Point, Sweep
from orchestrator.storage import DeltaStore, Files, set_file, set_folder
from orchestrator.tracking import ModuleArtifact, point_alias

LOG = logging.getLogger("moda")


def module_artifacts(sweep: Sweep, root: str) -> list[ModuleArtifact]:
    """Publish the module sets of best and knee. A set that cannot be published is reported and left out."""
    found = []
    for label, roles in sweep.roles.items():
        point = sweep.find(label)
        try:
            found.append(_module_artifact(sweep, point, roles, root))
        except MISTAKES as error:
            LOG.warning("the modules of %s are not published: %s", point.label, error)
        except Exception:  # a bug, which fails no sweep but leaves its traceback
            LOG.exception(
                "the modules of %s are not published, because of a bug of ours; please report it", point.label
            )
    return found


def _module_artifact(sweep: Sweep, point: Point, roles: Sequence[str], root: str) -> ModuleArtifact:
    files, name = Files(root), published(sweep, point, root)
    text = files.read(set_file(name, MANIFEST))
    sets = {file: files.read(set_file(name, file)) for file in parse_manifest(text)["files"]}
    folder = files.local and files.local / set_folder(name)
    storage = DeltaStore(files.root).storage_id(make=True)
    return ModuleArtifact(sweep.sweep_id, point_alias(point), tuple(roles), {**sets, MANIFEST: text}, folder, storage)
