"""The smaller sections of the configuration, each a frozen dataclass that refuses what cannot be right."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from moda_core.methods import METHODS
from orchestrator.config.checks import MOST, check, one_of
from orchestrator.declarations import Key
from orchestrator.errors import ConfigError

TRACKERS = ("none", "wandb")
SWEEP_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# Options of a method, at what those recorded without them did.
BEFORE_OPTIONS = {"compactness": "uniform", "gamma_warmup": 0.0}


@dataclass(frozen=True)
class ModelConfig:
    """Which network; ``options`` are the builder's own keywords."""

    name: Annotated[str, Key("network: a shipped one, torchvision:<name>, or your own as package.module:Name")]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodConfig:
    """The training method, with its coefficients by name.

    One of your own is its import path; its class is not imported here. Where a command trains, what it leaves to the
    class's defaults is filled in first (:func:`orchestrator.training.with_own_parts`), so that what is
    recorded is complete.

    Attributes:
        choice: in a sweep of several methods which one it is, by the name of its file in ``sweeps/method``.
    """

    name: Annotated[str, Key("training method: a shipped one, or your own as package.module:Name")]
    coefficients: Mapping[str, Any] = field(default_factory=dict)
    choice: str | None = None

    def __post_init__(self) -> None:
        if self.is_own:
            return
        try:
            METHODS[self.name](**self.coefficients)
        except ValueError as error:  # of a method, which knows no configuration
            raise ConfigError(str(error)) from error

    @property
    def is_own(self) -> bool:
        """Whether the name is the import path of a user's own method."""
        return self.name not in METHODS

    @property
    def stated(self) -> dict[str, Any]:
        """The coefficients without options at their value from before there were such options."""
        return {name: value for name, value in self.coefficients.items() if BEFORE_OPTIONS.get(name) != value}

    @property
    def weights(self) -> tuple[str, ...] | None:
        """The coefficients that are all 0 in standard training; None of a user's own method, where it is not known."""
        return None if self.is_own else METHODS[self.name].standard_at_zero

    @property
    def is_standard(self) -> bool:
        """Whether the cross-entropy is the whole loss: a shipped method whose weights of terms are all 0."""
        weights = self.weights
        if weights is None:
            return False
        method = METHODS[self.name](**self.coefficients)
        return not any(getattr(method, name) for name in weights)


@dataclass(frozen=True)
class SweepConfig:
    """How many trials, and how many at once (null: as many as the cluster holds).

    ``confirms`` and ``chosen``, the sweep and the points of it that this one trains again, are set by ``moda confirm``.
    """

    name: Annotated[
        str | None, Key("the sweep's id: up to 64 of a-z 0-9 _ -; null: made from a hash of what identifies it")
    ] = None
    trials: Annotated[int, Key("trainings of the whole sweep; more of them extend it", "at least 1", "trials")] = 16
    concurrency: Annotated[
        int | None, Key("trials at once; null: as many as the cluster holds", "at least 1", "trials")
    ] = None
    hours: Annotated[
        float | None, Key("time after which this command begins no further trial; null: no limit", "above 0", "hours")
    ] = None
    confirms: Annotated[str | None, Key("set by moda confirm: the sweep", is_shown=False)] = None
    chosen: Annotated[tuple[str, ...], Key("set by moda confirm: the points", is_shown=False)] = ()

    def __post_init__(self) -> None:
        check("sweep.trials", self.trials, 1 <= self.trials <= MOST, f"at least 1, at most {MOST}")
        check("sweep.concurrency", self.concurrency, self.concurrency is None or self.concurrency >= 1, "at least 1")
        check("sweep.hours", self.hours, self.hours is None or self.hours > 0, "above 0, or null for no limit")
        if self.name is not None and not SWEEP_NAME.fullmatch(self.name):
            like = re.sub(r"[^a-z0-9_-]+", "-", self.name.lower()).strip("_-")[:64]
            raise ConfigError(
                f"sweep.name={self.name!r:.200}: quoted or not, use 1 to 64 of the characters a-z 0-9 _ -,"
                " beginning with a letter or digit" + (f", such as {like}" if like else "")
            )


@dataclass(frozen=True)
class TrackingConfig:
    """The tracker that shows results besides the tables."""

    name: Annotated[str, Key("tracker that shows results besides the tables", choices=TRACKERS)] = "wandb"
    project: Annotated[str, Key("project in W&B")] = "moda"
    entity: Annotated[str | None, Key("team or user in W&B; null: your default one")] = None

    def __post_init__(self) -> None:
        one_of("tracking.name", self.name, TRACKERS)
