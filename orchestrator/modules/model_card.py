"""A module set's model card: what it is, how good, how to use it, and what else could have been chosen, as Markdown."""

from collections.abc import Sequence

from orchestrator.config import Config
from orchestrator.results import Point, Sweep

CARD = "model_card.md"
METRICS = ("reuse_accuracy", "reuse_baseline", "accuracy", "module_size", "module_overlap", "flops", "coupling")


def model_card(sweep: Sweep, point: Point, class_names: Sequence[str], shape: Sequence[int]) -> str:
    """The card of a point's module set.

    Args:
        sweep: the sweep.
        point: a point of a single training.
        class_names: indexed by class id.
        shape: of an image: channels, height, width.
    """
    config = sweep.config.for_trial(point.trial.number, point.trial.coefficients)
    same_trial = [one for one in sweep.points if one.trial.number == point.trial.number]
    some = list(class_names[:2])
    return f"""\
# Modules of {config.model.name} on {config.data.name}

One network, cut to what its {len(class_names)} classes need at {point.choice}; any subset of the classes is a slice.

{_table(("", ""), _facts(config, sweep, point, class_names))}

## How good

{_table(("metric", "validation", "test"), _metrics(point))}

Chosen on validation. `reuse_accuracy` is of modules composed for subsets of the classes, `reuse_baseline` the whole
network's with its logits restricted to the same subsets; sizes and flops are shares of the full model.

## Use

```python
from moda_core import load_modules

module = load_modules(folder, classes={some!r})
names = module.classify(images)  # uint8 (B, {", ".join(map(str, shape))})
```

## What else this training gives

Every choice below is of the same trained network, on validation; this set is the one in bold.

{_table(("choice", "reuse accuracy", "module size", "overlap"), [_curve(one, point) for one in same_trial])}
"""


def sliced_card(card: bytes, classes: Sequence[str]) -> bytes:
    """A set's card for some of its classes as a set of their own."""
    return f"> Only {_listed(classes)} of the set that is described below.\n\n".encode() + card


def _facts(config: Config, sweep: Sweep, point: Point, class_names: Sequence[str]) -> list[tuple[str, str]]:
    training = config.training
    coefficients = ", ".join(f"{name} {value}" for name, value in point.trial.coefficients.items())
    return [
        ("classes", _listed(class_names)),
        ("trial", f"{point.trial.number} of sweep {sweep.sweep_id}"),
        ("coefficients", coefficients),
        ("training", f"{training.epochs} epochs, {training.optimizer}, seed {training.seed}"),
    ]


def _listed(names: Sequence[str]) -> str:
    """Names as one line: those with control characters quoted and escaped."""
    return ", ".join(name if name.isprintable() else repr(name) for name in names)


def _metrics(point: Point) -> list[tuple[str, str, str]]:
    test = point.test or {}
    return [(name, _number(point.metrics.get(name)), _number(test.get(name))) for name in METRICS]


def _curve(one: Point, chosen: Point) -> tuple[str, ...]:
    shown = ("reuse_accuracy", "module_size", "module_overlap")
    cells = (str(one.choice), *(_number(one.metrics.get(name)) for name in shown))
    return tuple(f"**{cell}**" for cell in cells) if one.choice == chosen.choice else cells


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
