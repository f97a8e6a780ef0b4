"""Which trials a sweep still has to train: read from the tables, or proposed by the searcher and recorded first."""

import dataclasses
import logging
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.config import METHOD, TARGETS, Config, Fingerprints, free_name, method_and_key
from orchestrator.declarations import METRICS, SHARE
from orchestrator.errors import StorageFault
from orchestrator.results import (
    FollowedSweep,
    Sweep,
    TrialState,
    coefficient_column,
    coefficient_columns,
    history,
    is_standard,
    record_reference,
    trial_event,
    utc_now,
)
from orchestrator.runs.warm_start import earlier_points, in_space
from orchestrator.search import (
    Coefficients,
    History,
    Problem,
    Searcher,
    SpaceExhausted,
    Status,
    exhausted_text,
    make_searcher,
)
from orchestrator.storage import DeltaStore
from orchestrator.training import Trial

LOG = logging.getLogger("moda")
TRIAL_TABLES = ("trials", "epochs", "rungs", "points", "classes")  # to which every trial appends
COMPACT_EVERY = 100  # trials


@dataclass
class Proposals:
    """What there is still to train: trials in flight or failed first, then what the searcher proposes.

    Attributes:
        budget: how many trials the sweep has when it is done: ``sweep.trials``, or fewer where the space is exhausted.
        missing: how many of them are not over.
        fingerprints: compared with those of the sweeps that it starts from.
    """

    config: Config
    sweep_id: str
    store: DeltaStore
    fingerprints: Fingerprints | None = None

    def __post_init__(self) -> None:
        self._followed = FollowedSweep(self.store, self.sweep_id)
        self._ended = 0
        self._completed: dict[str, Coefficients] = {}
        self._keys: dict[str, Hashable | None] = {}  # of trials, see _trained
        self.problem = search_problem(self.config)
        self.searcher: Searcher = make_searcher(self.config.search.name, self.problem)
        states = list(self._states().values())
        self.next_number = 1 + max((state.number for state in states), default=-1)
        self.budget = self._budget()
        self.again = [state for state in states if not state.is_over and state.number < self.budget]
        self.missing = len(self.again) + max(0, self.budget - self.next_number)
        self.pending: dict[str, Coefficients] = {state.trial_id: state.coefficients for state in self.again}
        self.earlier = earlier_points(self.config, self.sweep_id, self.store, self.fingerprints)
        self._stopped = ""
        self._attempts: dict[str, int] = {}  # of each trial that was given to be trained, those before

    @property
    def exhausted(self) -> str:
        """A message that says why the sweep has fewer trials than ``sweep.trials``; empty if it has as many."""
        if self._stopped or self.budget >= self.config.sweep.trials:
            return self._stopped
        return (
            f"{exhausted_text(self.problem)}; the sweep is done after {self.budget} of"
            f" sweep.trials={self.config.sweep.trials} trainings (a larger search.space is another sweep)"
        )

    def stop(self, reason: str) -> None:
        """Propose nothing more; :attr:`exhausted` says why. Trials that have begun go on."""
        self.budget, self._stopped = self.next_number, reason

    @property
    def left(self) -> int:
        """How many trials are not over yet, whether they were begun or not."""
        return len(self.pending) + max(0, self.budget - self.next_number)

    def sweep(self) -> Sweep:
        """Read the sweep as it is in the tables now, under today's budget, objectives, tracking and resources."""
        return dataclasses.replace(self._followed.read(), config=self.config)

    def front(self) -> Sweep:
        """Read the sweep likewise, with the points that its front and its hypervolume need."""
        return self._followed.read_front(self.config)

    def next(self) -> tuple[int, Coefficients]:
        """Number and coefficients of the next trial. A new one is recorded first, and is what the record says: of two
        drivers at once the first one proposes it.

        Raises:
            SpaceExhausted: nothing is left to train; the budget is then what was proposed.
        """
        if self.again:
            state = self.again.pop(0)
            self._attempts[state.trial_id] = state.attempt
            return state.number, state.coefficients
        number = self.next_number
        try:
            coefficients = self._proposal(number)
        except SpaceExhausted:
            self.budget = number
            raise
        self.next_number += 1
        trial = self._trial(number, coefficients)
        self.store.append("trials", [trial_event(self.sweep_id, trial, Status.PROPOSED, attempt=0, now=utc_now())])
        recorded = self._states()[trial.trial_id]
        self.pending[trial.trial_id] = recorded.coefficients
        self._attempts[trial.trial_id] = recorded.attempt
        return number, recorded.coefficients

    def over(self, number: int, coefficients: Coefficients) -> None:
        """Note that a trial ended, and record the reference values that follow from the first standard training."""
        self.pending.pop(self._trial(number, coefficients).trial_id, None)
        if is_standard(self.config, coefficients):
            self.record_reference()
        self._ended += 1
        if self._ended % COMPACT_EVERY == 0:
            self._compact()

    def _compact(self) -> None:
        """Put the small files together that each trial has added to the sweep's tables, so that opening one does not
        take longer from trial to trial. Others may write meanwhile."""
        try:
            for table in TRIAL_TABLES:
                self.store.compact(table, self.sweep_id)
        except StorageFault as error:  # nothing is lost, and what is wrong stops trials, too
            LOG.warning("tables of %s were not compacted: %s", self.sweep_id, error)

    def died(self, number: int, coefficients: Coefficients, *, reason: str) -> None:
        """Note that a trial failed for the last time. One that has not said so itself gets its event here.

        Args:
            number: of the trial.
            coefficients: of the trial.
            reason: what became of its process.
        """
        trial = self._trial(number, coefficients)
        state = self._states()[trial.trial_id]
        begun = state.attempt > self._attempts[trial.trial_id]
        if state.is_over or (begun and state.status == Status.FAILED):
            return
        event = trial_event(
            self.sweep_id,
            trial,
            Status.FAILED,
            attempt=state.attempt + (not begun),
            now=utc_now(),
            reason=reason,
        )
        self.store.append("trials", [event])

    def record_reference(self) -> None:
        """Record the reference values that follow from the first standard training, once one has finished."""
        if self._followed.reference() is not None:
            return
        if (reference := self.sweep().baseline_reference) is not None:
            record_reference(self.store, self.sweep_id, reference, utc_now())

    def _proposal(self, number: int) -> Coefficients:
        search = self.config.search
        place, repeat = divmod(number, search.repeats)
        begun = {state.number: state.coefficients for state in self._states().values()}
        if number in begun:  # by another driver
            return begun[number]
        if place < len(search.baselines):
            return dict(search.baselines[place])
        if repeat > 0:
            return begun[number - repeat]
        known = History(trained=self._trained())
        if self.searcher.learns:
            sweep = self.sweep()
            if sweep.reference != self.problem.reference:  # a searcher keeps no state
                self.problem = dataclasses.replace(self.problem, reference=sweep.reference)
                self.searcher = make_searcher(search.name, self.problem)
            known = dataclasses.replace(history(sweep, self.earlier, self._completed), trained=known.trained)
        pending = [coefficient_columns(search.space, coefficients) for coefficients in self.pending.values()]
        proposed = self.searcher.propose(known, pending, place - len(search.baselines))
        columns = {name: coefficient_column(name) for name in sorted(search.space)}
        return {name: proposed[column] for name, column in columns.items() if column in proposed}

    def _budget(self) -> int:
        """``sweep.trials``, or as many as there are baselines and sets of the space to train."""
        search = self.config.search
        if self.problem.size == math.inf:
            return self.config.sweep.trials
        left = self.problem.size - len(self._trained() | {self._key(each) for each in search.baselines} - {None})
        sets = max(math.ceil(self.next_number / search.repeats), len(search.baselines)) + max(left, 0)
        return int(min(self.config.sweep.trials, search.repeats * sets))

    def _trained(self) -> set[Hashable]:
        """The keys of the sets of coefficients of the space whose training would be that of a trial.

        A baseline may leave a dimension out, which then has the configured value, and may set what is not searched.
        """
        for trial_id, state in self._states().items():
            if trial_id not in self._keys:
                self._keys[trial_id] = self._key(state.coefficients)
        return set(self._keys.values()) - {None}

    def _key(self, coefficients: Mapping[str, Any]) -> Hashable | None:
        """The key of the set of the space whose training is that of some coefficients; None if there is none."""
        space, config = self.config.search.space, self.config.with_coefficients(coefficients)
        stated = in_space(space, config)
        if self.config.with_coefficients(stated) != config:
            return None
        return self.problem.key(coefficient_columns(space, stated))

    def _trial(self, number: int, coefficients: Coefficients) -> Trial:
        return Trial(self.sweep_id, number, coefficients, self.config, self.config.storage)

    def _states(self) -> dict[str, TrialState]:
        return {state.trial_id: state for state in self._followed.states()}


def search_problem(config: Config) -> Problem:
    """Return the problem that a sweep states to its searcher."""
    search = config.search
    return Problem(
        # Sorted: the order in which a space is written down is not a part of a sweep's identity.
        space={coefficient_column(key): _stated(config, key) for key in sorted(search.space)},
        free=[
            {free_name(rule, name): values for name, values in grid.items()}
            for rule, grid in _common_grids(config).items()
        ],
        objectives={name: objective.direction for name, objective in search.objectives.items()},
        constraints=search.constraints,
        reference=search.reference,
        scales=dict(zip(search.objectives, search.scales, strict=True)),
        targets=TARGETS,
        fixed=_fixed(config),
        experience=search.experience,
        shares=[name for name, metric in METRICS.items() if metric.kind == SHARE and metric.direction == "max"],
        seed=search.seed,
    )


def _fixed(config: Config) -> dict[str, Any]:
    """What is not searched of a sweep's method and of how SGD trains; nothing where several methods are searched."""
    names = () if config.search.methods else (*config.method.coefficients, "learning_rate", "optimizer", "weight_decay")
    return {coefficient_column(key): config.coefficient(key) for key in names if key not in config.search.space}


def _stated(config: Config, key: str) -> dict[str, Any]:
    """A dimension, with the method that it is of."""
    stated = config.search.space[key].stated
    method, _ = method_and_key(key)
    return stated if method is None else {**stated, "where": {coefficient_column(METHOD): method}}


def _common_grids(config: Config) -> dict[str, Mapping[str, Sequence[float]]]:
    """The rules that are tried on the networks of every method: a surface consists of what all trials have."""
    of_each = [config.of_method({METHOD: method}).evaluation.grids for method in config.search.methods]
    grids = config.evaluation.grids
    return {rule: grid for rule, grid in grids.items() if all(other.get(rule) == grid for other in of_each)}
