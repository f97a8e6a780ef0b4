"""What the built-in rules share: their sites are the calls of activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from moda_core.units import UnitLayers


class AtActivations:
    """The units of the rules of this package."""

    def sites(self, network: nn.Module, example_input: Tensor) -> UnitLayers:
        """Return every call of an activation, by :func:`moda_core.unit_layers`."""
        from moda_core.units import unit_layers

        return unit_layers(network, example_input)

    def check(self, sites: UnitLayers, grid: Mapping[str, Sequence[float]]) -> None:
        """Accept any network, since only rates need a kind of activation."""
