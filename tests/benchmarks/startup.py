"""Processor time until a command has done its work, over that of ``python -c "import torch"``.

Ratios, so that figures of other machines compare; processor time (user and system, children included), so that figures
taken beside other work do. Commands and checkouts take turns, and each figure is the median of its runs. The storage is
the one that the tests keep (tests/older_storage.py). A sweep counts with everything that Ray starts, until the first
trial has trained its first batch: its epochs are one batch long, and the first one leaves a checkpoint. Beside it is a
process that imports PyTorch and starts Ray alone; of both the seconds that a person waits are shown too.

    python tests/benchmarks/startup.py                # this checkout
    python tests/benchmarks/startup.py ../before      # this one, and another one beside it
    python tests/benchmarks/startup.py --no-sweep
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parents[2]
ASSET = HERE / "tests" / "assets" / "storage_2026_11_25.tar.gz"
RUNS, SWEEPS = 5, 3
TORCH = "import torch"
MODA = ("-m", "orchestrator")
COMMANDS = {
    TORCH: ("-c", TORCH),
    "moda --help": (*MODA, "--help"),
    "moda front": (*MODA, "front", "first"),
    "moda query": (*MODA, "query", "first", "select count(*) from points"),
    "moda pull of a folder": (*MODA, "pull", "storage/modules/first-0001-tau0.9-threshold0.1", "--to", "{fresh}"),
}
SWEEP = (
    *(*MODA, "sweep", "experiment=digits", "tracking=none", "sweep.trials=1", "training.epochs=30"),
    *("data.limit=100", "training.batch_size=80", "storage={fresh}"),
)
RAY = (
    "-c",
    "import sys, torch, ray; ray.init(log_to_driver=False); open(sys.argv[1], 'w').close(); input()",
    "{fresh}/is up",
)
A_RAY, A_SWEEP = "torch, ray.init()", "moda sweep to its first batch"
UNTIL = {A_RAY: (RAY, "is up"), A_SWEEP: (SWEEP, "trials/*/checkpoint*")}
MARK = "MODA_STARTUP"
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("others", nargs="*", type=Path, help="checkouts to compare with")
    parser.add_argument("--no-sweep", action="store_true", help="leave the sweep out")
    options = parser.parse_args()
    checkouts = [HERE, *(other.resolve() for other in options.others)]
    seconds: dict[tuple[str, Path], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="moda-startup-") as scratch:
        with tarfile.open(ASSET) as archive:
            archive.extractall(scratch, filter="data")
        for _ in range(RUNS):
            for name, words in COMMANDS.items():
                for checkout in checkouts:
                    seconds.setdefault((name, checkout), []).append(command_seconds(words, checkout, scratch))
        for _ in range(0 if options.no_sweep else SWEEPS):
            for name, (words, mark) in UNTIL.items():
                for checkout in checkouts:
                    spent, waited = seconds_until(words, mark, checkout, scratch)
                    seconds.setdefault((name, checkout), []).append(spent)
                    seconds.setdefault((f"{name}, waited", checkout), []).append(waited)
    print(f"processor seconds, and over those of {TORCH!r}; {os.cpu_count()} CPUs")
    for checkout in checkouts:
        base = statistics.median(seconds[TORCH, checkout])
        print(checkout)
        for name, runs in ((name, runs) for (name, where), runs in seconds.items() if where == checkout):
            median = statistics.median(runs)
            print(f"  {name:30} {median:6.2f} ({min(runs):.2f} to {max(runs):.2f})  ratio {median / base:5.2f}")


def command_seconds(words: tuple[str, ...], checkout: Path, folder: str) -> float:
    """User and system time of a process and of the children that it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        if code := start(words, checkout, folder, f"{fresh}/new").wait():
            raise SystemExit(f"{' '.join(words)} ended with exit code {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds_until(words: tuple[str, ...], file: str, checkout: Path, folder: str) -> tuple[float, float]:
    """User and system time of all that a command has started when it has made a file, and the time until then."""
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        began = time.perf_counter()
        process = start(words, checkout, folder, fresh)
        while not any(Path(fresh).glob(file)):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(words)} ended with exit code {process.returncode} before it made {file}")
            time.sleep(0.02)
        waited = time.perf_counter() - began
        spent = sum(marked_seconds(fresh))
        process.communicate(b"\n")
    return spent, waited


def start(words: tuple[str, ...], checkout: Path, folder: str, fresh: str) -> subprocess.Popen[bytes]:
    """Start Python with a checkout; ``{fresh}`` in its words is a new folder."""
    places = {"PYTHONPATH": str(checkout), "MODA_STORAGE": f"{folder}/storage", MARK: fresh, "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, *(word.replace("{fresh}", fresh) for word in words)]
    return subprocess.Popen(
        arguments, cwd=folder, env=os.environ | places, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )


def marked_seconds(mark: str) -> Iterator[float]:
    """The processor time of each process that was started with a mark, and of its children that have ended."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                yield sum(map(int, fields[11:15])) / TICKS  # utime, stime, and both of its children
        except OSError:  # it has ended, or is somebody else's
            continue


if __name__ == "__main__":
    main()
