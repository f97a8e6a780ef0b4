"""Points of later stages: what refitting or tuning makes of a point's modules, beside random units treated the same.

A refitted or tuned module is made for one class subset, from its training images, and so is measured on a few seeded
subsets: two of 2 classes, two of 5, and all classes; the same for every trial and method of one ``evaluation.seed``.
Nothing is chosen by these measurements, which are therefore made on validation and on test at once, in float32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from moda_core import (
    Decomposition,
    ReuseAccuracy,
    ReuseDraw,
    draw_pairs,
    draw_subsets,
    estimate_reuse,
    random_units,
    reuse_by_composing,
)
from moda_core.cutting import cut_graph, refit_graph
from moda_core.graph import ChannelGraph, channel_graph
from moda_core.measuring import composed_sizes, sizes_and_overlaps
from orchestrator.config import Choice, Config, EvaluationConfig
from orchestrator.declarations import METRICS, REFIT, STAGE_SIZES, STAGE_SUBSETS, TUNED
from orchestrator.errors import ConfigError
from orchestrator.results import ROLES, Point, Sweep, TrialState
from orchestrator.training.data import EVALUATION_BATCH, Data, ImageSet
from orchestrator.training.decompose import SIZES, Trained, accuracy, choose, grid
from orchestrator.training.methods import make_method
from orchestrator.training.tuning import images_of, tune
from orchestrator.training.tuning_starts import TuningStarts

Subset = tuple[int, ...]
Units = Mapping[Subset, Decomposition]


def check_staged(config: EvaluationConfig) -> None:
    """Refuse names of ``evaluation.staged`` that no choice has.

    Raises:
        ConfigError: the name, and a choice that there is.
    """
    choices = grid(config)
    known = {*ROLES, *(choice.name for choice in choices)}
    for name in config.staged:
        if name not in known:
            raise ConfigError(
                f"evaluation.staged={name!r} is not a choice that is measured; give best, knee, or one such as"
                f" {choices[0].name} or {choices[-1].name}"
            )


def staged_choices(config: Config, state: TrialState, rows: Sequence[Mapping[str, Any]]) -> list[Choice]:
    """The choices of ``evaluation.staged``, each once; *best* and *knee* of the trial alone, if it has a front.

    Args:
        config: of the trial.
        state: of the trial.
        rows: its points, as :func:`orchestrator.training.decompose.measure` gives them.
    """
    choices = [Choice.of_row(row) for row in rows]
    by_name = {choice.name: choice for choice in choices} | choices_by_role(config, state, rows)
    return list(dict.fromkeys(by_name[name] for name in config.evaluation.staged if name in by_name))


def choices_by_role(config: Config, state: TrialState, rows: Sequence[Mapping[str, Any]]) -> dict[str, Choice]:
    """The choices that are *best* and *knee* of a trial alone; none if it has no front. Arguments are those of
    :func:`staged_choices`."""
    search = replace(config.search, repeats=1)
    points = [Point(state, Choice.of_row(row), _metrics(row), None) for row in rows]
    alone = Sweep(state.trial_id, replace(config, search=search), [state], points)
    return {role: alone.find(role).choice for role in ROLES} if alone.front else {}


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """What a trial chooses by: nothing on test."""
    if row["split"] == "test":
        return {}
    own: dict[str, float] = row["own"]
    return {name: row[name] for name in METRICS if row[name] is not None} | own


def stage_subsets(num_classes: int, seed: int) -> list[Subset]:
    """The class subsets on which later stages are measured."""
    sizes = [size for size in STAGE_SIZES if size < num_classes]
    return draw_subsets(num_classes, STAGE_SUBSETS, seed=seed, sizes=[*sizes, num_classes])


def splits_of(data: Data) -> list[tuple[str, ImageSet]]:
    """The images that later stages are measured on, by the name of their split."""
    return [(name, images) for name, images in (("validation", data.validation), ("test", data.test)) if len(images)]


def measure_stages(trained: Trained, data: Data, config: Config, choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """A row of the table ``points`` for each choice, stage and split."""
    subsets = stage_subsets(data.num_classes, config.evaluation.seed)
    splits = [_split(name, images, trained, subsets) for name, images in splits_of(data)]
    return [row for choice in choices for row in _rows(choice, trained, data, config, splits, subsets)]


@dataclass(frozen=True)
class _Split:
    """The images of a split, the pairs that are tested, and what a row says of the whole network."""

    images: ImageSet
    draw: ReuseDraw
    columns: Mapping[str, Any]

    def measure(self, modules: Mapping[Subset, nn.Module]) -> ReuseAccuracy:
        """The reuse accuracy of a module of each subset."""
        return reuse_by_composing(lambda class_ids: modules[tuple(class_ids)], self.images, self.draw)


def _split(name: str, images: ImageSet, trained: Trained, subsets: Sequence[Subset]) -> _Split:
    draw, whole = draw_pairs(images.labels, subsets, num_classes=trained.graph.output.channels), trained.whole()
    columns = {
        "split": name,
        "accuracy": accuracy(whole, images),
        "reuse_baseline": estimate_reuse(whole, trained.layers, None, images, draw).mean,
        "reuse_subsets": len(subsets),
        "reuse_images": draw.images,
    }
    return _Split(images, draw, columns)


@dataclass(frozen=True)
class _Maker:
    """Makes the modules of a choice's sites, as they are cut and at later stages."""

    graph: ChannelGraph
    state: Mapping[str, Tensor]
    images: ImageSet
    config: Config
    starts: TuningStarts

    def cut(self, units: Units) -> dict[Subset, nn.Module]:
        return {subset: cut_graph(self.graph, self.state, own, subset) for subset, own in units.items()}

    def at(self, stage: str, units: Units) -> dict[Subset, nn.Module]:
        if stage != REFIT:
            return {
                subset: tune(self.starts.module(own, subset), images_of(self.images, subset), self.config)
                for subset, own in units.items()
            }
        return {
            subset: refit_graph(self.graph, self.state, own, subset, self._few(subset)) for subset, own in units.items()
        }

    def _few(self, subset: Subset) -> list[Tensor]:
        """Batches of some training images of the classes, normalised; not augmented."""
        evaluation, images = self.config.evaluation, images_of(self.images, subset)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(evaluation.seed))
        chosen = order[: evaluation.refit_images].to(images.labels.device)
        return [images[index_B] for index_B in chosen.split(EVALUATION_BATCH)]


def _rows(
    choice: Choice,
    trained: Trained,
    data: Data,
    config: Config,
    splits: Sequence[_Split],
    subsets: Sequence[Subset],
) -> list[dict[str, Any]]:
    chosen = choose(trained, choice, config.evaluation)
    example = data.train[torch.zeros(1, dtype=torch.long, device=data.train.labels.device)]
    graph, state = channel_graph(trained.network, chosen.sites, example)
    method, seed = make_method(config.method), config.training.seed
    starts = TuningStarts(method, trained.network, chosen.sites, graph, state, seed)
    maker = _Maker(graph, state, data.train, config, starts)
    own: Units = dict.fromkeys(subsets, chosen.units)
    control: Units = {
        subset: random_units(chosen.units, subset, seed=config.evaluation.seed + place)
        for place, subset in enumerate(subsets)
    }
    cut, control_cut = maker.cut(own), maker.cut(control)
    sizes = sizes_and_overlaps(graph, chosen.units)
    shared = {
        **choice.columns,
        **{name: getattr(sizes, name) for name in SIZES},
        "floored": chosen.units.floored,
        "composed_size": _mean_size(graph, own),
        "control_size": _mean_size(graph, control),
    }
    rows = []
    for stage in config.evaluation.stages:
        modules, random = maker.at(stage, own), maker.at(stage, control)
        of_stage = starts.sizes(chosen.units) if stage == TUNED else {}
        if of_stage:
            of_stage["composed_size"] = mean_over_sizes(starts.composed_sizes(modules))
            of_stage["control_size"] = mean_over_sizes(starts.composed_sizes(random))
        for split in splits:
            found = split.measure(modules)
            rows.append(
                {
                    **shared,
                    **of_stage,
                    **split.columns,
                    "stage": stage,
                    "reuse_accuracy": found.mean,
                    "reuse_accuracy_error": found.standard_error,
                    "accuracy_by_size": {str(size): value for size, value in found.by_size.items()},
                    "cut_accuracy": split.measure(cut).mean,
                    "control_accuracy": split.measure(random).mean,
                    "control_cut_accuracy": split.measure(control_cut).mean,
                }
            )
    return rows


def _mean_size(graph: ChannelGraph, units: Units) -> float:
    return mean_over_sizes({subset: float(composed_sizes(graph, own, [subset])) for subset, own in units.items()})


def mean_over_sizes(values: Mapping[Subset, float]) -> float:
    """The mean over sizes of subsets of the mean value of a size's subsets, as reuse accuracy is averaged."""
    by_size: dict[int, list[float]] = {}
    for subset, value in values.items():
        by_size.setdefault(len(subset), []).append(value)
    return sum(sum(of_size) / len(of_size) for of_size in by_size.values()) / len(by_size)
