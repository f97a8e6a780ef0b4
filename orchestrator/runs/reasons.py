"""Why a process of Ray's ended, on one line, from the exceptions in which Ray says so."""

import re

from ray.exceptions import ActorUnschedulableError, OutOfMemoryError, RayActorError, RayTaskError
from ray.train import TrainingFailedError, WorkerGroupError

from moda_core.errors import shortened
from orchestrator.errors import MISTAKES, RunError, reason_of

DIED = "its process died (it crashed, was killed for want of memory, or lost its node)"
LONGEST = 2000  # characters of a reason, as trials themselves record it
RAISED = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Warning|Exit|Interrupt)(?::.*)?$", re.MULTILINE)


def reason_text(error: Exception) -> str:
    """Return why the process of a trial, or one of its workers, failed or ended."""
    if isinstance(error, RayTaskError):  # first: it may be of its cause's class, too, and its text is a traceback
        return last_line(str(error)) if error.cause is None else reason_text(error.cause)
    if isinstance(error, (RunError, *MISTAKES)):
        return str(error)
    if isinstance(error, WorkerGroupError) and error.worker_failures:
        rank = min(error.worker_failures)
        return f"worker {rank}: {reason_text(error.worker_failures[rank])}"
    if isinstance(error, TrainingFailedError):
        return last_line(str(error))
    if isinstance(error, OutOfMemoryError):
        return "Ray ended its process because its node ran out of memory"
    if isinstance(error, ActorUnschedulableError):
        return f"no node can run it: {reason_of(error)}"
    if isinstance(error, RayActorError):
        # Where its process could not even begin, Ray tells what was raised among tracebacks of its own.
        raised = RAISED.findall(str(error))
        return shortened(raised[-1], LONGEST) if raised else DIED
    return f"{type(error).__name__}: {shortened(str(error), LONGEST)}".removesuffix(": ")


def last_line(text: str) -> str:
    """Return the last line of a traceback: what was raised."""
    return shortened([line for line in text.splitlines() if line.strip()][-1].strip(), LONGEST)
