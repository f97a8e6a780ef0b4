"""The control of a module: random units, as many as it keeps of each site."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from moda_core.choosing.decomposition import Decomposition


def random_units(units: Decomposition, class_ids: Sequence[int], *, seed: int) -> Decomposition:
    """Return a decomposition whose module of ``class_ids`` keeps random units: as many of each site as that of
    ``units`` does.

    Scales and bias stay those of ``units``, so that the choice of units is all that differs.

    Args:
        units: what each class keeps.
        class_ids: the target classes; in the control all classes keep the same units.
        seed: of the draw.

    Raises:
        ValueError: as :meth:`Decomposition.merge`.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [_draw(keep_N, generator) for keep_N in units.merge(class_ids).keep]
    return replace(units, keep=[keep_N.expand(units.classes, -1) for keep_N in drawn], floored=0)


def _draw(keep_N: Tensor, generator: torch.Generator) -> Tensor:
    order_N = torch.randperm(len(keep_N), generator=generator)
    drawn_N = torch.zeros(len(keep_N), dtype=torch.bool)
    drawn_N[order_N[: int(keep_N.sum())]] = True
    return drawn_N.to(keep_N.device)
