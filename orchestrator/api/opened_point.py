"""A point of a sweep as Python and notebooks have it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from orchestrator.api.asking import PathText
from orchestrator.api.html import shown_html
from orchestrator.config import Choice
from orchestrator.results import Point, Sweep

if TYPE_CHECKING:
    from orchestrator.modules import Pulled


class Opened(Protocol):
    """The opened sweep that a point or a confirmation belongs to: :class:`orchestrator.OpenSweep`."""

    @property
    def recorded(self) -> Sweep:
        """What the tables hold of it."""
        ...

    def pull(self, point: "OpenPoint", to: PathText, *, classes: Sequence[str] | None = None) -> "Pulled":
        """Bring the module set of a point to a new folder."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class OpenPoint:
    """A point of a sweep: a trial and the choice that was made after training.

    Attributes:
        sweep: its sweep.
        recorded: what the tables hold of it.
    """

    sweep: Opened
    recorded: Point

    @property
    def label(self) -> str:
        """The point's name: ``trial/tau/threshold``, ``trial/level`` or ``trial/size/target``."""
        return self.recorded.label

    @property
    def role(self) -> str | None:
        """The point's role: ``best``, ``knee``, ``best, knee``, or None."""
        return self.sweep.recorded.mark(self.recorded) or None

    @property
    def coefficients(self) -> Mapping[str, Any]:
        """The coefficients that its trial was trained with."""
        return self.recorded.trial.coefficients

    @property
    def choice(self) -> Choice:
        """The choice of the units that a class keeps: the ``rule`` and its ``values``, such as tau and threshold."""
        return self.recorded.choice

    @property
    def metrics(self) -> Mapping[str, float]:
        """All metrics on the validation images, by which the point was chosen; empty without such images."""
        return self.recorded.metrics

    @property
    def test(self) -> Mapping[str, float] | None:
        """All metrics on the test images; None if they were not measured."""
        return self.recorded.test

    def pull(self, to: PathText, *, classes: Sequence[str] | None = None) -> "Pulled":
        """Bring its module set to a new folder, as :meth:`OpenSweep.pull` does."""
        return self.sweep.pull(self, to, classes=classes)

    def __repr__(self) -> str:
        shown = list(self.sweep.recorded.config.search.objectives)
        texts = [", ".join(f"{name} {self.metrics[name]:.4f}" for name in shown if name in self.metrics)]
        if self.test is not None:
            texts.append("on test " + ", ".join(f"{name} {self.test[name]:.4f}" for name in shown if name in self.test))
        return f"<OpenPoint {'; '.join(filter(None, [self._title, *texts]))}>"

    def _repr_html_(self) -> str:
        coefficients = ", ".join(f"{name} {value}" for name, value in self.coefficients.items())
        columns = {
            "metric": (names := list(self.metrics or self.test or ())),
            "validation": [self.metrics.get(name) for name in names],
            "test": [(self.test or {}).get(name) for name in names],
        }
        return shown_html(self._title, [f"coefficients: {coefficients}", str(self.choice)], pa.table(columns))

    @property
    def _title(self) -> str:
        role = f", {self.role}" if self.role else ""
        return f"{self.label} of {self.sweep.recorded.sweep_id!r}{role}"
