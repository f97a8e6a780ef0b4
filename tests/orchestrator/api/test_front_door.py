"""``import orchestrator as moda``: light, documented, and with names that a person can find."""

import json
import subprocess
import sys
from functools import cached_property

import orchestrator as moda

HEAVY = ("torch", "ray", "wandb", "plotly", "hydra", "pyarrow", "sklearn", "botorch")
LOOK = f"""
import json, sys
import orchestrator as moda
names = [dir(moda), moda.UserError]
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""


def test_importing_it_loads_nothing_that_is_heavy():
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_everything_public_is_documented():
    assert {"train", "sweep", "confirm", "open_sweep", "sweeps", "pull", "query", "OpenSweep", "UserError"} <= {
        *moda.__all__
    }
    for name in moda.__all__:
        public = getattr(moda, name)
        assert public.__doc__, name
        for key, member in vars(public).items() if isinstance(public, type) else ():
            is_member = callable(member) or isinstance(member, property | cached_property)
            assert member.__doc__ or key.startswith("_") or not is_member, f"{name}.{key}"
