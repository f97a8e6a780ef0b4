"""A sweep, a point of it and a confirmation, as Python and notebooks have them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.api.asking import PathText, checked_names
from orchestrator.api.columns import confirmed_table, points_table, trials_table
from orchestrator.api.html import shown_html
from orchestrator.api.writing import write_output
from orchestrator.config import Choice, Config
from orchestrator.errors import ConfigError
from orchestrator.results import Confirmation, Point, Sweep, confirmations, read_courses
from orchestrator.storage import DeltaStore

if TYPE_CHECKING:
    from orchestrator.modules import Pulled


@dataclass(frozen=True, eq=False, repr=False)
class OpenSweep:
    """A sweep as the tables told it when it was opened; open it again to see what came since.

    Attributes:
        recorded: what the tables hold, with trials and points as objects.
        storage: where it is kept.
        data_root: where the data set lies here; None: where it was recorded.
    """

    recorded: Sweep
    storage: str
    data_root: str | None = None

    @property
    def sweep_id(self) -> str:
        """Its name."""
        return self.recorded.sweep_id

    @property
    def config(self) -> Config:
        """The configuration that it was started with."""
        return self.recorded.config

    @property
    def hypervolume(self) -> float:
        """What the points dominate on validation, up to ``search.reference``."""
        return self.recorded.hypervolume

    def front(self) -> pa.Table:
        """The points that no other dominates on validation, by the last objective; no rows where there are none.

        The columns are those of :meth:`points`.
        """
        return points_table(self.recorded, self.recorded.front)

    def points(self) -> pa.Table:
        """A row for each point; ``to_pandas()`` of the table makes a data frame of it.

        With ``search.repeats`` points are means over the seeds, and :meth:`query` gives those of single trainings.

        Returns:
            ``point`` (its name), ``role`` (``best``, ``knee``, ``best, knee`` or null), ``on_front``, ``trial_id``,
            ``trial``, a column for each coefficient, ``rule``, ``tau``, ``threshold``, ``level``, every metric on
            validation, and as ``test_<metric>`` on test, where it was measured.
        """
        return points_table(self.recorded, self.recorded.candidates)

    def trials(self) -> pa.Table:
        """A row for each trial: ``trial_id``, ``trial``, ``status``, a column for each coefficient, ``attempt``,
        ``seconds`` of training, ``evaluation_seconds``, and the ``reason`` of a failure or a stop."""
        return trials_table(self.recorded)

    @property
    def best(self) -> "OpenPoint":
        """The point of the front that is best by the first objective, up to its standard error.

        Raises:
            ConfigError: the front is empty; the message says why.
        """
        return self.point("best")

    @property
    def knee(self) -> "OpenPoint":
        """The point of the front where more of one objective begins to cost much of the others.

        Raises:
            ConfigError: as :attr:`best`.
        """
        return self.point("knee")

    def point(self, name: str) -> "OpenPoint":
        """The point called ``best``, ``knee``, ``trial/tau/threshold`` or ``trial/level``.

        Raises:
            ConfigError: no such point.
        """
        return OpenPoint(self, self.recorded.find(name))

    @cached_property
    def confirmations(self) -> list["OpenConfirmation"]:
        """What fresh seeds said of its points, the oldest confirmation first."""
        found = confirmations(DeltaStore(self.storage), self.recorded)
        return [OpenConfirmation(confirmation, self.storage) for confirmation in found]

    def query(self, sql: str) -> pa.Table:
        """What a SELECT finds in the tables of this sweep, as :func:`orchestrator.query`."""
        from orchestrator.results import query

        return query(self.storage, self.sweep_id, sql)

    def plot(self) -> Any:
        """The front as the report draws it: a plotly figure, a panel for each pair of objectives.

        Raises:
            ConfigError: the front is empty.
        """
        from orchestrator.views import objectives_figure

        if not self.recorded.front:
            raise ConfigError(self.recorded.why_no_front)
        return objectives_figure(self.recorded)

    def report(self, to: PathText | None = None) -> Path:
        """Write the report, one self-contained HTML file.

        Args:
            to: the file; None: ``<sweep>.html`` in the working folder.

        Returns:
            Its absolute path.

        Raises:
            ConfigError: it cannot be written.
        """
        from orchestrator.views import render_report

        again = [confirmation.recorded for confirmation in self.confirmations]
        courses = read_courses(DeltaStore(self.storage), self.sweep_id)
        page = render_report(self.recorded, again, courses)
        return write_output(f"{self.sweep_id}.html" if to is None else to, page.encode())

    def pull(self, point: "str | OpenPoint", to: PathText, *, classes: Sequence[str] | None = None) -> "Pulled":
        """Bring the module set of a point to a new folder, publishing it first if nobody did.

        Args:
            point: a point, or its name as for :meth:`point`.
            to: a new folder, outside of the storage.
            classes: names, in the order wanted of the logits; None: all.

        Raises:
            ConfigError: no such point, or a folder that is taken or cannot be made.
            ModuleSetError: no such class.
        """
        from orchestrator.modules import pull_point

        chosen = self.point(point) if isinstance(point, str) else point
        names = None if classes is None else checked_names("classes", classes)
        return pull_point(
            self.recorded, chosen.recorded, self.storage, os.fspath(to), classes=names, data_root=self.data_root
        )

    def __repr__(self) -> str:
        return f"<OpenSweep {self.sweep_id!r}: {'; '.join(self._lines)}>"

    def _repr_html_(self) -> str:
        front, shown = self.front(), _objectives(self.config)
        names = ["point", "role", *_coefficient_names(front), *shown, *(f"test_{name}" for name in shown)]
        return shown_html(f"Sweep {self.sweep_id}", self._lines, front.select(names))

    @property
    def _lines(self) -> list[str]:
        sweep = self.recorded
        front = f"{len(sweep.front)} points on the front, hypervolume {self.hypervolume:.4f}"
        made_of = f"{self.config.model.name} on {self.config.data.name}"
        return [made_of, sweep.finished_text, front if sweep.front else sweep.why_no_front, f"storage {self.storage}"]


@dataclass(frozen=True, eq=False, repr=False)
class OpenPoint:
    """A point of a sweep: a trial, and what was chosen after it.

    Attributes:
        sweep: its sweep.
        recorded: what the tables hold of it.
    """

    sweep: OpenSweep
    recorded: Point

    @property
    def label(self) -> str:
        """Its name: ``trial/tau/threshold`` or ``trial/level``."""
        return self.recorded.label

    @property
    def role(self) -> str | None:
        """``best``, ``knee``, ``best, knee``, or None."""
        return self.sweep.recorded.mark(self.recorded) or None

    @property
    def coefficients(self) -> Mapping[str, Any]:
        """What its trial was trained with."""
        return self.recorded.trial.coefficients

    @property
    def choice(self) -> Choice:
        """Which units a class keeps: the ``rule`` and its ``values``, such as tau and threshold."""
        return self.recorded.choice

    @property
    def metrics(self) -> Mapping[str, float]:
        """Every metric on validation, by which it was chosen."""
        return self.recorded.metrics

    @property
    def test(self) -> Mapping[str, float] | None:
        """Every metric on test; None where it was not measured."""
        return self.recorded.test

    def pull(self, to: PathText, *, classes: Sequence[str] | None = None) -> "Pulled":
        """Bring its module set to a new folder, as :meth:`OpenSweep.pull`."""
        return self.sweep.pull(self, to, classes=classes)

    def __repr__(self) -> str:
        shown = _objectives(self.sweep.config)
        texts = [", ".join(f"{name} {self.metrics[name]:.4f}" for name in shown if name in self.metrics)]
        if self.test is not None:
            texts.append("on test " + ", ".join(f"{name} {self.test[name]:.4f}" for name in shown if name in self.test))
        return f"<OpenPoint {'; '.join([self._title, *texts])}>"

    def _repr_html_(self) -> str:
        coefficients = ", ".join(f"{name} {value}" for name, value in self.coefficients.items())
        columns = {
            "metric": list(self.metrics),
            "validation": list(self.metrics.values()),
            "test": [(self.test or {}).get(name) for name in self.metrics],
        }
        return shown_html(self._title, [f"coefficients: {coefficients}", str(self.choice)], pa.table(columns))

    @property
    def _title(self) -> str:
        role = f", {self.role}" if self.role else ""
        return f"{self.label} of {self.sweep.sweep_id!r}{role}"


@dataclass(frozen=True, eq=False, repr=False)
class OpenConfirmation:
    """Chosen points of a sweep beside what fresh seeds say of them.

    Attributes:
        recorded: what the tables hold, with how far the front held (``recorded.held``).
        storage: where it is kept.
    """

    recorded: Confirmation
    storage: str

    @property
    def sweep_id(self) -> str:
        """The name of the sweep that trained the points again."""
        return self.recorded.sweep.sweep_id

    @property
    def parent(self) -> OpenSweep:
        """The sweep whose points these are."""
        return OpenSweep(self.recorded.parent, self.storage)

    @property
    def best(self) -> OpenPoint:
        """The chosen point that is best by what fresh seeds say, as the sweep has it."""
        return OpenPoint(self.parent, self.recorded.name("best"))

    @property
    def knee(self) -> OpenPoint:
        """The chosen point that is the knee by what fresh seeds say, as the sweep has it."""
        return OpenPoint(self.parent, self.recorded.name("knee"))

    def points(self) -> pa.Table:
        """A row for each chosen point: the columns of :meth:`OpenSweep.points`, and ``confirmed_<metric>`` and
        ``confirmed_test_<metric>``, means over the fresh seeds."""
        return confirmed_table(self.recorded)

    def __repr__(self) -> str:
        return f"<OpenConfirmation {self.sweep_id!r}: {'; '.join(self._lines)}>"

    def _repr_html_(self) -> str:
        table, shown = self.points(), _objectives(self.recorded.parent.config)
        prefixes = ("", "confirmed_", "confirmed_test_")
        names = ["point", *_coefficient_names(table), *(f"{prefix}{name}" for name in shown for prefix in prefixes)]
        return shown_html(f"Confirmation {self.sweep_id}", self._lines, table.select(names))

    @property
    def _lines(self) -> list[str]:
        confirmed = self.recorded
        told = f"{len(confirmed.told)} of {len(confirmed.points)} points of {confirmed.parent.sweep_id!r} confirmed"
        if not confirmed.told:
            return [told]
        held = confirmed.held
        return [told, f"their hypervolume {held.claimed:.4f} by the sweep, {held.found:.4f} by fresh seeds"]


def _objectives(config: Config) -> list[str]:
    return list(config.search.objectives)


def _coefficient_names(points: pa.Table) -> list[str]:
    """The columns of a table of points that are coefficients: between the trial and the choice."""
    names: list[str] = points.column_names
    return names[names.index("trial") + 1 : names.index("tau")]
