"""The numbers of a paper, which its recipes state under the key ``published``."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from moda_core.methods import METHODS
from orchestrator.config.choice import Choice
from orchestrator.config.config import Config
from orchestrator.config.parsing import typed
from orchestrator.declarations import METRICS
from orchestrator.errors import ConfigError, listed

SOURCE = "source"
HOURS = "hours"  # of training
TAU = "tau"


@dataclass(frozen=True)
class PublishedRow:
    """What is published of one training.

    Attributes:
        coefficients: in which it differs from the recipe.
        choice: which modules are measured; None for what does not depend on it.
        values: metrics, terms of the loss in the last epoch, and ``hours`` of training, by name. Shares are fractions.
    """

    coefficients: Mapping[str, Any]
    choice: Choice | None
    values: Mapping[str, float]


@dataclass(frozen=True)
class Published:
    """What is published of a method on a data set, and where."""

    source: str
    rows: tuple[PublishedRow, ...]


def read_published(plain: Mapping[str, Any], config: Config) -> Published:
    """Return what a recipe states of its method.

    Args:
        plain: the composed configuration: ``published`` has a ``source``, and for each method a list of rows.
        config: what it makes.

    Raises:
        ConfigError: nothing is stated, or what cannot be measured.
    """
    stated = plain.get("published")
    if stated is None:
        raise ConfigError(f"nothing is published of this configuration; take one of {listed(recipes())}")
    sections = dict(typed("published", stated, dict))
    source = typed(f"published.{SOURCE}", sections.pop(SOURCE, ""), str)
    name = config.method.name
    if name not in sections:
        raise ConfigError(
            f"method.name={name}: nothing is published of it by this recipe; methods with numbers: {listed(sections)}"
        )
    rows = typed(f"published.{name}", sections[name], list)
    places = (f"published.{name}[{place}]" for place in range(len(rows)))
    return Published(source, tuple(_row(row, where, config) for row, where in zip(rows, places, strict=True)))


def recipes() -> list[str]:
    """The names of the recipes that state published numbers."""
    folder = resources.files("sweeps") / "experiment" / "paper"
    return sorted(f"paper/{file.name.removesuffix('.yaml')}" for file in folder.iterdir() if _states_numbers(file))


def _states_numbers(file: Any) -> bool:
    return file.name.endswith(".yaml") and "\npublished:" in file.read_text(encoding="utf-8")


def _row(value: Any, where: str, config: Config) -> PublishedRow:
    row = {key: typed(f"{where}.{key}", number, float) for key, number in typed(where, value, dict).items()}
    measured = (*METRICS, *METHODS[config.method.name].terms, HOURS)
    tau = row.pop(TAU, None)
    if tau is not None and not (tau in config.evaluation.taus and 0.0 in config.evaluation.thresholds):
        raise ConfigError(
            f"evaluation.taus={list(config.evaluation.taus)}: the published numbers are of tau {tau:g} and threshold 0;"
            " measure them too"
        )
    coefficients = {key: number for key, number in row.items() if key not in measured}
    try:
        config.with_coefficients(coefficients)
    except ConfigError as error:
        raise ConfigError(f"{where}: neither a metric nor a coefficient: {error}") from error
    return PublishedRow(
        coefficients,
        None if tau is None else Choice.activity(tau, 0.0),
        {key: number for key, number in row.items() if key in measured},
    )
