"""The groups of configuration files: those of ``sweeps/``, and of a folder of one's own (``--config-dir``)."""

import difflib
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from orchestrator.errors import ConfigError

GROUPS = ("model", "data", "method", "training", "search", "tracking", "experiment")
SEARCH_PATH = "hydra.searchpath"
_PATHS = re.compile(re.escape(SEARCH_PATH) + r"=\[(.*)\]", re.DOTALL)
_FILE = "file://"


def config_dir_word(folder: str) -> str:
    """Return the override that lets groups have the files of a folder too, as ``--config-dir`` does.

    Raises:
        ConfigError: there is no such folder, or its name cannot be written in an override.
    """
    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        raise ConfigError(
            f"--config-dir {folder}: there is no such folder; make it, with files such as experiment/mine.yaml"
        )
    if wrong := sorted(set(",'[]{}$\\") & set(str(path))):
        raise ConfigError(f"--config-dir {folder}: the path holds {wrong[0]}; choose a name without")
    return f"{SEARCH_PATH}=['{_FILE}{path}']"


def config_folders(words: Sequence[str]) -> list[Traversable]:
    """Return the folders that groups are looked for in: the shipped one first, as Hydra has it."""
    own = [match[1].split(",") for word in words if (match := _PATHS.fullmatch(word.lstrip("+")))]
    paths = [path.strip(" \t'\"") for part in own for path in part]
    return [resources.files("sweeps"), *(Path(path.removeprefix(_FILE)) for path in paths if path.startswith(_FILE))]


def is_group(key: str, words: Sequence[str]) -> bool:
    """Return whether a key names a folder of files to choose from."""
    return "." not in key and any((folder / key).is_dir() for folder in config_folders(words))


def choices_of(group: str, words: Sequence[str] = ()) -> list[str]:
    """Return the files of a group by the names that choose them, such as ``paper/vgg16_cifar10``."""
    folders = [folder / group for folder in config_folders(words)]
    return sorted({name for folder in folders if folder.is_dir() for name in _files(folder)})


def check_choice(group: str, name: str, words: Sequence[str]) -> None:
    """Refuse the name of a file that is not there.

    Raises:
        ConfigError: the files that are there, and what the name may have meant.
    """
    known = choices_of(group, words)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        meant = f" (did you mean {group}={close[0]}?)" if close else ""
        raise ConfigError(
            f"{group}={name} is not known{meant}; a file {group}/{name}.yaml of your own is found with --config-dir"
            f" DIR; known: {', '.join(known)}"
        )


def chosen_file(group: str, name: str, words: Sequence[str]) -> Traversable | None:
    """Return the file that ``group=name`` chooses; None if there is none."""
    files = [folder / group / f"{name}.yaml" for folder in config_folders(words)]
    return next((file for file in files if file.is_file()), None)


def _files(folder: Traversable, start: str = "") -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{start}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield start + entry.name.removesuffix(".yaml")
