"""What the rules share by which modules have a target size: their parameter, and the level that was found for a target.

This file loads no torch: what there is to choose is known before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from moda_core.choosing import Parameter
from moda_core.rules.at_activations import AtActivations

if TYPE_CHECKING:
    from torch import Tensor


def target_parameter(name: str) -> Parameter:
    """Return the parameter of a target size, under the name that it has in a rule."""
    return Parameter(
        name,
        "target size",
        0.0,
        1.0,
        excludes_low=True,
        larger_is_smaller=False,
        is_logarithmic=True,
        grid=(0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5),
    )


class AtTargets(AtActivations):
    """A rule with one parameter, the target size. What it counts holds the targets of its grid and their levels."""

    def place(self, counts: Mapping[str, Tensor], parameters: Mapping[str, float]) -> int:
        """Return the place of the target among those that were counted, for parameters that fit the rule.

        Raises:
            ValueError: a target that was not counted.
        """
        ((name, target),) = parameters.items()
        targets: list[float] = counts["targets"].tolist()
        if target not in targets:
            raise ValueError(f"{name}={target} was not counted; counted: {', '.join(f'{size:g}' for size in targets)}")
        return targets.index(target)

    def level(self, counts: Mapping[str, Tensor], parameters: Mapping[str, float]) -> float:
        """Return the level at which modules have the target size; raises as :meth:`place`."""
        return float(counts["levels"][self.place(counts, parameters)])
