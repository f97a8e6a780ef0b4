"""A confirmation as Python and notebooks have it."""

from dataclasses import dataclass

import pyarrow as pa

from orchestrator.api.columns import coefficient_names, confirmed_table
from orchestrator.api.html import shown_html
from orchestrator.api.opened_point import Opened, OpenPoint
from orchestrator.errors import ConfigError
from orchestrator.results import Confirmation


@dataclass(frozen=True, eq=False, repr=False)
class OpenConfirmation:
    """Chosen points of a sweep, each with its results from fresh seeds.

    Attributes:
        recorded: what the tables hold, with how far the front held (``recorded.held``).
        parent: the sweep whose points these are.
    """

    recorded: Confirmation
    parent: Opened

    @property
    def sweep_id(self) -> str:
        """The name of the sweep that trained the points again."""
        return self.recorded.sweep.sweep_id

    @property
    def best(self) -> OpenPoint:
        """The chosen point that is best by its results with fresh seeds, as the sweep has it.

        Raises:
            ConfigError: no point has finished all its trainings.
        """
        return self._named("best")

    @property
    def knee(self) -> OpenPoint:
        """The chosen point that is the knee by its results with fresh seeds, as the sweep has it.

        Raises:
            ConfigError: as :attr:`best`.
        """
        return self._named("knee")

    def points(self) -> pa.Table:
        """Return a row for each chosen point: the columns of :meth:`OpenSweep.points`, and ``confirmed_<metric>`` and
        ``confirmed_test_<metric>``, which are means over the fresh seeds.
        """
        return confirmed_table(self.recorded)

    def _named(self, role: str) -> OpenPoint:
        if not self.recorded.told:
            raise ConfigError(f"{self.sweep_id}: no point has finished all its trainings; confirm again to go on")
        return OpenPoint(self.parent, self.recorded.name(role))

    def __repr__(self) -> str:
        return f"<OpenConfirmation {self.sweep_id!r}: {'; '.join(self._lines)}>"

    def _repr_html_(self) -> str:
        table, shown = self.points(), self.parent.recorded.config.search.objectives
        prefixes = ("", "confirmed_", "confirmed_test_")
        names = ["point", *coefficient_names(table), *(f"{prefix}{name}" for name in shown for prefix in prefixes)]
        return shown_html(f"Confirmation {self.sweep_id}", self._lines, table.select(names))

    @property
    def _lines(self) -> list[str]:
        confirmed = self.recorded
        told = f"{len(confirmed.told)} of {len(confirmed.points)} points of {confirmed.parent.sweep_id!r} confirmed"
        if not confirmed.told:
            return [told]
        held = confirmed.held
        if held.claimed is None or held.found is None:
            return [told]
        return [told, f"their hypervolume {held.claimed:.4f} by the sweep, {held.found:.4f} by fresh seeds"]
