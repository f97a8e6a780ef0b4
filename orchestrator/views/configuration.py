"""The configuration for people: as commented YAML in the terminal, and as a page of the documentation."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from orchestrator.config import ListedKey

WIDEST = 120  # columns of a comment
HOW_TO_USE = (
    "# @package _global_",
    "# The whole configuration. To use it, save it as DIR/experiment/mine.yaml:",
    "#   moda sweep --config-dir DIR experiment=mine",
    "defaults:",
)
ABOUT = {
    "model": "The network. `model=NAME` chooses a file of `sweeps/model`, and its other keys are the network's own.",
    "data": "The images and how they are split ([data](data.md)).",
    "method": "The training method ([the method](method.md)). `method=NAME` brings its coefficients, search space and"
    " baselines.",
    "training": "How a network is trained: SGD or AdamW with a cosine schedule of the learning rate"
    " ([training](training.md)).",
    "evaluation": "Which choices of units are measured after training, and how ([rules](method.md#rules)).",
    "search": "What is searched, by which searcher, and what is better ([search](design.md#search)).",
    "sweep": "The sweep's name and size.",
    "tracking": "Weights & Biases ([W&B](wandb.md)).",
    "storage": "Where everything is kept ([tables](tables.md)).",
}


def config_yaml(keys: Sequence[ListedKey], files: Mapping[str, str], *, width: int = 80) -> str:
    """Render keys as YAML that says of each what it means, in which unit and range.

    Written to a file ``experiment/mine.yaml``, the whole configuration can be chosen by ``experiment=mine``.

    Args:
        keys: as :func:`orchestrator.config.list_keys` gives them.
        files: the files that the configuration is made of, by group; none for a part of it.
        width: columns of the terminal.
    """
    lines = [*HOW_TO_USE, *(f"  - override /{group}: {name}" for group, name in files.items())] if files else []
    for section, grouped in groupby(keys, key=lambda key: key.section):
        listed = list(grouped)
        if listed[0].name == section:
            lines += ["", *_comment(listed[0], "", width), f"{section}: {flow_text(listed[0].value)}"]
            continue
        lines += ["", f"{section}:"]
        for key in listed:
            lines += [*_comment(key, "  ", width), *_assignment(key)]
    return "\n".join(lines).lstrip("\n") + "\n"


def config_rows(keys: Iterable[ListedKey]) -> list[dict[str, Any]]:
    """Return keys as plain data: ``key``, ``value``, ``default``, ``type``, ``unit``, ``values`` and ``meaning``."""
    return [
        {
            "key": key.name,
            "value": key.value,
            "default": key.default,
            "type": key.type,
            "unit": key.declared.unit,
            "values": key.declared.values,
            "choices": list(key.declared.choices),
            "meaning": key.declared.meaning,
        }
        for key in keys
    ]


def configuration_page(
    keys: Sequence[ListedKey],
    entries: Sequence[ListedKey],
    networks: Sequence[tuple[ListedKey, list[str]]],
    methods: Mapping[str, Sequence[ListedKey]],
    choices: Mapping[str, Sequence[str]],
) -> str:
    """Render docs/configuration.md.

    Args:
        keys: all keys of the default configuration.
        entries: the keys of a dimension and of an objective.
        networks: the options of networks, each with the networks that have it.
        methods: of each file of a method, the keys that the method has of its own.
        choices: the files of each group.
    """
    text = [HEAD]
    for section, grouped in groupby(keys, key=lambda key: key.section):
        text.append(f"## {section}\n\n{ABOUT[section]}\n")
        if section in choices:
            text.append(f"Files, `{section}=NAME`: {_codes(choices[section])}.\n")
        listed = [key for key in grouped if section not in ("model", "method") or key.name == f"{section}.name"]
        text.append(_table(listed))
        if section == "model":
            text.append(f"### Keys of networks\n\n{NETWORKS}\n")
            text.append(_table([key for key, _ in networks], {key.name: names for key, names in networks}))
        if section == "method":
            for name, own in methods.items():
                text.append(f"### Keys of method={name}\n\n" + (_table(own) if own else "None.\n"))
        if section == "search":
            text.append(f"### Dimensions and objectives\n\n{ENTRIES}\n")
            text.append(_table(entries))
    return "\n".join(text)


def flow_text(value: Any) -> str:
    """Format a value on one line of YAML: ``{low: 0.1, high: 1.0}``."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return text.removesuffix("...\n").strip()


HEAD = """\
# Configuration

Every key, with its default, its meaning, its unit and its range. `moda config` prints the same for a configuration of
yours, as YAML, and `moda config training` or `moda config training.epochs` a part of it. This page is made from the
declarations in `orchestrator/config` by `python -m tests.orchestrator.views.test_configuration`.

## Setting keys

| on the command line | what it does |
|---|---|
| `training.epochs=60` | sets a key |
| `model=vgg16` | chooses a file of a group |
| `search.objectives.flops=min` | adds an objective, or changes it |
| `'search.space.momentum={low: 0.8, high: 0.95}'` | adds a dimension, or replaces it |
| `search.space.alpha.high=5.0` | changes an end of a dimension |
| `'search.objectives={accuracy: max, flops: min}'` | replaces all objectives |
| `'search.space={alpha: {choices: [0.5, 1]}}'` | replaces all dimensions |
| `~search.space.alpha` | removes a dimension, an objective or a reference value |
| `'search.constraints=["accuracy >= 0.9"]'` | replaces a list; `[]` empties it |

Text, names and paths are taken as they stand. What has spaces, brackets or braces is one word for the shell when it
stands in quotes.

## Files of your own

Groups are folders of YAML files. `--config-dir DIR` adds those of yours: `DIR/experiment/mine.yaml` is chosen by
`experiment=mine`, `DIR/model/small.yaml` by `model=small`. An experiment begins with `# @package _global_` and states
what differs from the defaults; `moda config` prints a whole one to start from.

```sh
moda config model=lenet5 training.epochs=20
```

```yaml
# @package _global_
defaults:
  - override /model: lenet5
training:
  epochs: 20
search:
  space:
    momentum: {low: 0.8, high: 0.95}
```

Defaults below are those of a command without overrides. Files that you choose set others.
"""
NETWORKS = "Networks of torchvision and your own have the options of their builders."
ENTRIES = (
    "A dimension, `search.space.<key>`, runs from `low` to `high` or is one of some `choices`. An objective,"
    " `search.objectives.<metric>`, is `max` or `min`, or a mapping that also states the scale."
)


def _comment(key: ListedKey, indent: str, width: int) -> list[str]:
    notes = [key.declared.notes]
    notes += [f"default: {flow_text(key.default)}"] if key.value != key.default else []
    text = key.declared.meaning + "".join(f" ({note})" for note in notes if note)
    start = f"{indent}# "
    return textwrap.wrap(
        text,
        min(width, WIDEST),
        initial_indent=start,
        subsequent_indent=f"{start}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _assignment(key: ListedKey) -> Iterator[str]:
    """A key and its value; an option that is not stated is a comment, since null is none of its values."""
    name = key.name.partition(".")[2]
    if key.value is None and "null" not in key.type:
        yield f"  # {name}:"
    elif isinstance(key.value, Mapping) and key.value:
        yield f"  {name}:"
        yield from (f"    {entry}: {flow_text(value)}" for entry, value in key.value.items())
    elif isinstance(key.value, list) and any(isinstance(entry, Mapping) for entry in key.value):
        yield f"  {name}:"
        yield from (f"    - {flow_text(entry)}" for entry in key.value)
    else:
        yield f"  {name}: {flow_text(key.value)}"


def _table(keys: Iterable[ListedKey], networks: Mapping[str, Sequence[str]] | None = None) -> str:
    heads = ["key", *(["networks"] if networks else []), "default", "meaning", "unit, range"]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for key in keys:
        default = "" if key.default is None and "null" not in key.type else f"`{flow_text(key.default)}`"
        if isinstance(key.default, Mapping) and key.default:
            default = ", ".join(f"`{name}`" for name in key.default)
        elif isinstance(key.default, list) and any(isinstance(entry, Mapping) for entry in key.default):
            default = f"{len(key.default)} sets"
        notes = "; ".join(filter(None, [key.declared.unit, key.declared.values, _codes(key.declared.choices)]))
        of = [_codes(networks[key.name])] if networks else []
        cells = [f"`{key.name}`", *of, default, key.declared.meaning, notes or key.type]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
