"""Says why nothing runs: what a trial needs, and what is free on which node."""

import time
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from ray.util import placement_group_table

from orchestrator.config import Config
from orchestrator.runs import growth
from orchestrator.runs.capacity import held_trials, needs_text, nodes_of_cluster, nodes_text, worker_needs

FIRST, AGAIN = 30.0, 180.0  # seconds without a training before the first line, and between lines


class Waiting(Callback):
    """Says on a line why trials wait while none runs, as a Tune callback.

    Args:
        config: of the sweep.
        say: prints a line.
        clock: seconds.
    """

    def __init__(self, config: Config, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._say, self._clock = config, say, clock
        self._looked = self._since = clock()
        self._next = self._since + FIRST

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that is never made."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Look, once a second, whether a training has its resources."""
        now = self._clock()
        if now - self._looked < 1:
            return
        self._looked = now
        in_flight = [trial for trial in trials if trial.status in (TuneTrial.PENDING, TuneTrial.RUNNING)]
        if not in_flight or self._is_training(in_flight):
            self._since, self._next = now, now + FIRST
            return
        if now >= self._next:
            self._next = now + AGAIN
            self._say(self._line(now - self._since))

    def _is_training(self, trials: list[TuneTrial]) -> bool:
        """Whether a trial runs; if its workers are Ray Train's, whether those of one have their places."""
        workers = self._config.training.num_workers
        if not any(trial.status == TuneTrial.RUNNING for trial in trials):
            return False
        if workers == 1:
            return True
        groups = [
            group
            for group in placement_group_table().values()
            if len(group["bundles"]) == workers and not group["name"].startswith(growth.NAME)
        ]
        states = {group["state"] for group in groups}
        return "CREATED" in states or "PENDING" not in states

    def _line(self, seconds: float) -> str:
        nodes, training = nodes_of_cluster(), self._config.training
        has = sum(node.holds(worker_needs(training)) for node in nodes)
        hint = "other programs hold it, or the node that had it has left"
        if held_trials(self._config, nodes) < 1:
            more = f"these nodes have room for {has} of {training.num_workers} workers even when they are idle"
            hint = f"{more}: add nodes, or lower training.num_workers, cpus_per_worker or gpus_per_worker"
        needs = needs_text(training)
        return f"nothing has run for {seconds:.0f} s: a trial needs {needs}; free: {nodes_text(nodes)}; {hint}"
