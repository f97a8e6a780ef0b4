"""cluster/slurm.sh by Debian's Slurm: a controller and two nodes, all on this machine."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.results.records import read_sweep
from orchestrator.search import Status
from orchestrator.storage.delta import DeltaStore
from tests.cluster.jobs import ROOT, checkout
from tests.integration.ray_head import BIN, free_port
from tests.integration.waiting import PATIENCE, command_line, kill_processes_of, wait_until

SCRIPT = ROOT / "cluster" / "slurm.sh"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
INSTALLED = os.geteuid() == 0 and all(shutil.which(name) for name in PROGRAMS)
CONFIGURATION = """
ClusterName=moda
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmdParameters=config_overrides
MpiDefault=none
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=1000
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=1000
PartitionName=all Nodes=one,two Default=YES MaxTime=INFINITE State=UP
"""


@pytest.mark.parametrize("script", sorted((ROOT / "cluster").glob("*.sh")), ids=lambda script: script.name)
def test_the_scripts_are_sound(script):
    subprocess.run(["bash", "-n", script], check=True)
    done = subprocess.run([BIN / "shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def slurm(tmp_path):
    """The environment in which the programs of Slurm find a controller with two nodes of 2 CPUs."""
    folder = tmp_path / "slurm"
    (folder / "state").mkdir(parents=True)
    for parent in (folder, *folder.parents):
        if parent.is_relative_to("/tmp/pytest-of-root"):  # munged wants to be reached by everybody
            parent.chmod(0o755)
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o600)
    configuration = folder / "slurm.conf"
    ports = [free_port() for _ in range(3)]
    configuration.write_text(CONFIGURATION.format(host=socket.gethostname(), ports=ports, folder=folder))
    names = {"key-file": "key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
    munged = ["munged", "--force", *(f"--{option}={folder / name}" for option, name in names.items())]
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    environment.pop("RAY_ADDRESS", None)
    nodes = [["slurmd", "-f", configuration, "-N", name] for name in ("one", "two")]
    try:
        for command in ([*munged, f"--seed-file={folder / 'seed'}"], ["slurmctld", "-f", configuration], *nodes):
            subprocess.run(command, env=environment, check=True)
        wait_until(lambda: "idle" in ask(environment, "sinfo", "--noheader", "--format=%t"), "the nodes to be idle")
        yield environment
    finally:
        kill_processes_of(str(folder))


def ask(environment, *command):
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE).stdout


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="needs Slurm and munge (apt-get install slurm-wlm munge), and root")
def test_a_sweep_on_two_nodes_is_stopped_and_goes_on(slurm, tmp_path):
    folder, storage = checkout(tmp_path / "checkout"), tmp_path / "storage"
    (folder / ".venv").symlink_to(BIN.parent)
    sweep = ("experiment=digits", "sweep.name=mine", "sweep.trials=12", "training.epochs=2", "tracking=none")
    # the command of the script's head, for nodes of two CPUs
    command = ["sbatch", "--parsable", "--cpus-per-task=2", "cluster/slurm.sh", *sweep, f"storage={storage}"]
    assert "sbatch cluster/slurm.sh experiment=digits sweep.name=" in SCRIPT.read_text()

    job = subprocess.run(command, cwd=folder, env=slurm, capture_output=True, text=True, check=True).stdout.strip()
    log = folder / f"moda-{job}.log"
    nodes = folder / f"moda-{job}-ray.log"

    def both_nodes_train():
        started = nodes.read_text().count("Ray runtime started") if nodes.exists() else 0
        return started == 2 and Status.FINISHED in statuses(storage)

    wait_until(lambda: both_nodes_train() or state(slurm, job)[0] == "FAILED", "a trial's end")
    subprocess.run(["scancel", "--batch", "--signal=TERM", job], env=slurm, check=True)
    wait_until(lambda: state(slurm, job)[0] not in ("RUNNING", "COMPLETING"), "the job's end")
    assert state(slurm, job) == ("FAILED", "143:0"), log.read_text()
    assert "terminated; run the same command again to resume" in log.read_text()
    nothing_is_left_of(job)
    finished = [number for number, status in enumerate(statuses(storage)) if status == Status.FINISHED]
    assert 0 < len(finished) < 12

    again = subprocess.run(
        [*command[:2], "--wait", *command[2:]], cwd=folder, env=slurm, capture_output=True, text=True
    )
    log = folder / f"moda-{again.stdout.strip()}.log"
    assert again.returncode == 0, log.read_text()
    assert "12 of 12 trials finished" in log.read_text()
    trials = read_sweep(DeltaStore(str(storage)), "mine").trials
    assert [trial.status for trial in trials] == [Status.FINISHED] * 12
    assert {trials[number].attempt for number in finished} == {1}
    nothing_is_left_of(again.stdout.strip())


def statuses(storage):
    with contextlib.suppress(ConfigError):  # no such sweep yet
        return [trial.status for trial in read_sweep(DeltaStore(str(storage)), "mine").trials]
    return []


def state(environment, job):
    """A job's state and exit code."""
    shown = ask(environment, "scontrol", "show", "job", job)
    return tuple(re.search(rf"{key}=(\S+)", shown)[1] for key in ("JobState", "ExitCode"))


def nothing_is_left_of(job):
    folder = f"/tmp/moda-ray-{job}/"
    assert not Path(folder).exists()
    assert not [pid.name for pid in Path("/proc").glob("[0-9]*") if folder in command_line(int(pid.name))]
