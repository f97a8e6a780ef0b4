"""A storage that fails, stalls, or whose process dies, at some of the writes of a small sweep; the script of
failing_writes.py tries all of them."""

import random
import shutil
import subprocess
import sys

import pytest

from tests.integration.sweeps import ROOT

SEED, SAMPLE, WRITES = 17, 4, 220  # WRITES: the small sweep has some more, as many as its checkpoints happen to take
pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")]


@pytest.mark.parametrize("how", ["fails", "is_killed", "stalls"])
def test_some_writes_of_a_sweep_in_one_process(tmp_path, how):
    first, step = random.Random(f"{SEED} {how}").randint(1, WRITES // SAMPLE), WRITES // SAMPLE
    command = ["-m", "tests.faults.failing_writes", f"--numbers={first}:{WRITES}:{step}", f"--hows={how}"]
    done = subprocess.run([sys.executable, *command, tmp_path / "folder"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("as it should") >= SAMPLE
