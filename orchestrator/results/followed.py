"""A sweep that is read again and again while it runs: each row is read once, and what it says is kept in memory."""

import functools
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.config import Config, Fingerprints, read_recorded, recorded_fingerprints
from orchestrator.results.points import Point, TrialState
from orchestrator.results.records import points_of_rows, sweep_of_points, sweep_row, trial_states
from orchestrator.results.reference_point import BaselineReference, reference_of_rows
from orchestrator.results.sweep import Sweep
from orchestrator.storage import DeltaStore, FollowedTable


class FollowedSweep:
    """A sweep as the tables hold it at each look.

    Args:
        store: the tables.
        sweep_id: of the sweep, which need not be recorded yet.
    """

    def __init__(self, store: DeltaStore, sweep_id: str) -> None:
        self._store, self._sweep_id = store, sweep_id
        self._new_events, self._new_points, self._new_references = (
            FollowedTable(store, table, sweep_id) for table in ("trials", "points", "reference_points")
        )
        self._events: dict[str, pa.Table] = {}
        self._rows: dict[str, pa.Table] = {}  # of points
        self._states: dict[str, TrialState] = {}
        self._points: dict[str, list[Point]] = {}  # of finished trials
        self._reference: BaselineReference | None = None

    def states(self) -> list[TrialState]:
        """Return the trials, by number."""
        for trial_id, rows in _by_trial(self._new_events.new_rows()):
            self._events[trial_id] = _extended(self._events.get(trial_id), rows)
            (self._states[trial_id],) = trial_states(self._events[trial_id])
            self._points.pop(trial_id, None)
        return sorted(self._states.values(), key=lambda state: state.number)

    def reference(self) -> BaselineReference | None:
        """Return the reference values that the sweep has recorded; None where it has not yet."""
        if self._reference is None:
            self._reference = reference_of_rows(self._new_references.new_rows().to_pylist())
        return self._reference

    def read(self) -> Sweep:
        """Return the sweep with its trials and points.

        Raises:
            ConfigError: it is not recorded yet.
        """
        for trial_id, rows in _by_trial(self._new_points.new_rows()):
            self._rows[trial_id] = _extended(self._rows.get(trial_id), rows)
            self._points.pop(trial_id, None)
        config, fingerprints = self._recorded
        states = self.states()
        points = []
        for state in states:
            if state.is_finished and state.trial_id in self._rows:
                if state.trial_id not in self._points:
                    rows = self._rows[state.trial_id]
                    self._points[state.trial_id] = points_of_rows(
                        rows, [state], has_validation=config.data.has_validation
                    )
                points += self._points[state.trial_id]
        return sweep_of_points(self._sweep_id, config, states, points, fingerprints, self.reference())

    @functools.cached_property
    def _recorded(self) -> tuple[Config, Fingerprints]:
        row: dict[str, Any] = sweep_row(self._store, self._sweep_id)
        return read_recorded(row), recorded_fingerprints(json.loads(row["identity"]))


def _by_trial(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for trial_id in pc.unique(rows["trial_id"]).to_pylist():
        yield trial_id, rows.filter(pc.equal(rows["trial_id"], trial_id))


def _extended(rows: pa.Table | None, new: pa.Table) -> pa.Table:
    return new if rows is None else pa.concat_tables([rows, new])
