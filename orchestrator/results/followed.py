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
        self._rows: dict[str, pa.Table] = {}  # of points that are not made yet
        self._stale: set[str] = set()  # trials whose points are to be made anew, of rows that are not kept
        self._states: dict[str, TrialState] = {}
        self._points: dict[str, list[Point]] = {}  # of finished trials
        self._reference: BaselineReference | None = None
        self._front: list[Point] = []
        self._unjudged: set[str] = set()  # trials whose points have changed since the front was taken

    def states(self) -> list[TrialState]:
        """Return the trials, by number."""
        for state in trial_states(self._new_events.new_rows()):
            known = self._states.get(state.trial_id, state)
            self._states[state.trial_id] = max(state, known, key=lambda each: each.rank)
            self._forget_points(state.trial_id)
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
        sweep = self._without_points()
        if len(self._stale) > 1:  # one look at the table for all of them
            for trial_id, rows in _by_trial(self._store.read("points", self._sweep_id)):
                if trial_id in self._stale:
                    self._stale.remove(trial_id)
                    self._rows[trial_id] = rows
        points = [point for state in sweep.trials for point in self._kept_points(state)]
        return sweep_of_points(self._sweep_id, sweep.config, sweep.trials, points, sweep.fingerprints, sweep.frozen)

    def read_front(self, config: Config) -> Sweep:
        """Return the sweep without most of the points that others dominate, which stay dominated whatever comes: its
        front and its hypervolume are those of all points. It takes no longer with more of them, and keeps none that is
        not on the front.

        Args:
            config: by which points are judged; the same at each call.

        Raises:
            ConfigError: as :meth:`read`.
        """
        if config.search.repeats > 1 or config.search.constraints:  # all points make means, or are counted
            return replace(self.read(), config=config)
        sweep = replace(self._without_points(), config=config)
        own = []
        for state in filter(lambda state: state.is_finished, sweep.trials):
            if sweep.frozen is not None and state.trial_id == sweep.frozen.trial_id:
                own += self._kept_points(state)
            elif state.trial_id in self._unjudged:
                own += self._points_of(state)
                if self._rows.pop(state.trial_id, None) is not None:
                    self._stale.add(state.trial_id)
        judged = {point.trial.trial_id for point in own}
        points = [*own, *(point for point in self._front if point.trial.trial_id not in judged)]
        points = [point for point in points if point.stage == CUT]
        sweep = replace(sweep, points=sorted(points, key=lambda point: (point.trial.number, point.choice.place)))
        self._front, self._unjudged = sweep.front, set()
        return sweep

    def _without_points(self) -> Sweep:
        """The sweep as it is now, but for its points, whose rows are read."""
        for trial_id, rows in _by_trial(self._new_points.new_rows()):
            if trial_id not in self._points and trial_id not in self._stale:
                self._rows[trial_id] = _extended(self._rows.get(trial_id), rows)
            self._forget_points(trial_id)
        config, fingerprints = self._recorded
        return Sweep(self._sweep_id, config, self.states(), [], fingerprints, self.reference())

    def _kept_points(self, state: TrialState) -> list[Point]:
        """The points of a trial, in the place of its rows from now on."""
        if state.is_finished and state.trial_id not in self._points:
            self._points[state.trial_id] = self._points_of(state)
            self._rows.pop(state.trial_id, None)
        return self._points.get(state.trial_id, [])

    def _points_of(self, state: TrialState) -> list[Point]:
        """The points of a finished trial, made of its rows where they are not kept."""
        trial_id = state.trial_id
        if trial_id in self._stale:
            self._stale.remove(trial_id)
            self._rows[trial_id] = self._store.read("points", self._sweep_id, trial_id=trial_id)
        if trial_id not in self._rows:
            return self._points.get(trial_id, [])
        has_validation = self._recorded[0].data.has_validation
        return points_of_rows(self._rows[trial_id], [state], has_validation=has_validation)

    def _forget_points(self, trial_id: str) -> None:
        """A trial's points, if there are any, are to be made anew."""
        self._unjudged.add(trial_id)
        if self._points.pop(trial_id, None) is not None:
            self._stale.add(trial_id)

    @functools.cached_property
    def _recorded(self) -> tuple[Config, Fingerprints]:
        row: dict[str, Any] = sweep_row(self._store, self._sweep_id)
        return read_recorded(row), recorded_fingerprints(json.loads(row["identity"]))


def _by_trial(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for trial_id in pc.unique(rows["trial_id"]).to_pylist():
        yield trial_id, rows.filter(pc.equal(rows["trial_id"], trial_id))


def _extended(rows: pa.Table | None, new: pa.Table) -> pa.Table:
    return new if rows is None else pa.concat_tables([rows, new])
