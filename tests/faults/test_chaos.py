"""A sweep on a cluster in which something dies every few seconds: after enough commands it has found what it finds
undisturbed, and has trained no trial again that had finished."""

import contextlib
import getpass
import os
import random
import signal
import time

import pytest

from orchestrator.errors import ConfigError
from orchestrator.results import read_sweep
from orchestrator.search import Status
from orchestrator.storage import DeltaStore
from tests.faults.outcomes import begun_after_the_end, differences, files_of, rows_of
from tests.integration.ray_head import ray_head
from tests.integration.sweeps import _started, run_moda
from tests.integration.waiting import (
    PATIENCE,
    command_line,
    descendants,
    wait_until,
)

SEED, NODES, CPUS = 3, 3, 2
SECONDS = (1.0, 4.0)  # between two deaths
PROGRESS = 2  # trials that finish in a round of deaths, so that the sweep ends on any machine
PROCESSES = {"trial": "ImplicitFunc", "worker": "RayTrainWorker"}  # as Ray calls them
SWEEP = (
    *("sweep", "data=digits", "data.limit=200", "model=own", "model.name=tests.faults.nets:Faulty"),
    *("sweep.name=chaos", "search=sobol", "training.epochs=4", "tracking=none"),
    *("evaluation.taus=[0.5,0.9]", "evaluation.levels=[0.1]", "evaluation.targets=[]"),
)


class Chaos:
    """A sweep that is started again whenever it has ended before all of its trials have finished, and what kills it.

    In each round one of every kind dies, in an order drawn at random; then some trials finish.

    Args:
        command: of the sweep.
        trials: how many it has.
        storage: its folder.
        head: of the cluster.
        kinds: of what dies.
    """

    def __init__(self, command, trials, storage, head, kinds):
        self._command, self._trials, self._storage, self._head = command, trials, storage, head
        self._kinds = kinds
        self._random = random.Random(SEED)
        self.nodes = [head.join(CPUS) for _ in range(NODES)]
        self.killed = dict.fromkeys(kinds, 0)
        self.commands = 0

    def run(self):
        """Until the sweep is over; what its last command printed."""
        self._start()
        while not self._is_over():
            before = self._finished()
            for kind in self._random.sample(self._kinds, len(self._kinds)):
                end = time.monotonic() + self._random.uniform(*SECONDS)
                wait_until(lambda end=end: time.monotonic() > end or self._is_over(), "nothing")
                wait_until(lambda kind=kind: self._has_killed(kind) or self._is_over(), f"a {kind} to kill")
            goal = min(before + PROGRESS, self._trials)
            wait_until(lambda goal=goal: self._finished() >= goal or self._is_over(), "trials to finish")
        return self._printed

    def trainings(self):
        """The processes of the cluster that train now, or wait for others that do."""
        return [pid for kind in PROCESSES for pid in self._processes(kind)]

    def _start(self):
        self.commands += 1
        self._sweep = _started(self._command, self._storage, self._head.environment)

    def _is_over(self):
        """Whether all trials have finished and the command has ended; one that ended before is started again."""
        if self._sweep.poll() is None:
            return False
        self._printed, errors = self._sweep.communicate()
        assert self._sweep.returncode in (0, 1), errors
        assert "Traceback" not in self._printed + errors, errors
        if self._sweep.returncode == 0 and self._finished() == self._trials:
            return True
        self._start()
        return False

    def _has_killed(self, kind):
        """Whether there was one of this kind, which is dead now."""
        match kind:
            case "driver":
                self._kill([self._sweep.pid])
                self._sweep.communicate(timeout=PATIENCE)
                self._start()
            case "node":
                node = self.nodes.pop(self._random.randrange(NODES))
                self._kill([*descendants(node.pid), node.pid])
                node.wait()
                self.nodes.append(self._head.join(CPUS))
            case _:
                pids = self._processes(kind)
                if not pids:
                    return False
                self._kill([self._random.choice(pids)])
        self.killed[kind] += 1
        return True

    def _processes(self, kind):
        own = descendants(os.getpid())
        return [pid for pid in sorted(own) if PROCESSES[kind] in command_line(pid)]

    def _kill(self, pids):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.kill(pid, signal.SIGKILL)

    def _finished(self):
        with contextlib.suppress(ConfigError):  # no such sweep yet
            return read_sweep(DeltaStore(str(self._storage)), "chaos").count(Status.FINISHED)
        return 0


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for what is temporary, of all processes that a test starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")  # a node that is gone is missed after some seconds
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "trials"), [(1, 20), (2, 8)])
def test_something_dies_every_few_seconds(tmp_path, temporary, workers, trials):
    command = (*SWEEP, f"sweep.trials={trials}", f"training.num_workers={workers}")
    kinds = ["trial", "node", "driver"] + ["worker"] * (workers > 1)
    with ray_head(cpus=0) as head:
        chaos = Chaos(command, trials, tmp_path / "disturbed", head, kinds)
        done = run_moda(*command, storage=tmp_path / "whole", **head.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        printed = chaos.run()
        assert f"{trials} of {trials} trials finished" in printed
        assert min(chaos.killed.values()) > 0
        print(chaos.killed, "killed in", chaos.commands, "commands")

        wait_until(lambda: not chaos.trainings(), "the processes of trials to end")
        left = {file.name for file in temporary.iterdir()}
        assert left <= {f"torchinductor_{getpass.getuser()}"}  # torch's cache, one for all

    found, whole = rows_of(tmp_path / "disturbed", "chaos"), rows_of(tmp_path / "whole", "chaos")
    assert list(differences(found, whole)) == []
    assert list(begun_after_the_end(tmp_path / "disturbed", "chaos")) == []
    assert files_of(tmp_path / "disturbed") == files_of(tmp_path / "whole")
