"""What has to stay of a sweep in the storage: what its front, and who confirms it, may still ask for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator.errors import ConfigError
from orchestrator.modules.publishing import name_of
from orchestrator.results import Confirmation, Point, Sweep, confirmations, read_sweep
from orchestrator.storage import ResultStore
from orchestrator.tracking import point_alias


@dataclass(frozen=True)
class Retention:
    """A sweep and what stays of it.

    A sweep without a front, as no point meets its constraints yet, stays whole: nothing says which points are good.

    Attributes:
        sweep: the sweep, judged as its recorded configuration says.
        told: points that stay beside the front's: those of a confirmation.
    """

    sweep: Sweep
    told: tuple[Point, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether everything stays, because there is no front."""
        return bool(self.sweep.points) and not self.sweep.front

    @cached_property
    def points(self) -> list[Point]:
        """The points that stay."""
        return [*(self.sweep.points if self.is_whole else self.sweep.front), *self.told]

    @cached_property
    def sets(self) -> dict[str, Point]:
        """Every module set that the sweep can have, by its name in the storage, with its point."""
        return {name_of(point): point for point in self.sweep.points}

    @cached_property
    def kept_sets(self) -> set[str]:
        """The names of the module sets that stay; with repeats, those of all single trainings of a point."""
        return {name_of(each) for point in self.points for each in point.singles}

    @cached_property
    def over(self) -> set[str]:
        """The ids of the trials that are over."""
        return {trial.trial_id for trial in self.sweep.trials if trial.is_over}

    @cached_property
    def kept_trials(self) -> set[str]:
        """The ids of the trials whose weights and counts stay.

        Those of the points that stay, and of sets of coefficients that are not over: a trial may be resumed, and with
        repeats a set's points are made when the last of its trainings has finished.
        """
        kept = {single.trial.trial_id for point in self.points for single in point.singles}
        over = Counter(self.sweep.set_of(trial) for trial in self.sweep.trials if trial.is_over)
        repeats = self.sweep.config.search.repeats
        return kept | {trial.trial_id for trial in self.sweep.trials if over[self.sweep.set_of(trial)] < repeats}

    @cached_property
    def aliases(self) -> set[str]:
        """The aliases that sets of the points that stay have in W&B."""
        return {point_alias(each) for point in self.points for each in (point, *point.singles)}


def retentions(store: ResultStore, names: Sequence[str] = ()) -> list[Retention]:
    """Return what must stay of the named sweeps, or of all sweeps of the storage if none is named.

    Raises:
        ConfigError: a sweep that is not there, or a storage that holds none.
    """
    known = sorted(store.read("sweeps")["sweep_id"].to_pylist())
    if not known:
        raise ConfigError("the storage holds no sweeps; set storage=... to the right one")
    sweeps = [read_sweep(store, name) for name in dict.fromkeys(names or known)]
    return [Retention(sweep, _told(store, sweep, known)) for sweep in sweeps]


def _told(store: ResultStore, sweep: Sweep, known: Sequence[str]) -> tuple[Point, ...]:
    """The points of a sweep that take part in a confirmation: as what is confirmed, or as what confirms."""
    claimed = [claim for confirmation in confirmations(store, sweep) for claim, _ in confirmation.told]
    parent = sweep.config.sweep.confirms
    confirmed = Confirmation(read_sweep(store, parent), sweep).told if parent is not None and parent in known else []
    return (*claimed, *(point for _, point in confirmed))
