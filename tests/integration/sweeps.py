"""The command line as tests use it, and one finished sweep for all tests that look at one.

``call_moda`` runs a command in the test's process: for what looks, publishes or is refused. ``run_moda`` is a process
of its own: for sweeps (on ``shared_ray``, see ray_head.py), for what is about the process, and once for each command.
``sweep_in_process`` leaves in a storage what a sweep does, for tests of what comes after it.
``start_at_gate`` does not wait for its end, but for the point of a training at which a test kills it (gates.py).
"""

import contextlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO
from unittest import mock

import pytest
import torch

from orchestrator.cli.command_line import main
from orchestrator.config.composing import load_config
from orchestrator.results import Sweep, claim_sweep, utc_now
from orchestrator.runs.proposals import Proposals
from orchestrator.storage import DeltaStore
from orchestrator.training import Trial, fingerprints, measure_on_test, run_trial, with_own_parts
from orchestrator.training.data import load_data
from tests.defaults import THREE_COEFFICIENTS
from tests.integration.gates import Gate
from tests.integration.once import once
from tests.integration.waiting import PATIENCE, WANDB_PATIENCE

ROOT = Path(__file__).parents[2]
CHOICES = ("evaluation.levels=[0.05,0.1,0.3]", "evaluation.targets=[0.05,0.2]")
TINY = ("experiment=digits", *THREE_COEFFICIENTS, "sweep.name=tiny", "sweep.trials=4", "training.epochs=1", *CHOICES)
RAY_TIMED_OUT = "or name a cluster that runs: RAY_ADDRESS"  # the end of the line where it did not start in five tries
RAY_STARTS = 5
Done = subprocess.CompletedProcess[str]
Swept = tuple[Path, Done]
Moda = Callable[..., Done]


def run_moda(*arguments: str, storage: Path | str, folder: Path = ROOT, **environment: str) -> Done:
    """``moda`` in a process of its own, in a working folder; again where a busy machine did not start its Ray in time.

    On the Ray of ``RAY_ADDRESS`` trials get the rest of ``environment`` too, as a submitted job gives it to them.
    """
    for _ in range(RAY_STARTS):
        process = _started(arguments, storage, environment, folder)
        printed, errors = process.communicate(timeout=PATIENCE)
        if RAY_TIMED_OUT not in errors:
            break
    return Done(process.args, process.returncode, printed, errors)


def start_at_gate(gate: Gate, *arguments: str, storage: Path | str, **environment: str) -> subprocess.Popen[str]:
    """``moda`` in a process of its own, a training of which waits at the gate now."""
    for _ in range(RAY_STARTS):
        process = _started(arguments, storage, environment)
        if gate.is_reached_by(process):
            return process
        printed, errors = process.communicate()
        assert RAY_TIMED_OUT in errors, printed + errors
    raise AssertionError(RAY_TIMED_OUT)


def _started(
    arguments: Sequence[str], storage: Path | str, environment: Mapping[str, str], folder: Path = ROOT
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=folder,
        env={**os.environ, "MODA_STORAGE": str(storage), **environment, **_for_trials(environment)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _for_trials(environment: Mapping[str, str]) -> dict[str, str]:
    """Where Ray looks for what a job's processes are given."""
    given = {name: value for name, value in environment.items() if not name.startswith("RAY_")}
    if "RAY_ADDRESS" not in environment or not given:
        return {}
    return {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"env_vars": given}})}


def call_moda(*arguments: str, storage: Path | str, **environment: str) -> Done:
    """``moda`` in this process: what :func:`run_moda` gives, without an interpreter's start."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    with (
        _logging_to(streams[1]),
        mock.patch.dict(os.environ, {"MODA_STORAGE": str(storage), **environment}),
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
    ):
        try:
            code = main(arguments)
        except SystemExit as ended:  # argparse does
            code = int(ended.code or 0)
    printed, errors = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
    return Done(arguments, code, printed, errors)


def sweep_in_process(*overrides: str, storage: Path | str) -> Sweep:
    """Train a sweep's trials here, one after another, and measure its front on test; no Ray, and no W&B."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a trial of one CPU
    config = with_own_parts(load_config([*overrides, f"storage={storage}"]))
    data, store = load_data(config.data), DeltaStore(config.storage)
    prints = fingerprints(config, data)
    sweep_id = claim_sweep(store, config, prefix=config.data.name.replace("_", "-"), now=utc_now(), fingerprints=prints)
    proposals = Proposals(config, sweep_id, store, prints)
    proposals.record_reference()  # where a sweep died before this

    def trial_of(number: int, coefficients: Mapping[str, float | str]) -> Trial:
        own = config.for_trial(number, coefficients)
        return Trial(sweep_id, number, dict(coefficients), own, config.storage)

    for _ in range(proposals.missing):
        number, coefficients = proposals.next()
        run_trial(trial_of(number, coefficients), data, report=lambda _: None)
        proposals.over(number, coefficients)
    front = proposals.sweep().front
    for state in proposals.sweep().trials:
        if choices := [point.choice for point in front if point.trial.number == state.number]:
            measure_on_test(trial_of(state.number, state.coefficients), data, choices)
    torch.set_num_threads(threads)
    return proposals.sweep()


@contextlib.contextmanager
def _logging_to(stream: TextIO) -> Iterator[None]:
    """What a process of its own writes to stderr: here pytest has a handler already, and the command makes none."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="session")
def original(run_folder: Path, shared_ray: dict[str, str]) -> Swept:
    """The sweep that ``swept`` and ``own_swept`` are copies of: made once for the whole run, and never changed."""

    def sweep(folder: Path) -> None:
        shutil.rmtree(folder / "storage", ignore_errors=True)
        environment = {"WANDB_MODE": "offline", **WANDB_PATIENCE, **shared_ray}
        done = run_moda("sweep", *TINY, "sweep.concurrency=2", storage=folder / "storage", **environment)
        assert done.returncode == 0, done.stderr + done.stdout
        (folder / "printed.json").write_text(json.dumps([done.stdout, done.stderr]))

    folder = once(run_folder / "swept", sweep)
    return folder / "storage", Done(TINY, 0, *json.loads((folder / "printed.json").read_text()))


@pytest.fixture(scope="session")
def swept(original: Swept, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """The storage of a finished sweep named ``tiny`` (4 trials of 1 epoch, W&B offline), and what it printed.

    Tests look at it and publish sets into it. A test that changes anything else takes ``own_swept``.
    """
    return _copied(original, tmp_path_factory.mktemp("swept") / "storage")


@pytest.fixture
def own_swept(original: Swept, tmp_path: Path) -> Swept:
    """The same for one test alone, which may change it."""
    return _copied(original, tmp_path / "swept")


def _copied(original: Swept, to: Path) -> Swept:
    storage, done = original
    return shutil.copytree(storage, to, symlinks=True), done
