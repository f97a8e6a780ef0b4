"""A storage that fails, or whose process dies, or that stalls, at its n-th write: a small sweep with each of them.

``failing_writes.c`` counts what processes write below a folder, on the level of the operating system: files, tables
and heartbeats alike. Run as a script this tries every n, and prints what was wrong; tests try some.

    python -m tests.faults.failing_writes [--hows fails,is_killed,stalls] [--numbers 1:400:1] FOLDER

The sweep runs in a process without Ray (tests/integration/sweeps.py), first with the fault, then the same sweep again
without one. Processes are forked, since importing takes longer than training.
"""

import argparse
import functools
import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import MISTAKES, RunError
from orchestrator.runs.lease import only_driver
from tests.faults.outcomes import Rows, begun_after_the_end, differences, rows_of
from tests.integration.sweeps import sweep_in_process

SOURCE = Path(__file__).with_suffix(".c")
HOWS = {"fails": 1, "is_killed": 2, "stalls": 3}  # as in SOURCE
NAME = "small"
SWEEP = (
    *("data=digits", "data.limit=200", "model=own", "model.name=tests.faults.nets:Faulty", "training.epochs=2"),
    *(f"sweep.name={NAME}", "sweep.trials=2", "search=sobol"),
    *("evaluation.taus=[0.5,0.9]", "evaluation.levels=[0.1]", "evaluation.targets=[]", "tracking=none"),
)


class FailingWrites:
    """The library, and what it shares with all processes that have loaded it.

    Args:
        folder: of the library; what is written below its folder ``watched`` is counted.
    """

    def __init__(self, folder: Path) -> None:
        self._control, self._library, self.watched = (
            folder / "control",
            folder / "failing_writes.so",
            folder / "watched",
        )

    def build(self) -> None:
        """Compile the library."""
        self.watched.mkdir(parents=True)
        self._control.write_bytes(bytes(24))
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self._library, SOURCE, "-ldl"], check=True)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process whose writes are counted, and those of all that it starts."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAILING_WRITES_CONTROL": str(self._control),
            "FAILING_WRITES_FOLDER": str(self.watched),
        }

    def begin(self, number: int = 0, how: str = "fails") -> None:
        """Count from now on; the write with this number, from 1, is the one. 0: none is."""
        self._share(struct.pack("qqq", 0, number, HOWS[how]))

    @property
    def count(self) -> int:
        """How many writes there were."""
        return int(struct.unpack("q", self._control.read_bytes()[:8])[0])

    def _share(self, data: bytes) -> None:
        with self._control.open("r+b") as file, mmap.mmap(file.fileno(), len(data)) as shared:
            shared[:] = data


@dataclass(frozen=True)
class Attempt:
    """How a process ended: its exit code, 1 where it raised; and what it returned or raised."""

    code: int
    result: Any


def in_a_fork(action: Callable[[], Any], scratch: Path) -> Attempt:
    """What ``action`` does and returns (as JSON) in a process of its own; where it raises, the last line."""
    scratch.unlink(missing_ok=True)
    if (pid := os.fork()) == 0:
        code = 0
        try:
            result = action()
        except (RunError, *MISTAKES) as error:
            code, result = 1, f"{type(error).__name__}: {error}"
        except BaseException:
            code, result = 70, traceback.format_exc()
        scratch.write_text(json.dumps(result, default=str))
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Attempt(code, json.loads(scratch.read_text()) if scratch.exists() else None)


def run(storage: Path) -> None:
    """The small sweep, as its only driver."""
    with only_driver(str(storage), NAME, lambda line: None):
        sweep_in_process(*SWEEP, storage=storage)


def wrongs(number: int, how: str, writes: FailingWrites, storage: Path, whole: Rows) -> Iterator[str]:
    """What is wrong with a sweep whose n-th write ends in some way, and with the same sweep again."""
    scratch = storage.parent / f"{storage.name}.json"
    fork = functools.partial(in_a_fork, scratch=scratch)
    writes.begin(number, how)
    first = fork(lambda: run(storage))
    writes.begin()
    if first.code not in {"fails": (0, 1), "is_killed": (0, -9), "stalls": (0,)}[how] or "\n" in str(first.result):
        yield f"the first ended with {first.code}: {first.result}"
    again = fork(lambda: run(storage))
    if again.code != 0:
        yield f"the second ended with {again.code}: {again.result}"
        return
    read = fork(lambda: [rows_of(storage, NAME), list(begun_after_the_end(storage, NAME))])
    if read.code != 0:
        yield f"the rows cannot be read: {read.result}"
        return
    found, begun_again = read.result
    yield from (*differences(found, whole), *begun_again)
    if how != "is_killed" and (left := sorted(str(file) for file in storage.rglob("*.part"))):
        yield f"left behind: {left}"


def tried(numbers: Iterable[int], hows: Iterable[str], writes: FailingWrites) -> dict[str, list[str]]:
    """What is wrong, by number and how; nothing where all is right. Numbers beyond the last are left out."""
    reference = writes.watched / "whole"
    writes.begin()
    first = in_a_fork(lambda: run(reference), writes.watched / "whole.json")
    assert first.code == 0, first.result
    total = writes.count
    whole = in_a_fork(lambda: rows_of(reference, NAME), writes.watched / "whole.json").result
    assert [trial["status"] for trial in whole["trials"]] == ["finished"] * 2, whole
    found = {}
    for number in (number for number in numbers if number <= total):
        for how in hows:
            storage = writes.watched / f"{number}-{how}"
            found[f"{number} {how}"] = list(wrongs(number, how, writes, storage, whole))
            shutil.rmtree(storage, ignore_errors=True)
            print(number, "of", total, how, *(found[f"{number} {how}"] or ["as it should"]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hows", default=",".join(HOWS))
    parser.add_argument("--numbers", default="1:100000:1")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()

    writes = FailingWrites(options.folder.absolute())
    if "LD_PRELOAD" not in os.environ:
        writes.build()
        command = [sys.executable, "-m", "tests.faults.failing_writes", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **writes.environment})
    found = tried(range(*map(int, options.numbers.split(":"))), options.hows.split(","), writes)
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
