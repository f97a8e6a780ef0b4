"""Why a process of Ray's ended, from what Ray 2.60 says of it."""

import pytest
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

from orchestrator.errors import StorageFault
from orchestrator.runs.reasons import DIED, reason_text

CANNOT_IMPORT = """The actor died unexpectedly before finishing this task.
	class_name: ImplicitFunc
	pid: 15571
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker exits \
unexpectedly. Worker exits with an exit code None. Traceback (most recent call last):
  File "python/ray/_raylet.pyx", line 2198, in ray._raylet.execute_task
RuntimeError: The actor with name ImplicitFunc failed to import on the worker. This may be because needed library \
dependencies are not installed in the worker environment:

Traceback (most recent call last):
  File "function_manager.py", line 696, in _load_actor_class_from_gcs
    actor_class = pickle.loads(pickled_class)
  File "broken/orchestrator/__init__.py", line 1, in <module>
    raise ImportError('not this one')
ImportError: not this one

An unexpected internal error occurred while the worker was executing a task."""
KILLED = """The actor died unexpectedly before finishing this task.
	class_name: ImplicitFunc
	pid: 15571
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed \
by the OOM killer due to high memory usage."""
IN_CREATION = """The actor died because of an error raised in its creation task, ray::ImplicitFunc.__init__() (pid=3)
  File "code.py", line 1, in <module>
my_package.errors.OwnError: no such thing: 'x'"""


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (CANNOT_IMPORT, "ImportError: not this one"),
        (IN_CREATION, "my_package.errors.OwnError: no such thing: 'x'"),
        (KILLED, DIED),
    ],
)
@pytest.mark.parametrize("kind", [RayActorError, ActorDiedError])
def test_the_exception_counts_or_else_the_death(told, reason, kind):
    error = kind.__new__(kind)
    Exception.__init__(error, told)
    error.error_msg = told
    assert reason_text(error) == reason


def test_an_error_that_ray_gives_the_class_of_its_cause():
    """Its text is a traceback."""
    told = RayTaskError("train", "Traceback (most recent call last):\n  ...\n", StorageFault("no room; make some"))
    error = told.as_instanceof_cause()
    assert isinstance(error, StorageFault)
    assert "\n" in str(error)
    assert reason_text(error) == "no room; make some"
