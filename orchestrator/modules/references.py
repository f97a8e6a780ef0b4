"""What names a module set: a sweep's point, a folder, a URI, or a W&B artifact."""

import re
from dataclasses import dataclass

from orchestrator.errors import ConfigError

SWEEP = "sweep:"
ARTIFACT = re.compile(r"[^/:\s]+/[^/:\s]+/[^/:\s]+:[^/:\s]+")
FORMS = """\
  sweep:mine/best           a point of a sweep in the storage: best, knee, or its name, like 3/0.9/0.1 (mine: its best)
  ./modules, /data/modules  a folder that holds a module set
  s3://bucket/sets/NAME     a URI of one
  team/project/mine:best    a W&B artifact, by alias or version
"""


@dataclass(frozen=True)
class SweepPoint:
    """A reference to a point of a sweep: ``best``, ``knee`` or a point's label."""

    sweep_id: str
    point: str = "best"


@dataclass(frozen=True)
class Folder:
    """A folder or a URI that holds a module set."""

    root: str


@dataclass(frozen=True)
class Artifact:
    """``entity/project/collection:alias`` of W&B."""

    name: str


Reference = SweepPoint | Folder | Artifact


def parse_reference(text: str) -> Reference:
    """Parse a reference to a module set by its form alone: a word is a sweep, a path has a slash.

    Raises:
        ConfigError: none of the forms; the message shows one of each.
    """
    sweep_id, slash, point = text.removeprefix(SWEEP).partition("/")
    is_word = not slash and ":" not in sweep_id and sweep_id not in ("", ".", "..", "~")
    if (text.startswith(SWEEP) and sweep_id and (point or not slash)) or is_word:
        return SweepPoint(sweep_id, point or "best")
    if "://" in text:
        return Folder(text)
    if ARTIFACT.fullmatch(text):
        return Artifact(text)
    if ("/" in text and ":" not in text) or text in (".", "..", "~"):
        return Folder(text)
    examples = ", ".join(line.split()[0] for line in FORMS.splitlines())
    raise ConfigError(f"{text!r:.200} does not name a module set; the valid forms are {examples} (moda pull --help)")
