"""A trial's rungs: epochs after which its surface is measured, and the tables say whether it goes on.

The rule is orchestrator/search/halving.py's. It is given the surfaces of all trials of the sweep that have been at the
rung, as the table `rungs` holds them, so that a trial that died there and is run again is judged as any other.
"""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from moda_core.modes import evaluating
from orchestrator.config import Config, SearchConfig
from orchestrator.results import BaselineReference, recorded_reference
from orchestrator.search import halving, scaled, scaled_reference
from orchestrator.storage import ResultStore
from orchestrator.training.batches import Workers
from orchestrator.training.calibration import CrossFitting, second_half
from orchestrator.training.data import Data, ImageSet
from orchestrator.training.decompose import grid, measure, prepare

PART = 3  # one image in so many is counted and measured: with all of them a rung of digits costs six epochs


class Stopped(RuntimeError):
    """Other trials are better at a rung."""


@dataclass(frozen=True)
class Rung:
    """Where trials are judged.

    Attributes:
        number: from 1.
        fraction: of a training. Trials are compared with those that were at the same fraction.
        epoch: that fraction of this training.
    """

    number: int
    fraction: float
    epoch: int


def rungs_of(search: SearchConfig, epochs: int) -> list[Rung]:
    """The rungs of a training, none without early stopping; of several on one epoch the first, and none on the last."""
    if search.early_stopping == "none" or epochs < 2:
        return []
    found: dict[int, Rung] = {}
    for index, epoch in enumerate(halving.rungs(epochs, search.reduction, search.first_rung)):
        fraction = round(search.first_rung * search.reduction**index, 6)  # the same number, however it was reached
        found.setdefault(epoch, Rung(index + 1, fraction, epoch))
    return [rung for epoch, rung in found.items() if epoch < epochs]


def surface(
    network: nn.Module,
    data: Data,
    config: Config,
    *,
    precision: torch.dtype,
    workers: Workers,
    parts: nn.Module | None = None,
) -> list[dict[str, Any]]:
    """Rows of a network's validation points over the whole free grid, from one image in ``PART``.

    All workers count; the first one has the rows, the others none. A training can go on after it as if nothing had
    been: modes and random generators are as they were.
    """
    device = data.train.labels.device
    evaluation = config.evaluation
    name = "images_per_size" if evaluation.pairs is None else "pairs"
    fewer = replace(evaluation, **{name: math.ceil(getattr(evaluation, name) / PART)})
    whole = nn.ModuleList([network] if parts is None else [network, parts])
    with evaluating(whole), torch.random.fork_rng([device] if device.type == "cuda" else []):
        part = replace(data, train=_part(data.train))
        trained = prepare(network, part, config, precision=precision, workers=workers, parts=lambda: parts)
        if workers.rank > 0:
            return []
        choices, fitting = grid(evaluation), CrossFitting(second_half(data.validation.labels, config.data.seed))
        return measure(trained, data.validation, fewer, split="validation", choices=choices, calibration=fitting)


def verdict(
    rows: Iterable[Mapping[str, Any]],
    trial_id: str,
    rung: Rung,
    config: Config,
    baseline: BaselineReference | None = None,
) -> str | None:
    """Why a trial is stopped at a rung, by the rows of the table `rungs`; None where it goes on.

    Surfaces are compared on the objectives' scales. Where a reference value is neither stated nor follows from the
    baseline yet, it is the worst value there.
    """
    search = config.search
    at_rung: dict[str, list[list[float]]] = {}
    for row in rows:
        if row["fraction"] == rung.fraction:
            metrics = {**row, **dict(row.get("own") or ())}
            values = [math.nan if metrics[name] is None else float(metrics[name]) for name in search.objectives]
            points = at_rung.setdefault(row["trial_id"], [])
            if not any(map(math.isnan, values)):
                points.append(values)
    directions, width = search.directions, len(search.objectives)
    surfaces = {name: scaled(points, search.scales).reshape(len(points), width) for name, points in at_rung.items()}
    stated = search.reference_values(baseline.values if baseline else {})
    everything = np.concatenate(list(surfaces.values()))
    reference = scaled_reference(stated, search.scales, directions, everything).tolist()
    if halving.keeps(surfaces, trial_id, directions, reference=reference, reduction=search.reduction):
        return None
    rank = 1 + halving.ranking(surfaces, directions, reference=reference).index(trial_id)
    return (
        f"stopped at epoch {rung.epoch} of {config.training.epochs}: rank {rank} of {len(surfaces)} at rung"
        f" {rung.number}, the best {math.ceil(len(surfaces) / search.reduction)} go on"
    )


@dataclass
class Judge:
    """Judges a trial at its rungs.

    Attributes:
        sweep_id: the sweep.
        trial_id: the trial.
        config: with the trial's coefficients in place.
        may_stop: False for baselines, which only are there for the others to be compared with.
        data: on the network's device.
        store: the tables.
        precision: of the forward passes.
        workers: who trains; the first one measures and decides, and all obey.
        parts: what the method has of its own.
        seconds: spent so far.
    """

    sweep_id: str
    trial_id: str
    config: Config
    may_stop: bool
    data: Data
    store: ResultStore
    precision: torch.dtype
    workers: Workers
    parts: nn.Module | None = None
    seconds: float = 0.0

    def __call__(self, network: nn.Module, epoch: int) -> bool:
        """After an epoch; where it is a rung, write the surface and read the verdict. Returns whether it is one.

        Raises:
            Stopped: the trial does not go on; the first worker's message says why.
        """
        rung = next(
            (rung for rung in rungs_of(self.config.search, self.config.training.epochs) if rung.epoch == epoch), None
        )
        if rung is None:
            return False
        started = time.perf_counter()
        precision, workers = self.precision, self.workers
        found = surface(network, self.data, self.config, precision=precision, workers=workers, parts=self.parts)
        reason = self._decide(found, rung) if self.workers.rank == 0 else None
        self.seconds += time.perf_counter() - started
        if workers.agreed(reason is not None, self.data.train.labels.device):
            raise Stopped(reason or "the first worker says why")
        return True

    def _decide(self, found: list[dict[str, Any]], rung: Rung) -> str | None:
        at = {"rung": rung.number, "fraction": rung.fraction, "epoch": rung.epoch}
        own = {"sweep_id": self.sweep_id, "trial_id": self.trial_id}
        self.store.append("rungs", [{**own, **at, **row} for row in found])
        rows = self.store.read("rungs", self.sweep_id).to_pylist()
        baseline = recorded_reference(self.store, self.sweep_id)
        return verdict(rows, self.trial_id, rung, self.config, baseline) if self.may_stop else None


def _part(images: ImageSet) -> ImageSet:
    """One image in ``PART`` of each class, at least one, always the same ones."""
    chosen = []
    for label in images.labels.unique():
        own = (images.labels == label).nonzero().flatten()
        chosen.append(own[: math.ceil(len(own) / PART)])
    index = torch.cat(chosen)
    return images.part(index)
