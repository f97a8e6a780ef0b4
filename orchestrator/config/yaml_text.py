"""Text in the YAML files of ``sweeps/``: YAML reads ``2024_01_15``, ``007`` or ``1:30`` as another number."""

import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import yaml

from orchestrator.config.groups import chosen_file
from orchestrator.config.overrides import holds_text
from orchestrator.errors import ConfigError

SHIPPED = resources.files("sweeps")
LONGEST_NAME = 100  # of a file that may be there
OTHER_NUMBER = re.compile(r"[-+]?(0[0-7_]+|0x[0-9a-f_]+|0b[01_]+|\d[\d_]*(:[0-5]?\d)+|\d+_[\d_]*)|\+\d+", re.IGNORECASE)


def check_chosen_file(override: str, words: Sequence[str] = ()) -> None:
    """Refuse a file that a ``group=choice`` names and that holds such text; what matches no file is left to Hydra.

    Args:
        override: ``group=choice``, or any other.
        words: all overrides, which may name a folder of one's own.

    Raises:
        ConfigError: what is to be quoted, and where.
    """
    group, _, choice = override.lstrip("+").partition("=")
    if "." in group or len(choice) > LONGEST_NAME:
        return
    file = chosen_file(group, choice, words)
    if file is not None:
        where = str(file) if isinstance(file, Path) and SHIPPED not in file.parents else f"sweeps/{group}/{choice}.yaml"
        check_yaml_text(file.read_text(encoding="utf-8"), group, where)


def check_yaml_text(text: str, group: str, where: str) -> None:
    """Refuse text that is written without quotes and would be read as a number with other digits.

    Args:
        text: of the file.
        group: what its keys belong to, unless it says ``@package _global_``.
        where: the file, as an error names it.

    Raises:
        ConfigError: what is to be quoted, and where; or a file that is not YAML.
    """
    start = "" if "@package _global_" in text else group
    try:
        document = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {' '.join(str(error).split()):.200}") from error
    for key, node in _scalars(document, start):
        if node.style is None and OTHER_NUMBER.fullmatch(node.value) and holds_text(key):
            raise ConfigError(f"{where}: {key} is {node.value}, which YAML reads as another number; put it in quotes")


def _scalars(node: yaml.Node | None, key: str) -> Iterator[tuple[str, yaml.ScalarNode]]:
    if isinstance(node, yaml.ScalarNode):
        yield key, node
    elif isinstance(node, yaml.SequenceNode):
        for element in node.value:
            yield from _scalars(element, key)
    elif isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _scalars(value, f"{key}.{name.value}".strip("."))
