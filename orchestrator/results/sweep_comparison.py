"""Two sweeps beside each other: their fronts by one reference point, what they attain, and what differs."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.config import to_plain
from orchestrator.results.points import Point
from orchestrator.results.sweep import Sweep
from orchestrator.search import pareto

LEVELS = (0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # of the last objective where it is a share
NO_DIFFERENCE = ("storage", "sweep.name", "tracking")


@dataclass(frozen=True)
class SweepComparison:
    """Two sweeps, judged by the objectives, constraints and scales of the first one, and their hypervolumes by its
    reference point.

    Attributes:
        first: a sweep.
        second: another one.
    """

    first: Sweep
    second: Sweep

    @classmethod
    def of(cls, first: Sweep, second: Sweep) -> "SweepComparison":
        """Compare two sweeps.

        Raises:
            ConfigError: points that were measured before there was one of the first one's objectives.
        """
        search = dataclasses.replace(
            second.config.search,
            objectives=first.config.search.objectives,
            constraints=first.config.search.constraints,
            reference=first.config.search.reference,  # what follows from a baseline, and so a knee, is each one's own
        )
        judged = dataclasses.replace(second, config=dataclasses.replace(second.config, search=search))
        return cls(first, judged)

    @property
    def hypervolumes(self) -> tuple[float | None, float | None]:
        """The hypervolume of each, up to the first one's reference point; None before that is known."""
        return self.first.hypervolume, self.first.hypervolume_of(self.second.values(self.second.feasible))

    @cached_property
    def dominated(self) -> tuple[int, int]:
        """How many points of each front a point of the other one dominates."""
        points = [*self.first.front, *self.second.front]
        if not points:
            return 0, 0
        mask = pareto.on_front(self.first.values(points), self.first.directions)
        count = len(self.first.front)
        return int((~mask[:count]).sum()), int((~mask[count:]).sum())

    def attained(self) -> Iterator[tuple[float, Point | None, Point | None]]:
        """Yield bounds of the last objective, each with the point of either front that is best in the first objective
        within it."""
        *_, last = self.first.config.search.objectives
        for level in LEVELS:
            yield level, self._best(self.first, last, level), self._best(self.second, last, level)

    def differences(self) -> list[tuple[str, Any, Any]]:
        """Return the keys of the configurations that differ, each with both values, None for an absent one."""
        before, after = (to_plain(sweep.config) for sweep in (self.first, self.second))
        judged = ("search.objectives", "search.constraints", "search.reference")
        return [
            difference
            for difference in _differences(before, after)
            if not difference[0].startswith((*NO_DIFFERENCE, *judged))
        ]

    def _best(self, sweep: Sweep, last: str, level: float) -> Point | None:
        first, objective = next(iter(sweep.config.search.objectives.items()))
        is_low = sweep.config.search.objectives[last].direction == "min"
        within = [
            point for point in sweep.front if (point.metrics[last] <= level if is_low else point.metrics[last] >= level)
        ]
        best = max if objective.direction == "max" else min
        return best(within, key=lambda point: point.metrics[first], default=None)


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any], start: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """The values of two mappings that differ, under dotted keys: what only one has, and lists, as a whole."""
    for key in dict.fromkeys([*before, *after]):
        one, other = before.get(key), after.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other, f"{start}{key}.")
        elif one != other:
            yield f"{start}{key}", one, other
