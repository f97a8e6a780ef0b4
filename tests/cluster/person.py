"""A person who types the commands of docs/cluster.md in a checkout, with an empty home."""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

from tests.cluster.jobs import ROOT
from tests.integration.waiting import PATIENCE

PAGE = (ROOT / "docs" / "cluster.md").read_text()
LONG = 4 * PATIENCE  # for the packages, on a busy machine
ASK = "export RAY_AUTH_MODE=token\n"
FOREIGN = ("RAY_ADDRESS", "RAY_AUTH", "PYTHONPATH", "VIRTUAL_ENV", "MODA_STORAGE", "WANDB_")

Person = tuple[Path, dict[str, str]]  # the checkout, and the environment of a shell in it


def blocks_of(title: str) -> list[str]:
    """The blocks of commands of a section of the page."""
    section = re.search(rf"## {title}\n(.*?)\n## ", PAGE, re.S)
    assert section, title
    return re.findall(r"```sh\n(.*?)```", section[1], re.S)


def environment_of(home: Path) -> dict[str, str]:
    """Variables of a shell of a person who has this home, which is made."""
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {**kept, "HOME": str(home)}


def shell(person: Person, commands: str) -> subprocess.Popen[str]:
    """A shell in which a block of the page is typed; it ends at the first command that fails."""
    folder, environment = person
    return subprocess.Popen(
        ["bash", "-e", "-c", commands],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def succeed(person: Person, commands: str) -> str:
    """What commands print, none of which fails."""
    process = shell(person, commands)
    printed, _ = process.communicate(timeout=LONG)
    assert process.returncode == 0, printed
    return printed


def end_processes_of(home: str) -> None:
    """End every process of a shell with this home, whatever it became."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
