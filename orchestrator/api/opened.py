"""A sweep as Python and notebooks have it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orchestrator.api.asking import PathText, checked_names
from orchestrator.api.columns import coefficient_names, points_table, trials_table
from orchestrator.api.html import shown_html
from orchestrator.api.opened_confirmation import OpenConfirmation
from orchestrator.api.opened_point import OpenPoint
from orchestrator.api.writing import write_output
from orchestrator.config import Config, recipe_words
from orchestrator.errors import ConfigError
from orchestrator.results import Sweep, confirmations, read_classes, read_courses, read_kept_units, read_origin
from orchestrator.storage import DeltaStore, Files

if TYPE_CHECKING:
    from orchestrator.modules import Pulled


@dataclass(frozen=True, eq=False, repr=False)
class OpenSweep:
    """A sweep as its tables were when it was opened. Open it again to see later results.

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
        """The sweep's name."""
        return self.recorded.sweep_id

    @property
    def config(self) -> Config:
        """The configuration that the sweep was started with, with the objectives and constraints that now judge it."""
        return self.recorded.config

    @property
    def hypervolume(self) -> float | None:
        """The hypervolume that the points dominate on validation, up to :attr:`reference` and on the objectives'
        scales; None before the reference point is known.
        """
        return self.recorded.hypervolume

    @property
    def reference(self) -> dict[str, float | None]:
        """The hypervolume's reference point: of each objective the worst value that still counts; None before the
        standard training from which it follows has finished.
        """
        return self.recorded.reference

    def front(self) -> pa.Table:
        """Return the points that no other point dominates on validation, sorted by the last objective. The table may be
        empty.

        The columns are those of :meth:`points`.
        """
        return points_table(self.recorded, self.recorded.front)

    def points(self) -> pa.Table:
        """Return a row for each point. ``to_pandas()`` of the table makes a data frame of it.

        With ``search.repeats`` points are means over the seeds, and :meth:`query` gives those of single trainings.

        Returns:
            ``point`` (its name), ``role`` (``best``, ``knee``, ``best, knee`` or null), ``on_front``, ``trial_id``,
            ``trial``, a column for each coefficient, ``rule``, ``tau``, ``threshold``, ``level``, ``target``,
            ``gate_share``, every metric on validation, and as ``test_<metric>`` on test, where it was measured.
        """
        return points_table(self.recorded, self.recorded.candidates)

    def staged(self) -> pa.Table:
        """Return a row for each point whose modules were refitted or tuned after cutting (``evaluation.stages``).

        The columns are those of :meth:`points`, and ``cut_accuracy``, ``control_accuracy``, ``control_cut_accuracy``,
        ``composed_size`` and ``control_size`` (docs/tables.md), on validation and on test. The name ends in the stage:
        ``3/size/0.02/tuned``. Such points are on no front unless :meth:`with_stages` puts them there.
        """
        return points_table(self.recorded, self.recorded.staged)

    def with_stages(self, *stages: str) -> "OpenSweep":
        """Return the sweep with the points of some stages, ``refit`` or ``tuned``, among those of the front.

        Their reuse accuracy is over a few subsets of 2, 5 and all classes, that of other points over all sizes.

        Raises:
            ConfigError: an unknown stage.
        """
        return replace(self, recorded=self.recorded.with_stages(stages))

    def trials(self) -> pa.Table:
        """Return a row for each trial: ``trial_id``, ``trial``, ``status``, a column for each coefficient, ``attempt``,
        ``seconds`` of training, ``evaluation_seconds``, and the ``reason`` of a failure or a stop.
        """
        return trials_table(self.recorded)

    @property
    def best(self) -> OpenPoint:
        """The best point of the front: of those within one standard error of the best first objective, the best in the
        second.

        Raises:
            ConfigError: the front is empty; the message says why.
        """
        return self.point("best")

    @property
    def knee(self) -> OpenPoint:
        """The knee of the front: the point farthest from the line (or, with more objectives, the plane) through its
        extremes, where it is at most five points less accurate than the whole network.

        Raises:
            ConfigError: as :attr:`best`.
        """
        return self.point("knee")

    def point(self, name: str) -> OpenPoint:
        """Return the point called ``best``, ``knee``, ``trial/tau/threshold``, ``trial/level``,
        ``trial/size/target`` or ``trial/gate/share``.

        Raises:
            ConfigError: no such point.
        """
        return OpenPoint(self, self.recorded.find(name))

    @cached_property
    def confirmations(self) -> list[OpenConfirmation]:
        """The confirmations of the sweep, which trained points again with fresh seeds, the oldest first."""
        found = confirmations(DeltaStore(self.storage), self.recorded)
        return [OpenConfirmation(confirmation, self) for confirmation in found]

    def query(self, sql: str) -> pa.Table:
        """Run a SELECT on the tables of this sweep, as :func:`orchestrator.query` does."""
        from orchestrator.results import query

        return query(self.storage, self.sweep_id, sql)

    def plot(self) -> Any:
        """Draw the front: a plotly figure with a panel for each pair of objectives.

        Raises:
            ConfigError: the front is empty.
        """
        from orchestrator.views import objectives_figure

        if not self.recorded.front:
            raise ConfigError(self.recorded.why_no_front)
        return objectives_figure(self.recorded)

    def report(self, to: PathText | None = None, *, refresh: float | None = None) -> Path:
        """Write the report as one self-contained HTML file.

        Args:
            to: the file; None: ``<sweep>.html`` in the working folder.
            refresh: after how many seconds a browser loads the page again; None: never.

        Returns:
            Its absolute path.

        Raises:
            ConfigError: it cannot be written.
        """
        from orchestrator.runs import expect
        from orchestrator.tracking import recorded_address
        from orchestrator.views import render_report

        again = [confirmation.recorded for confirmation in self.confirmations]
        store = DeltaStore(self.storage)
        courses, origin = read_courses(store, self.sweep_id), read_origin(store, self.sweep_id)
        kept = read_kept_units(self.recorded, Files(self.storage))
        page = render_report(
            self.recorded,
            again,
            courses,
            origin,
            kept,
            classes=read_classes(store, self.recorded),
            recipe=recipe_words(self.config),
            address=recorded_address(self.storage, self.sweep_id),
            expected=expect(self.recorded, store) if refresh is None else None,
            refresh=refresh,
        )
        return write_output(f"{self.sweep_id}.html" if to is None else to, page.encode())

    def pull(self, point: str | OpenPoint, to: PathText, *, classes: Sequence[str] | None = None) -> "Pulled":
        """Bring the module set of a point to a new folder; publish it first if that has not been done.

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
        front, shown = self.front(), list(self.config.search.objectives)
        names = ["point", "role", *coefficient_names(front), *shown, *(f"test_{name}" for name in shown)]
        return shown_html(f"Sweep {self.sweep_id}", self._lines, front.select(names))

    @property
    def _lines(self) -> list[str]:
        sweep = self.recorded
        front = f"{len(sweep.front)} points on the front, hypervolume {sweep.hypervolume_text}"
        made_of = f"{self.config.model.name} on {self.config.data.name}"
        return [made_of, sweep.finished_text, front if sweep.front else sweep.why_no_front, f"storage {self.storage}"]
