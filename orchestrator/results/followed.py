"""A sweep that is read again and again while it runs: each row is read once, and what it says is kept in memory."""

import functools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.config import Config, Fingerprints, read_recorded, recorded_fingerprints
from orchestrator.declarations import CUT
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
        self._rows: dict[str, pa.Table] = {}  # of points that are not made yet
        self._stale: set[str] = set()  # trials whose points are to be made anew, of rows that are not kept
        self._states: dict[str, TrialState] = {}
        self._points: dict[str, list[Point]] = {}  # of finished trials
        self._reference: BaselineReference | None = None
        self._front: list[Point] = []
        self._unjudged: set[str] = set()  # trials whose points have changed since the front was taken

    def states(self) -> list[TrialState]:
        """Return the trials, by number."""
        for trial_id, rows in _by_trial(self._new_events.new_rows()):
            self._events[trial_id] = _extended(self._events.get(trial_id), rows)
            (self._states[trial_id],) = trial_states(self._events[trial_id])
            self._forget_points(trial_id)
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
            if trial_id not in self._points and trial_id not in self._stale:
                self._rows[trial_id] = _extended(self._rows.get(trial_id), rows)
            self._forget_points(trial_id)
        config, fingerprints = self._recorded
        states = self.states()
        points = []
        for state in states:
            if state.is_finished:
                if (rows := self._rows_to_read(state.trial_id)) is not None:
                    self._points[state.trial_id] = points_of_rows(
                        rows, [state], has_validation=config.data.has_validation
                    )
                points += self._points.get(state.trial_id, [])
        return sweep_of_points(self._sweep_id, config, states, points, fingerprints, self.reference())

    def read_front(self, config: Config) -> Sweep:
        """Return the sweep without most of the points that others dominate, which stay dominated whatever comes: its
        front and its hypervolume are those of all points, and take no longer with more of them. With repeats or
        constraints all points are needed.

        Args:
            config: by which points are judged; the same at each call.

        Raises:
            ConfigError: as :meth:`read`.
        """
        whole = replace(self.read(), config=config)
        if config.search.repeats > 1 or config.search.constraints:  # all points make means, or are counted
            return whole
        needed = self._unjudged | ({whole.frozen.trial_id} if whole.frozen else set())
        own = [point for trial_id in sorted(needed) for point in self._points.get(trial_id, ()) if point.stage == CUT]
        others = [point for point in self._front if point.trial.trial_id not in needed]
        points = sorted([*own, *others], key=lambda point: (point.trial.number, point.choice.place))
        sweep = replace(whole, points=points)
        self._front, self._unjudged = sweep.front, set()
        return sweep

    def _forget_points(self, trial_id: str) -> None:
        """A trial's points, if there are any, are to be made anew."""
        self._unjudged.add(trial_id)
        if self._points.pop(trial_id, None) is not None:
            self._stale.add(trial_id)

    def _rows_to_read(self, trial_id: str) -> pa.Table | None:
        """The rows of a trial whose points are to be made; None where they are made."""
        if trial_id in self._stale:
            self._stale.remove(trial_id)
            return self._store.read("points", self._sweep_id, trial_id=trial_id)
        return self._rows.pop(trial_id, None)

    @functools.cached_property
    def _recorded(self) -> tuple[Config, Fingerprints]:
        row: dict[str, Any] = sweep_row(self._store, self._sweep_id)
        return read_recorded(row), recorded_fingerprints(json.loads(row["identity"]))


def _by_trial(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for trial_id in pc.unique(rows["trial_id"]).to_pylist():
        yield trial_id, rows.filter(pc.equal(rows["trial_id"], trial_id))


def _extended(rows: pa.Table | None, new: pa.Table) -> pa.Table:
    return new if rows is None else pa.concat_tables([rows, new])
