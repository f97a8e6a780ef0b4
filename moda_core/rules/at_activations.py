"""What the built-in rules share: their sites are the calls of activations and the heads of attention.

A class may keep none of the units of a layer that tokens pass beside, under the rules by contribution, size and
magnitude; under the published rule every layer has its floor. Counts hold which layers may be empty only where there
are any, so that those of other networks are as they always were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from moda_core.units import UnitLayers


def pack_empty(may_be_empty: Sequence[bool]) -> dict[str, Tensor]:
    """Return which layers may be empty as counts by name; nothing if none may."""
    import torch

    return {"may_be_empty": torch.tensor(may_be_empty)} if may_be_empty else {}


def unpack_empty(counts: Mapping[str, Tensor]) -> tuple[bool, ...]:
    """Return what :func:`pack_empty` was given."""
    return tuple(counts["may_be_empty"].tolist()) if "may_be_empty" in counts else ()


class AtActivations:
    """The units of the rules of this package."""

    def sites(self, network: nn.Module, example_input: Tensor) -> UnitLayers:
        """Return every call of an activation and of attention, by :func:`moda_core.unit_layers`."""
        from moda_core.units import unit_layers

        return unit_layers(network, example_input)

    def check(self, sites: UnitLayers, grid: Mapping[str, Sequence[float]]) -> None:
        """Accept any network, since only rates need a kind of activation."""
