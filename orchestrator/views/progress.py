"""What a person sees while a sweep runs: which trials, the front so far, how long is left.

In a terminal a display that refreshes in place; in a log (a submitted job) a line whenever something happened.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from rich.console import Console, Group
from rich.live import Live
from rich.status import Status as RichStatus
from rich.table import Table
from rich.text import Text

from orchestrator.config import Config
from orchestrator.results import NO_HYPERVOLUME, Sweep
from orchestrator.search import Status
from orchestrator.tracking import describe_tracking
from orchestrator.views.terminal import coefficients_text, duration_text, front_table, reference_text

LOG_SECONDS = 15.0  # between lines of mere progress in a log
FRONT_ROWS = 8
OTHER_LINES = 12  # of the display, beside those of running trials and of the front's points
WIDTH_OF_TERMS = 100  # columns of a terminal in which the terms of the loss have room
HOUR = 3600.0  # seconds


class Progress(Callback):
    """Shows the progress of a sweep, as a Tune callback.

    Args:
        console: where to write.
        clock: seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._live: Live | None = None
        self._preparing: RichStatus | None = None
        self._running: dict[str, dict[str, Any]] = {}
        self._watchers: list[Callable[[Sweep], None]] = []
        self._last_line = float("-inf")
        self._most_running = 0
        self._seconds_of_trials: list[float] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that is never made."""
        return {}

    def watch(self, watcher: Callable[[Sweep], None]) -> None:
        """Call a function with the sweep whenever a trial has ended."""
        self._watchers.append(watcher)

    def prepare(self, what: str) -> None:
        """Show what is being done before the first trial starts. In a log that is a line."""
        if not self._console.is_terminal:
            self._line(what)
        elif self._preparing is None:
            self._preparing = self._console.status(what)
            self._preparing.start()
        else:
            self._preparing.update(what)

    def begin(self, config: Config, concurrency: int, read: Callable[[], Sweep], *, budget: int | None = None) -> None:
        """Print what the sweep is about to do.

        Args:
            config: of the sweep.
            concurrency: trials at once.
            read: gives the sweep as it stands.
            budget: trials of the sweep, where the space has fewer than ``sweep.trials``.
        """
        self._end_preparing()
        self._read, sweep = read, read()
        over = sum(trial.is_over for trial in sweep.trials)
        self._sweep, self._budget, self._done_before = sweep, budget or config.sweep.trials, over
        self._started, self._at_once = self._clock(), concurrency
        say = partial(self._console.print, highlight=False)
        search = config.search
        say(f"[bold]sweep {sweep.sweep_id}[/]  {config.model.name} on {config.data.name}, search={search.name}")
        is_log = not self._console.is_terminal  # a terminal has lines broken between words
        say(f"hypervolume up to the reference point {reference_text(sweep)}", soft_wrap=is_log)
        say(f"storage {config.storage}   tracking {describe_tracking(config)}", markup=False)
        if over >= self._budget:
            say(f"all {self._budget} trials are already in the tables; nothing to train")
            return
        resumed = sum(not trial.is_over for trial in sweep.trials)
        earlier = f", {over} read from the tables" if over else ""
        earlier += f", {resumed} resumed" if resumed else ""
        asked = config.sweep.trials
        fewer = "" if self._budget == asked else f" (sweep.trials={asked}; the space has no more)"
        at_once = f"{concurrency} at once" if concurrency else "as many at once as the cluster will hold"
        hours = config.sweep.hours
        until = "" if hours is None else f"; none is begun later than {hours:g} h from now (sweep.hours)"
        say(f"{self._budget} trials{fewer}, {at_once}{earlier}{until}", soft_wrap=is_log)
        if self._console.is_terminal:
            self._live = Live(self._view(), console=self._console, refresh_per_second=2, transient=True)
            self._live.start()

    def say(self, text: str) -> None:
        """Print a line above the display, without markup."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def say_restart(self, trial: TuneTrial, reason: str) -> None:
        """Say why a trial starts again, and where it goes on."""
        state = self._running.get(trial.trial_id, {"epoch": 0})
        where = f"after epoch {state['epoch']}" if state["epoch"] else "from the start"
        self.say(f"trial {trial.config['number']}: {reason}; it goes on {where}")

    def show_measured(self, done: int, total: int) -> None:
        """Say how much of the measurement on the test images is done, in trials."""
        self.prepare(f"measured {done} of {total} trials on the test images")

    def close(self) -> None:
        """End the live display, so that later output follows it."""
        self._end_preparing()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _end_preparing(self) -> None:
        if self._preparing is not None:
            self._preparing.stop()
            self._preparing = None

    def end(self, sweep: Sweep) -> None:
        """Print the summary."""
        self._end_preparing()
        over = sum(trial.is_over for trial in sweep.trials)
        took = f" in {duration_text(self._clock() - self._started)}" if over > self._done_before else ""
        self._console.print(
            f"{sweep.finished_text}{took}; {len(sweep.front)} points on the front,"
            f" hypervolume {sweep.hypervolume_text}",
            highlight=False,
            soft_wrap=True,
        )
        for trial in sweep.trials:
            if trial.status in (Status.FAILED, Status.DIVERGED):
                self.say(f"trial {trial.number} {trial.status}: {trial.reason}")
        if failed := sweep.count(Status.FAILED):
            self.say(f"run the same command again to retry the {failed} that failed")

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note that a trial started."""
        before = self._running.get(trial.trial_id, {"epoch": 0})["epoch"]  # of an attempt that died
        self._running[trial.trial_id] = {"config": trial.config, "epoch": before, "epochs": 0, "started": self._clock()}
        self._show()

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Note how far a trial is."""
        if trial.trial_id in self._running and "epoch" in result:
            self._running[trial.trial_id].update({key: result[key] for key in ("epoch", "epochs", "loss", "terms")})
        self._show()

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note that a trial ended."""
        self._ended(trial)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note that a trial failed, for the last time or before another attempt."""
        self._ended(trial)

    def _ended(self, trial: TuneTrial) -> None:
        known = self._running.pop(trial.trial_id, None)
        if known is not None:
            self._seconds_of_trials.append(self._clock() - known["started"])
        self._sweep = self._read()
        for watcher in self._watchers:
            watcher(self._sweep)
        if self._live is None and known is not None:
            number = known["config"]["number"]
            state = next((state for state in self._sweep.trials if state.number == number), None)
            if state is not None:
                took = duration_text(self._clock() - known["started"])
                front, volume = self._sweep.front, self._sweep.hypervolume
                volume_text = NO_HYPERVOLUME if volume is None else f"{volume:.4f}"
                self._line(
                    f"[{self._over}/{self._budget}] trial {number} {state.status} in {took}"
                    f"  {coefficients_text(state.coefficients)}; front: {len(front)} points,"
                    f" hypervolume {volume_text}; {self._left()}"
                )
        self._show()

    @property
    def _over(self) -> int:
        return sum(trial.is_over or trial.status == Status.FAILED for trial in self._sweep.trials)

    def _left(self) -> str:
        if self._over - self._done_before < 1:
            return "time left: not known before the first trial ends"
        training = min(self._seconds_by_trials(), self._seconds_by_hours())
        return f"about {duration_text(training + self._test_seconds())} left"

    def _seconds_by_trials(self) -> float:
        """How long it takes until as many trials are over as were asked for."""
        begun: float = sum(state["epoch"] / state["epochs"] for state in self._running.values() if state["epochs"])
        rate = (self._over - self._done_before + begun) / (self._clock() - self._started)
        return max(0.0, (self._budget - self._over - begun) / rate)

    def _seconds_by_hours(self) -> float:
        """How long it takes until no trial is begun any more and the last ones end."""
        hours = self._sweep.config.sweep.hours
        if hours is None:
            return float("inf")
        now, taken = self._clock(), self._seconds_of_trials
        each = sum(taken) / len(taken) if taken else 0.0
        begun_until = self._started + HOUR * hours
        if now < begun_until:
            return begun_until - now + each
        left: list[float] = [state["started"] + each - now for state in self._running.values()]
        return max([0.0, *left])

    def _test_seconds(self) -> float:
        """How long the front will be measured on the test images: by what measuring has taken on validation."""
        taken = [trial.evaluation_seconds for trial in self._sweep.trials if trial.evaluation_seconds is not None]
        measured = len(self._sweep.points) / max(1, len(taken))  # choices of a trial
        untested = sum(point.test is None for point in self._sweep.front)
        evaluation = self._sweep.config.evaluation
        if not (taken and measured and evaluation.pairs and evaluation.test_pairs):
            return 0.0
        each = sum(taken) / len(taken) / measured * evaluation.test_pairs / evaluation.pairs
        return untested * each / max(1, self._at_once)

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(self._view())
        elif self._clock() - self._last_line > LOG_SECONDS and self._running:
            running = ", ".join(
                f"trial {state['config']['number']} {_where(state)}" for state in self._running.values()
            )
            self._line(f"running {running}; {self._left()}")

    def _line(self, text: str) -> None:
        self._last_line = self._clock()
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _view(self) -> Group:
        volume = NO_HYPERVOLUME if self._sweep.hypervolume is None else f"{self._sweep.hypervolume:.4f}"
        head = f"{self._over} of {self._budget} trials, hypervolume {volume}, {self._left()}"
        width = self._console.width
        parts: list[Any] = [Text(head, style="bold"), self._running_table(width)]
        if self._sweep.front:
            rows = min(FRONT_ROWS, max(2, self._console.height - self._most_running - OTHER_LINES))
            parts.append(front_table(self._sweep, rows=rows, title="front so far (validation)", width=width))
        return Group(*parts)

    def _running_table(self, width: int) -> Table:
        """A line for each running trial, and empty ones for those that will follow, so that nothing below moves."""
        states = list(self._running.values())
        self._most_running = max(self._most_running, len(states), 1)
        terms = list(dict.fromkeys(term for state in states for term in state.get("terms", ())))
        shown = ["loss", *terms] if width >= WIDTH_OF_TERMS else ["loss"]
        table = Table(title="running", title_justify="left", box=None, header_style="bold", padding=(0, 1, 0, 0))
        table.add_column("trial", no_wrap=True)
        table.add_column("", no_wrap=True, min_width=len("epoch 10/30"))
        for name in shown:
            table.add_column(name, justify="right", no_wrap=True, min_width=len("10.000"))
        table.add_column("coefficients")
        for state in states:
            losses = {"loss": state["loss"], **state["terms"]} if "loss" in state else {}
            numbers = [_loss_text(losses[name]) if name in losses else "" for name in shown]
            text = coefficients_text(state["config"]["coefficients"])
            coefficients = Text(text, no_wrap=True, overflow="ellipsis")
            table.add_row(str(state["config"]["number"]), _where(state), *numbers, coefficients)
        if not states:
            table.add_row("", "starting")
        for _ in range(self._most_running - max(1, len(states))):
            table.add_row("")
        return table


def _loss_text(value: float) -> str:
    """Three decimals, but of a loss that diverges three digits."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def _where(state: Mapping[str, Any]) -> str:
    """How far a running trial is: ``starting``, ``epoch 3/30``, or ``measuring`` after the last one."""
    if not state["epochs"]:
        return "starting"
    return "measuring" if state["epoch"] == state["epochs"] else f"epoch {state['epoch']}/{state['epochs']}"
