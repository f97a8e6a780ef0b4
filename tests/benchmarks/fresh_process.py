"""One variant of a benchmark in a process of its own, and the memory it takes there: decompose.py, step_overhead.py.

On a CPU memory is the growth of the process's largest resident set, which never shrinks, hence the fresh process. It
counts everything, also what convolution libraries allocate by themselves and PyTorch's profiler does not see. It is
Linux's VmHWM, since getrusage's ru_maxrss starts at the parent's there. Tensors of 64 KiB and more get pages of their
own and give them back when freed, so that runs that allocate the same give nearly the same figure. Allocating so is
slower: times are taken in other processes.
"""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

MEBIBYTE = 2**20
OWN_PAGES = {"MALLOC_MMAP_THRESHOLD_": str(2**16), "MALLOC_TOP_PAD_": "0"}


def run_fresh(file: str, *arguments: str, own_pages: bool) -> dict[str, float | str]:
    """Run ``file`` with arguments; what it prints last is JSON. ``own_pages``: for measuring memory, not time."""
    environment = os.environ | (OWN_PAGES if own_pages else {})
    done = subprocess.run([sys.executable, file, *arguments], env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return found


class PeakMemory:
    """Bytes by which memory has grown at most since this was made: of the GPU's tensors, or of the process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()  # traced graphs are cycles, which hold networks of before
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            self.before = self._resident("VmRSS")

    def grown(self) -> int:
        """The largest growth so far."""
        now = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else self._resident("VmHWM")
        return now - self.before

    @staticmethod
    def _resident(which: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:"))
