"""What a rule is: a way to choose which units a class keeps of a trained network (docs/method.md, "Rules").

A rule names its sites, counts once over the training images, and then chooses at any values of its parameters. This
file loads no torch: what there is to choose is known before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch import Tensor, nn

    from moda_core.choosing.decomposition import Decomposition
    from moda_core.units import UnitLayers

    Batches = Iterable[tuple[Tensor, Tensor]]

DEFAULT_FLOOR = 0.005
METHODS = ("sites", "check", "count", "choose")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a rule. It is chosen after training, at no cost.

    Attributes:
        name: an identifier: of the column, the option and the key.
        title: for axes and sliders.
        low: the smallest value.
        high: the largest value; infinity itself is never allowed.
        excludes_low: whether values must lie above ``low``.
        larger_is_smaller: whether a larger value means smaller modules.
        is_logarithmic: whether axes show it on a logarithmic scale.
        grid: the values that are tried unless a configuration says otherwise, ascending.
    """

    name: str
    title: str
    low: float
    high: float = math.inf
    excludes_low: bool = False
    larger_is_smaller: bool = True
    is_logarithmic: bool = False
    grid: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.isascii():
            raise ValueError(f"parameter name {self.name!r} must be an ASCII identifier")
        if not self.low < self.high:
            raise ValueError(f"parameter {self.name}: low={self.low} must lie below high={self.high}")
        for value in self.grid:
            self.check(value)

    def check(self, value: float) -> None:
        """Refuse a value out of range.

        Raises:
            ValueError: the name, the value and the range.
        """
        is_above = value > self.low if self.excludes_low else value >= self.low
        if not (is_above and value <= self.high and math.isfinite(value)):
            raise ValueError(f"{self.name}={value} must {self.range_text}")

    @property
    def range_text(self) -> str:
        """The range in words: "lie in (0, 1]", "be a finite number of at least 0"."""
        if math.isinf(self.high):
            return f"be a finite number {'above' if self.excludes_low else 'of at least'} {self.low:g}"
        return f"lie in {'(' if self.excludes_low else '['}{self.low:g}, {self.high:g}]"


class Rule(Protocol):
    """A way to choose units. Any object with these attributes and methods is a rule, so you can write your own.

    Attributes:
        name: of the rule, an identifier.
        parameters: what is chosen after training; at least one.
    """

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...

    def sites(self, network: nn.Module, example_input: Tensor) -> UnitLayers:
        """Return where the units are: :func:`moda_core.unit_layers`, or :func:`moda_core.unit_sites` for any calls.

        Args:
            network: the network, trained or not.
            example_input: one batch, for the shapes; its values do not matter.
        """
        ...

    def check(self, sites: UnitLayers, grid: Mapping[str, Sequence[float]]) -> None:
        """Refuse, before training, what :meth:`count` or :meth:`choose` would refuse.

        Args:
            sites: from :meth:`sites`.
            grid: for each parameter, by name, the values that will be chosen from.

        Raises:
            ValueError: what does not fit, and what to choose instead.
        """
        ...

    def count(
        self,
        network: nn.Module,
        sites: UnitLayers,
        batches: Batches,
        *,
        num_classes: int,
        grid: Mapping[str, Sequence[float]],
        group: dist.ProcessGroup | None = None,
    ) -> dict[str, Tensor]:
        """Count everything that choosing needs from the training images, none of which is kept.

        Args:
            network: the trained network, in eval mode.
            sites: from :meth:`sites`.
            batches: (images, labels) on the network's device; a list or a loader, which can be read several times.
            num_classes: C.
            grid: for each parameter, by name, the values that will be chosen from.
            group: the workers that the batches are shared out to; None for one worker. Each gives its own share (which
                may hold no batch); all return the counts of all batches.

        Returns:
            Tensors by name, on the CPU, in types that safetensors keeps.
        """
        ...

    def choose(
        self, counts: Mapping[str, Tensor], parameters: Mapping[str, float], *, floor: float = DEFAULT_FLOOR
    ) -> Decomposition:
        """Return what each class keeps at these values of the parameters.

        Args:
            counts: from :meth:`count`.
            parameters: a value of the grid for each parameter, by name.
            floor: the smallest share of a site that a class may keep, in [0, 1); a rule may have a floor of its own.

        Raises:
            ValueError: parameters that are missing, unknown, out of range or not counted.
        """
        ...


def check_parameters(rule: Rule, parameters: Mapping[str, float]) -> None:
    """Refuse values that are not exactly one value for each parameter of a rule, within its range.

    Raises:
        ValueError: the parameter, its value and the range.
    """
    wanted = [parameter.name for parameter in rule.parameters]
    if set(parameters) != set(wanted):
        raise ValueError(f"the rule {rule.name!r} takes {', '.join(wanted)}, not {', '.join(parameters) or 'nothing'}")
    for parameter in rule.parameters:
        parameter.check(parameters[parameter.name])


def check_rule(rule: object) -> None:
    """Refuse an object that is not a rule because it lacks a part of :class:`Rule`.

    Raises:
        ValueError: which part, and what it must be.
    """
    shown = type(rule).__name__
    name, parameters = getattr(rule, "name", None), getattr(rule, "parameters", None)
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise ValueError(f"{shown}: name={name!r:.60} must be an ASCII identifier")
    if (
        not isinstance(parameters, tuple)
        or not all(isinstance(parameter, Parameter) for parameter in parameters)
        or not parameters
    ):
        raise ValueError(f"the rule {name!r}: parameters must be a tuple of one moda_core.Parameter or more")
    names = [parameter.name for parameter in parameters]
    if len(set(names)) != len(names):
        raise ValueError(f"the rule {name!r}: parameters={names} names one twice")
    missing = [method for method in METHODS if not callable(getattr(rule, method, None))]
    if missing:
        raise ValueError(f"the rule {name!r} lacks the method {', '.join(missing)}; a rule has {', '.join(METHODS)}")
