"""Publishing a point as a module set.

A set is made when it is first asked for, from the trial's weights and counts: cut to the union of all class masks,
proven against the masked network on held-out images, and kept in the storage. Files go first, then the manifest, then
the row that tells of it.
"""

import dataclasses
import json
import logging
import os
import tempfile
from pathlib import Path

import torch

from moda_core import save_modules
from moda_core.sets import MANIFEST
from orchestrator.config import to_plain
from orchestrator.errors import StorageError
from orchestrator.modules.model_card import CARD, model_card
from orchestrator.modules.module_log import is_recorded, published_row
from orchestrator.modules.rejecting import rejection_of
from orchestrator.results import Point, Sweep, package_versions, utc_now
from orchestrator.storage import DeltaStore, Files, set_file, set_folder
from orchestrator.training import Trial, check_unchanged, choose, load_trained, with_stored_bias
from orchestrator.training.data import data_here, load_data

LOG = logging.getLogger("moda")
CHECK_IMAGES = 256


def published(sweep: Sweep, point: Point, root: str, *, data_root: str | None = None) -> str:
    """Return the name of a point's module set in the storage, after publishing it if that has not been done."""
    name, files = name_of(point), Files(root)
    if not files.exists(set_file(name, MANIFEST)):
        publish(sweep, point, root, data_root=data_root)
        return name
    try:
        record_published(sweep, point, files)
    except OSError as error:  # a storage that one may only read: the set is there all the same
        LOG.warning("%s is not recorded in the table modules, which cannot be written: %s", name, error)
    return name


def record_published(sweep: Sweep, point: Point, files: Files) -> None:
    """Say in the table that a point's set was published, unless that is its last word: after every publishing, and
    where one was interrupted before this or went before there was such a table."""
    name, store = name_of(point), DeltaStore(files.root)
    manifest = files.read(set_file(name, MANIFEST))
    if not is_recorded(store.read("modules", sweep.sweep_id), name, manifest):
        row = published_row(sweep.sweep_id, point.trial.trial_id, point.choice, name, manifest, utc_now())
        store.append("modules", [row])


def publish(sweep: Sweep, point: Point, root: str, *, data_root: str | None = None) -> None:
    """Make a point's module set in the storage, proven on validation images.

    Args:
        sweep: the sweep.
        point: one of its points.
        root: the storage.
        data_root: where the data set lies here, if it is elsewhere than where the sweep ran.

    Raises:
        StorageError: a storage of this machine that cannot be written to.
        ConfigError: data or a network that are others than the sweep recorded.
        ValueError: a set that cannot be proven.
    """
    files = Files(root)
    if files.local is not None and not os.access(files.local, os.W_OK):  # before what takes long
        raise StorageError(
            f"storage={root!r} can only be read, and {point.label} of {sweep.sweep_id!r} is not published yet"
        )
    point, state = point.own, point.trial
    config = sweep.config.for_trial(state.number, state.coefficients)
    trial = Trial(sweep.sweep_id, state.number, state.coefficients, config, root)
    data = load_data(data_here(config.data, data_root))
    own = ("rules",) if point.choice.rule in config.evaluation.rules else ()
    check_unchanged(sweep, data, sections=("data", "network", *own))
    trained = load_trained(trial, data, [point.choice])
    chosen = choose(trained, point.choice, config.evaluation)
    units = with_stored_bias(chosen.units, point.bias)
    _, judged = data.judged
    images = judged[torch.arange(min(CHECK_IMAGES, len(judged)))]
    about = {
        "sweep": sweep.sweep_id,
        "trial": trial.trial_id,
        "coefficients": dict(state.coefficients),
        **point.choice.columns,
        "floor": config.evaluation.floor,
        "data": config.data.name,
        "full_parameters": sum(parameter.numel() for parameter in trained.network.parameters()),
        "config": to_plain(dataclasses.replace(config, storage="")),
        "fingerprints": sweep.fingerprints,
        "validation": point.metrics,
        "test": point.test,
        "versions": package_versions(),
    }
    rejection = rejection_of(trained.network, chosen.sites, units, data, seed=config.evaluation.seed)
    card = model_card(sweep, point, data.class_names, rejection)
    name = name_of(point)
    with tempfile.TemporaryDirectory(prefix="moda-publish-") as scratch:
        save_modules(
            Path(scratch),
            trained.network,
            chosen.sites,
            units,
            images,
            class_names=data.class_names,
            preprocessing={**data.preprocessing(), **config.data.decoding},
            rejection=rejection,
            about=json.loads(json.dumps(about)),
            documents={CARD: card.encode()},
        )
        written = {file.name: file.read_bytes() for file in Path(scratch).iterdir()}
    files.write_folder(set_folder(name), written, last=MANIFEST)  # of publishers at once one writes it
    record_published(sweep, point, files)


def name_of(point: Point) -> str:
    """Return the module set's name in the storage."""
    return point.set_name
