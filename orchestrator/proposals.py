"""Which trials a sweep still has to train: read from the tables, or proposed by the searcher and recorded first."""

import dataclasses
from dataclasses import dataclass

from orchestrator.config import Config
from orchestrator.identity import Fingerprints
from orchestrator.records import history, read_sweep, trial_event, trial_states, utc_now
from orchestrator.results import Sweep, TrialState
from orchestrator.search import Coefficients, Problem, Searcher, make_searcher
from orchestrator.search.problem import Grid
from orchestrator.sections import EvaluationConfig
from orchestrator.store import DeltaStore
from orchestrator.trial import Trial
from orchestrator.warm_start import earlier_points


@dataclass
class Proposals:
    """What there is still to train: trials in flight or failed first, then what the searcher proposes.

    ``fingerprints`` are compared with those of the sweeps that it starts from.
    """

    config: Config
    sweep_id: str
    store: DeltaStore
    fingerprints: Fingerprints | None = None

    def __post_init__(self) -> None:
        states = self._states().values()
        self.again = [one for one in states if not one.is_over and one.number < self.config.sweep.trials]
        self.next_number = 1 + max((one.number for one in states), default=-1)
        self.missing = len(self.again) + max(0, self.config.sweep.trials - self.next_number)
        self.pending: dict[str, Coefficients] = {one.trial_id: one.coefficients for one in self.again}
        self.earlier = earlier_points(self.config, self.sweep_id, self.store, self.fingerprints)
        search = self.config.search
        self.searcher: Searcher = make_searcher(
            search.name,
            Problem(
                # Sorted: the order in which a space is written down is no part of a sweep's identity.
                space={key: one.stated for key, one in sorted(search.space.items())},
                free=_free(self.config.evaluation),
                objectives=search.objectives,
                constraints=search.constraints,
                reference=search.reference,
                seed=search.seed,
            ),
        )

    def sweep(self) -> Sweep:
        """The sweep as the tables tell it now, under today's budget, objectives, tracking and resources."""
        return dataclasses.replace(read_sweep(self.store, self.sweep_id), config=self.config)

    def next(self) -> tuple[int, Coefficients]:
        """Number and coefficients of the next trial. A new one is recorded first, and is what the record says: of two
        drivers at once the first one proposes it."""
        if self.again:
            state = self.again.pop(0)
            return state.number, state.coefficients
        number = self.next_number
        self.next_number += 1
        baselines, (place, repeat) = self.config.search.baselines, divmod(number, self.config.search.repeats)
        if place < len(baselines):
            coefficients: Coefficients = dict(baselines[place])
        elif repeat > 0:
            coefficients = next(one.coefficients for one in self._states().values() if one.number == number - repeat)
        else:
            known = history(self.sweep(), self.earlier)
            coefficients = self.searcher.propose(known, list(self.pending.values()), place - len(baselines))
        trial = Trial(self.sweep_id, number, coefficients, self.config, self.config.storage)
        self.store.append("trials", [trial_event(self.sweep_id, trial, "proposed", attempt=0, now=utc_now())])
        recorded = self._states()[trial.trial_id].coefficients
        self.pending[trial.trial_id] = recorded
        return number, recorded

    def over(self, number: int, coefficients: Coefficients, *, died: bool) -> None:
        """A trial ended. One whose process died without a word gets its event here."""
        trial = Trial(self.sweep_id, number, coefficients, self.config, self.config.storage)
        self.pending.pop(trial.trial_id, None)
        if died:
            state = self._states()[trial.trial_id]
            if state.status == "started":
                reason = "its process died (it crashed, was killed for want of memory, or lost its node)"
                event = trial_event(self.sweep_id, trial, "failed", attempt=state.attempt, now=utc_now(), reason=reason)
                self.store.append("trials", [event])

    def _states(self) -> dict[str, TrialState]:
        return {one.trial_id: one for one in trial_states(self.store.read("trials", self.sweep_id))}


def _free(config: EvaluationConfig) -> list[Grid]:
    """The ways to choose after training."""
    rates = {"tau": config.taus, "threshold": config.thresholds}
    return [rates, {"level": config.levels}] if config.levels else [rates]
