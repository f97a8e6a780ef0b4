"""A module set's model card: what it is, how good, how to use it, and what else could have been chosen, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.config import Config
from orchestrator.declarations import METRICS, percent
from orchestrator.results import Point, Sweep

CARD = "model_card.md"
SHOWN = (
    "calibrated_reuse_accuracy",
    "reuse_accuracy",
    "reuse_baseline",
    "accuracy",
    "cut_size",
    "cut_overlap",
    "flops",
    "coupling",
)

SIZES = ("cut_size", "cut_overlap")


def model_card(
    sweep: Sweep, point: Point, class_names: Sequence[str], rejection: Mapping[str, Any] | None = None
) -> str:
    """Write the model card of a point's module set.

    Args:
        sweep: the sweep.
        point: a point of a single training.
        class_names: indexed by class id.
        rejection: what its modules reject, from :func:`orchestrator.modules.rejecting.rejection_of`.
    """
    config = sweep.config.for_trial(point.trial.number, point.trial.coefficients)
    same_trial = [other for other in sweep.points if other.trial.number == point.trial.number]
    templates = Environment(
        loader=PackageLoader("orchestrator.modules"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    templates.filters["cell"] = _cell
    return templates.get_template(f"{CARD}.j2").render(
        model=config.model.name,
        data=config.data.name,
        class_count=len(class_names),
        point=point,
        choice=point.choice,
        facts=_facts(config, sweep, point, class_names),
        metrics=_metrics(point),
        some_classes=repr(list(class_names[:2])),
        rejection=rejection,
        rejected=_rejected(rejection),
        has_bias=point.bias is not None,
        heads=["choice", *(METRICS[name].title for name in (sweep.reuse_metric, *SIZES))],
        choices=[_curve(other, point, sweep.reuse_metric) for other in same_trial],
    )


def sliced_card(card: bytes, classes: Sequence[str]) -> bytes:
    """Write the card of some classes of a set, which are a set of their own."""
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
    return [(METRICS[name].title, _text(name, point.metrics.get(name)), _text(name, test.get(name))) for name in SHOWN]


def _curve(point: Point, chosen: Point, accuracy: str) -> tuple[str, ...]:
    metrics = point.metrics or point.test or {}
    cells = (str(point.choice), *(_text(name, metrics.get(name)) for name in (accuracy, *SIZES)))
    return tuple(cell and f"**{cell}**" for cell in cells) if point.choice == chosen.choice else cells


def _rejected(rejection: Mapping[str, Any] | None) -> list[tuple[str, ...]]:
    """A row for each number of classes of which modules were tested."""
    of_sizes = {} if rejection is None else rejection["test"]
    return [
        (size, *(f"{percent(shares[whose])} %" for whose in ("own", "others"))) for size, shares in of_sizes.items()
    ]


def _text(name: str, value: float | None) -> str:
    return "" if value is None else METRICS[name].text(value)


def _cell(text: str) -> str:
    """Text that stays in its cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
