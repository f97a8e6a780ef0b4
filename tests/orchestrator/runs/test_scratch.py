"""Temporary folders: gone with their context, and those of killed processes with the next."""

import subprocess
import sys
from pathlib import Path

from orchestrator.runs.scratch import scratch_folder

HOLD = """
import sys
from orchestrator.runs.scratch import scratch_folder
with scratch_folder("test", sys.argv[1]) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_removed_with_its_context(tmp_path):
    with scratch_folder("test", str(tmp_path)) as folder:
        (Path(folder) / "file").touch()
        assert list(tmp_path.iterdir()) == [Path(folder)]
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_has_left_is_removed_by_the_next_and_nothing_else(tmp_path):
    (tmp_path / "moda-test-of-somebody").mkdir()
    (tmp_path / "moda-test-00000000-1-1-x").mkdir()  # of another machine
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        left = Path(process.stdout.readline().strip())
        others = {*tmp_path.iterdir()} - {left}
        with scratch_folder("test", str(tmp_path)) as folder:
            assert {*tmp_path.iterdir()} == {left, Path(folder), *others}  # it lives
        process.kill()
        process.wait()
        assert left.is_dir()
        with scratch_folder("other", str(tmp_path)):
            assert left.is_dir()
        with scratch_folder("test", str(tmp_path)) as folder:
            assert {*tmp_path.iterdir()} == {Path(folder), *others}
