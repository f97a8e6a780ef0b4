"""``moda confirm``: trains the coefficients of chosen points again, with fresh seeds, as an ordinary sweep.

Its baselines are the coefficients, its repeats the seeds; its id follows from the sweep, the points and the overrides,
so that the same command resumes.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from orchestrator.config import (
    SEEDS,
    Config,
    Fingerprints,
    identity,
    identity_hash,
    override_config,
    weights_fingerprint,
    without_method_names,
)
from orchestrator.errors import ConfigError
from orchestrator.results import Confirmation, Point, Sweep, without_seed
from orchestrator.runs.sweep import run_sweep
from orchestrator.training.data import data_here
from orchestrator.views import Progress

FRESH = 1000  # how far fresh seeds are from the sweep's own
TAKEN = ("training.", "data.", "model.", "evaluation.", "sweep.concurrency", "tracking", "storage")
FIXED = (
    "data.name",
    "data.classes",
    "model.name",
    "evaluation.taus",
    "evaluation.thresholds",
    "evaluation.levels",
    "evaluation.targets",
    "evaluation.magnitude_targets",
    "evaluation.scores",
    "evaluation.gate_shares",
    "evaluation.rules",
)


@dataclass(frozen=True)
class Request:
    """The points to confirm, and how.

    Attributes:
        points: ``front``, ``best``, ``knee`` or labels of points.
        seeds: fresh trainings of each set of coefficients.
        overrides: ``key=value``, on top of the sweep's configuration.

    Raises:
        ConfigError: less than one seed.
    """

    points: Sequence[str] = ("front",)
    seeds: int = 3
    overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"--seeds {self.seeds}: must be at least 1")


def confirm(parent: Sweep, request: Request, config: Config, console: Console) -> Confirmation:
    """Train the missing trials of a confirmation, and read it.

    Args:
        parent: the sweep whose points are confirmed.
        request: which of them, and how.
        config: of the command line, for storage and tracking.
        console: where to write.

    Raises:
        ConfigError: no such points, or overrides that would make another search of it.
    """
    points = chosen_points(parent, request.points)
    asked = confirming(parent, points, request)
    tracking = (
        config.tracking if any(override.startswith("tracking") for override in request.overrides) else asked.tracking
    )
    asked = dataclasses.replace(asked, storage=config.storage, tracking=tracking, data=data_here(asked.data, None))
    sets, first = len(asked.search.baselines), asked.training.seed
    console.print(
        f"confirming {len(points)} points of {parent.sweep_id}: {sets} sets of coefficients, {request.seeds} trainings"
        f" each with seeds from {first} on (the sweep's: from {parent.config.training.seed} on)",
        highlight=False,
        soft_wrap=True,
    )

    def reported(sweep: Sweep) -> list[Point]:
        return [found for _, found in Confirmation(parent, sweep).told]

    return Confirmation(parent, run_sweep(asked, Progress(console), reported=reported))


def chosen_points(sweep: Sweep, names: Sequence[str]) -> list[Point]:
    """Return the points that names refer to, each once; ``front`` refers to the whole front.

    Raises:
        ConfigError: no such point, or no points at all.
    """
    if not sweep.front:
        raise ConfigError(sweep.why_no_front)
    points = [point for name in names for point in (sweep.front if name == "front" else [sweep.find(name)])]
    return list({point.label: point for point in points}.values())


def confirming(parent: Sweep, points: Sequence[Point], request: Request) -> Config:
    """Return the configuration of the sweep that confirms points of another one.

    Raises:
        ConfigError: overrides that would make another search of it, or that cannot be right.
    """
    if not parent.config.search.space:
        raise ConfigError(
            f"sweep {parent.sweep_id!r} is a single training, not a search; train it again with moda train"
            " training.seed=..., or sweep with search.repeats"
        )
    own = [override for override in request.overrides if not override.startswith(("tracking", "storage"))]
    _check_overrides(parent, own)
    config = override_config(parent.config, own)
    seed, used = config.training.seed, parent.config.training.seed
    if not any(one.startswith("training.seed=") for one in own):
        seed = (seed + FRESH) % SEEDS
    elif used - request.seeds < seed < used + parent.config.search.repeats:
        raise ConfigError(
            f"training.seed={seed}: the sweep used seeds from {used} on; use other seeds, or leave it out"
        )
    sets = {json.dumps(one, sort_keys=True): one for one in (without_seed(p.trial.coefficients) for p in points)}
    search = dataclasses.replace(
        config.search,
        baselines=tuple(sets.values()),
        repeats=request.seeds,
        # No chosen point need be a standard training: the hypervolumes of both sweeps are up to one reference point.
        reference={**config.search.reference, **parent.reference},
        # Chosen coefficients are trained to the end, and nothing is searched.
        warm_start=(),
        early_stopping="none",
    )
    labels = tuple(point.label for point in points)
    hours = config.sweep.hours if config.sweep.hours != parent.config.sweep.hours else None  # the parent's are its own
    sweep = dataclasses.replace(
        config.sweep, name=None, trials=len(sets) * request.seeds, hours=hours, confirms=parent.sweep_id, chosen=labels
    )
    training = dataclasses.replace(config.training, seed=seed)
    config = dataclasses.replace(config, training=training, search=search, sweep=sweep)
    made_of = identity_hash(identity(config, _fingerprints(parent, config)))
    name = f"{parent.sweep_id[:46]}-confirm-{made_of}"  # at most 64 characters
    return dataclasses.replace(config, sweep=dataclasses.replace(sweep, name=name))


def _fingerprints(parent: Sweep, config: Config) -> Fingerprints:
    """What the sweep recorded of its data and network, which is checked when the confirmation runs: its name stays the
    same when a table has moved."""
    if config.training.init_from == parent.config.training.init_from:
        return parent.fingerprints
    return {**parent.fingerprints, "training": weights_fingerprint(config)}


def _check_overrides(parent: Sweep, overrides: Sequence[str]) -> None:
    for one in overrides:
        key = one.partition("=")[0]
        if not one.startswith(TAKEN) or key in FIXED:
            raise ConfigError(
                f"{one}: confirming trains the sweep's own coefficients and measures its own choices, so model, data"
                f" set, method, search and grid are as recorded; it takes {', '.join(TAKEN)} without {', '.join(FIXED)}"
            )
        section, _, name = key.partition(".")
        searched = without_seed(without_method_names(dict.fromkeys(parent.coefficient_names)))
        if section in ("model", "training") and name in searched:
            raise ConfigError(f"{one}: every point of {parent.sweep_id!r} has its own, it was searched; leave it out")
