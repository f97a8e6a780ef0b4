"""Which units of a Transformer carry classes: its heads, or the hidden units of its blocks.

Of each kind of units at one choice: how many a class keeps and how alike the masks of classes are; the share of the
variance of a unit's values that lies between classes; and the reuse accuracy on test in subsets of 2 and 3 classes with
all of the other kind kept, and with each class's mask of this kind taken by the next class.

Shapes: C classes, I images, N units of a kind in all layers, N_l units of layer l.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from result_rows import Row
from torch import Tensor

from moda_core import Decomposition, draw_pairs, draw_subsets, estimate_reuse, unit_layers, watch_units
from moda_core.modes import evaluating
from orchestrator.results.sweep import Sweep
from orchestrator.training.data import ImageSet
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import Chosen, Trained, choose
from orchestrator.training.loop import choose_device
from orchestrator.training.trial import Trial, load_trained

KINDS = {"heads": "heads", "hidden": "gelu"}  # by name, the kind of unit layer
SIZES, SUBSETS, IMAGES = (2, 3), 20, 1000  # subsets and images of each size


def units_rows(sweep: Sweep, choice_name: str) -> list[Row]:
    """Return a row of the role ``heads`` and one of the role ``hidden`` for the one trial of a sweep, whose storage is
    still there.

    Args:
        sweep: with one trial.
        choice_name: as points name it.
    """
    config = sweep.config
    (state,) = sweep.trials
    data = load_data(config.data).to(choose_device(config.training))
    trained = load_trained(Trial(sweep.sweep_id, 0, state.coefficients, config, config.storage), data)
    choice = next(point.choice for point in sweep.points if point.choice.name == choice_name)
    chosen = choose(trained, choice, config.evaluation)
    return [
        {"choice": choice_name, "role": name, "stage": "units", "split": "test", **numbers}
        for name, numbers in _by_kind(trained, chosen, data.test)
    ]


def _by_kind(trained: Trained, chosen: Chosen, images: ImageSet) -> Iterator[tuple[str, dict[str, float]]]:
    classes = trained.graph.output.channels
    subsets = draw_subsets(classes, SUBSETS, seed=0, sizes=SIZES)
    draw = draw_pairs(images.labels, subsets, num_classes=classes, images_per_size=IMAGES)
    kinds = [site.kind for site in chosen.sites]

    def reuse(change: Callable[[str, Tensor], Tensor]) -> float:
        """The reuse accuracy with the masks of each kind changed."""
        keep = [change(kind, mask_CN) for kind, mask_CN in zip(kinds, chosen.units.keep, strict=True)]
        units = replace(chosen.units, keep=keep)
        return estimate_reuse(trained.network, chosen.sites, units, images, draw).mean

    whole = reuse(lambda kind, mask_CN: torch.ones_like(mask_CN))
    both = reuse(lambda kind, mask_CN: mask_CN)
    for name, own in KINDS.items():
        masks = [mask_CN for kind, mask_CN in zip(kinds, chosen.units.keep, strict=True) if kind == own]
        yield (
            name,
            {
                "kept": float(torch.cat(masks, 1).double().mean()),
                "jaccard": _jaccard(chosen.units, [place for place, kind in enumerate(kinds) if kind == own]),
                "between": _between(trained, own, images),
                "whole": whole,
                "both": both,
                "alone": reuse(lambda kind, mask_CN, own=own: mask_CN if kind == own else torch.ones_like(mask_CN)),
                "exchanged": reuse(lambda kind, mask_CN, own=own: mask_CN.roll(1, 0) if kind == own else mask_CN),
            },
        )


def _jaccard(units: Decomposition, places: Sequence[int]) -> float:
    """The mean over pairs of classes of the Jaccard index of their masks in these layers together; NaN where no two
    classes keep a unit.
    """
    mask_CN = torch.cat([units.keep[place] for place in places], 1)
    pairs = [(one & other, one | other) for one, other in itertools.combinations(mask_CN, 2)]
    return float(torch.tensor([float(both.sum() / either.sum()) for both, either in pairs if either.any()]).mean())


def _between(trained: Trained, kind: str, images: ImageSet) -> float:
    """The share of the variance of a unit's values over images that lies between classes, mean over the units."""
    example = images[torch.zeros(2, dtype=torch.long, device=images.labels.device)]
    layers = unit_layers(trained.network, example)
    model, sites = (trained.network, layers) if trained.gated() is None else trained.gated().counted(layers)
    watched = watch_units(model, sites)
    places = [place for place, layer in enumerate(layers) if layer.kind == kind]
    with evaluating(watched):
        batches = [watched(images_B)[1] for images_B, _ in images.batches()]
    values_IN = torch.cat([torch.cat([units[place] for place in places], 1) for units in batches]).double()
    total_N = values_IN.var(0, correction=0)
    means_CN = torch.stack([values_IN[images.labels == class_id].mean(0) for class_id in images.labels.unique()])
    weights_C = torch.bincount(images.labels) / len(images)
    between_N = (weights_C[:, None] * (means_CN - values_IN.mean(0)) ** 2).sum(0)
    return float((between_N / total_N.clamp(min=1e-12))[total_N > 1e-12].mean())
