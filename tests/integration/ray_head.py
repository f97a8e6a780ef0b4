"""Rays of the tests' own: on loopback, with ports that nobody else has and a token; started again until they are up.

``shared_ray`` is one Ray for the whole test run. It is a process of its own,

    python -m tests.integration.ray_head FOLDER PID

which writes into FOLDER how to connect, and ends when the process PID, pytest's, has ended.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.once import once, pid_of_pytest
from tests.integration.waiting import PATIENCE, is_alive, kill_processes_of, wait_until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CPUS = 3  # logical ones: enough for a trial beside one of two workers; for each that is free Ray starts a process
CONNECTION = "connection.json"


@dataclass(frozen=True)
class RayHead:
    """A Ray that runs.

    Attributes:
        environment: variables with which ``moda`` and ``ray`` connect to it.
        dashboard: where it takes jobs; it does so only if it was asked to.
    """

    environment: dict[str, str]
    dashboard: str

    def join(self, cpus: int) -> subprocess.Popen[str]:
        """Another node, whose processes end with the head's at the latest."""
        command = [
            BIN / "ray", "start", "--block", f"--address={self.environment['RAY_ADDRESS']}", f"--num-cpus={cpus}",
            "--node-ip-address=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0",
            "--dashboard-agent-listen-port=0",
        ]  # fmt: skip
        environment = {**os.environ, **self.environment}
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
        )


@contextlib.contextmanager
def ray_head(
    *, cpus: int, gpus: int = 0, dashboard: bool = False, autoscaling: Mapping[str, Any] | None = None
) -> Iterator[RayHead]:
    """A head node, started again until it runs; all its processes are ended with the context. It believes in as many
    GPUs as it is told, and has Ray's autoscaler if it is given the configuration of one, whose nodes are processes."""
    folder = Path(tempfile.mkdtemp(prefix="moda-ray-"))  # a short path: Ray puts sockets below it
    try:
        yield _started(folder, cpus, gpus, dashboard, autoscaling)
    finally:
        kill_processes_of(str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, cpus: int, gpus: int, dashboard: bool, autoscaling: Mapping[str, Any] | None) -> RayHead:
    end = time.monotonic() + PATIENCE
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    while time.monotonic() < end:
        port = free_port()
        session, log = folder / str(port), folder / f"{port}.log"
        gcs_port, options = 0, []
        if autoscaling is not None:
            gcs_port = free_port()
            provider = {**autoscaling["provider"], "gcs_address": f"127.0.0.1:{gcs_port}"}
            (folder / "autoscaling.json").write_text(json.dumps({**autoscaling, "provider": provider}))
            options = [f"--autoscaling-config={folder}/autoscaling.json"]
        command = [
            BIN / "ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs_port}",
            "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
            f"--include-dashboard={dashboard}", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}",
            f"--temp-dir={session}", f"--num-cpus={cpus}", f"--num-gpus={gpus}", *options,
        ]  # fmt: skip
        with log.open("wb") as output:
            head = subprocess.Popen(
                command,
                env={**os.environ, **environment, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        file = session / "ray_current_cluster"  # written when everything runs
        wait_until(lambda: _text(file) or head.poll() is not None, "Ray to start")  # noqa: B023 - of this round
        if address := _text(file):
            environment["RAY_ADDRESS"] = address
            return RayHead(environment, f"http://127.0.0.1:{port}")
        kill_processes_of(str(session))
    raise AssertionError(f"Ray did not start in {PATIENCE:.0f} s:\n{log.read_text()}")


def _text(file: Path) -> str:
    """What a file holds; nothing while it is not there, or not written yet."""
    return file.read_text().strip() if file.exists() else ""


def free_port() -> int:
    """One that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def shared_ray(run_folder: Path) -> dict[str, str]:
    """One Ray for all tests of the run and for all workers of pytest-xdist: the variables with which one connects.

    ``run_moda(..., **shared_ray)`` runs a sweep there. It takes about ten seconds less than with a Ray of its own. A
    test that ends Ray's processes, or is about how they start, has its own.
    """

    def start(folder: Path) -> None:
        command = [sys.executable, "-m", "tests.integration.ray_head", str(folder), str(pid_of_pytest())]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        connection = folder / CONNECTION
        wait_until(lambda: connection.exists() or process.poll() is not None, "the shared Ray")
        assert connection.exists(), (folder / "log").read_text()

    return json.loads((once(run_folder / "ray", start) / CONNECTION).read_text())


def main(folder: str, pid: str) -> None:
    """Keep a Ray while pytest runs."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with ray_head(cpus=CPUS) as head:
        new = Path(folder) / f"{CONNECTION}.new"
        new.write_text(json.dumps(head.environment))
        new.rename(Path(folder) / CONNECTION)
        while is_alive(int(pid)):
            time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
