"""What a pod of rayjob.yaml does, in a namespace of processes of its own, as a pod has one.

    unshare --pid --fork --mount-proc --kill-child python -m tests.cluster.pod STORAGE

The job of the file runs on a head; when a trial has finished, the head's hook before its stop runs; then the job runs
again on another head. What happens is printed, one line of JSON an end of the job.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml
from ray.job_submission import JobSubmissionClient

from orchestrator.errors import ConfigError
from orchestrator.results.records import read_sweep
from orchestrator.search import Status
from orchestrator.storage.delta import DeltaStore
from tests.integration.ray_head import RayHead, ray_head
from tests.integration.waiting import wait_until

JOB = yaml.safe_load((Path(__file__).parents[2] / "cluster" / "kubernetes" / "rayjob.yaml").read_text())["spec"]
(CONTAINER,) = JOB["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]


def main(storage: str) -> None:
    """Two heads, one after the other."""
    os.environ |= {"MODA_STORAGE": storage, "WANDB_MODE": "offline"}
    for is_stopped in (True, False):
        with ray_head(cpus=2, dashboard=True) as head:
            os.environ |= {name: value for name, value in head.environment.items() if name != "RAY_ADDRESS"}
            client = connected(head)
            submission = client.submit_job(entrypoint=JOB["entrypoint"])
            if is_stopped:
                wait_until(lambda: finished(storage) or ended(client, submission), "the first trial")  # noqa: B023
                subprocess.run(CONTAINER["lifecycle"]["preStop"]["exec"]["command"], check=True)
            while not ended(client, submission):
                time.sleep(1)
            info = client.get_job_info(submission)
            print(json.dumps([info.status, info.driver_exit_code, client.get_job_logs(submission)]), flush=True)


def connected(head: RayHead) -> JobSubmissionClient:
    """The job API, when it has an agent. It is given the token, since Ray looks for one when it is imported only."""
    made: list[JobSubmissionClient] = []
    token = Path(head.environment["RAY_AUTH_TOKEN_PATH"]).read_text()

    def is_there() -> bool:
        with contextlib.suppress(ConnectionError, RuntimeError):
            made.append(JobSubmissionClient(head.dashboard, headers={"Authorization": f"Bearer {token}"}))
            made[-1].submit_job(entrypoint="true")
            return True
        return False

    wait_until(is_there, "the cluster to take jobs")
    return made[-1]


def ended(client: JobSubmissionClient, submission: str) -> bool:
    """Whether a job is over, in whatever way."""
    return client.get_job_status(submission).is_terminal()


def finished(storage: str) -> bool:
    """Whether a trial has finished."""
    with contextlib.suppress(ConfigError):  # no such sweep yet
        return Status.FINISHED in [trial.status for trial in read_sweep(DeltaStore(storage), "digits").trials]
    return False


if __name__ == "__main__":
    main(sys.argv[1])
