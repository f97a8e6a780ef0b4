"""The sections of the configuration, each a frozen dataclass that refuses what cannot be right."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from moda_core.methods import METHODS
from orchestrator.config.choice import ACTIVITY, CONTRIBUTION, SIZE
from orchestrator.declarations import METRICS, NORMALISATIONS, NUMBER, OBJECTIVES, Metric
from orchestrator.errors import ConfigError
from orchestrator.search import FLOOR, LINEAR, LOGARITHMIC, SCALES, SEARCHERS, Constraint, rungs

DATA_SETS = ("cifar10", "digits", "fashion_mnist", "table")
OPTIMIZERS = ("adamw", "sgd")
PRECISIONS = ("auto", "bfloat16", "float32")
TRACKERS = ("none", "wandb")
DIRECTIONS = ("max", "min")
MOST_OBJECTIVES = 4
EXACT = 2**53  # up to it a table holds a whole number beside numbers with a point
MOST = 10**9  # trials, epochs, images of a batch
SEEDS = 2**63  # how many seeds there are: PyTorch takes these and as many again
SWEEP_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
EARLY_STOPPING = ("none", "pareto_halving")
BACKGROUNDS = ("black", "white")
SCHEDULES = ("epoch", "step")
STATISTICS = "statistics"  # of the training images
LARGEST_SIDE = 4096  # pixels of an image
BEFORE_OPTIONS = {"compactness": "uniform"}  # of a method: what those recorded without such options did


@dataclass(frozen=True)
class ModelConfig:
    """Which network; ``options`` are the builder's own keywords."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodConfig:
    """The training method, with its coefficients by name.

    One of your own is its import path; its class is not imported here. Where a command trains, what it leaves to the
    class's defaults is filled in first (:func:`orchestrator.training.with_own_parts`), so that what is
    recorded is complete.
    """

    name: str
    coefficients: Mapping[str, Any] = field(default_factory=dict)

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
    def numbers(self) -> dict[str, Any]:
        """The coefficients without options, which are words."""
        return {name: value for name, value in self.coefficients.items() if not isinstance(value, str)}

    @property
    def is_standard(self) -> bool:
        """Whether the cross-entropy is the whole loss: a shipped method all of whose numbers are 0, or that has
        none."""
        return not self.is_own and not any(self.numbers.values())


@dataclass(frozen=True)
class DataConfig:
    """The images and how they are split. See ``sweeps/data``.

    ``normalisation`` says by which constants images are normalised where ``mean`` and ``std`` are not given.
    """

    name: str
    root: str | None = None
    path: str | None = None
    test_path: str | None = None
    image_column: str = "image"
    label_column: str = "label"
    class_names: tuple[str, ...] | None = None
    channels: int = 3
    resize: int | None = None
    background: str = "white"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    normalisation: str = STATISTICS
    download: bool = False
    classes: tuple[str, ...] | None = None
    limit: int | None = None
    test_limit: int | None = None
    validation_fraction: float = 0.2
    crop: int = 0
    flip: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("data.name", self.name, DATA_SETS)
        _check(
            "data.classes",
            list(self.classes or ()),
            self.classes is None or len(self.classes) > 1,
            "two classes or more",
        )
        _check("data.channels", self.channels, self.channels in (1, 3), "1 (grey) or 3 (colour)")
        _check("data.limit", self.limit, self.limit is None or self.limit > 0, "a positive number, or null for all")
        _check("data.test_limit", self.test_limit, self.test_limit is None or self.test_limit > 0, "positive, or null")
        _check("data.validation_fraction", self.validation_fraction, 0 <= self.validation_fraction < 1, "within [0, 1)")
        _check("data.crop", self.crop, self.crop >= 0, "at least 0: the padding of the random crop")
        fits = self.resize is None or 0 < self.resize <= LARGEST_SIDE
        _check("data.resize", self.resize, fits, f"1 to {LARGEST_SIDE}, or null")
        one_of("data.background", self.background, BACKGROUNDS)
        self._check_normalisation()
        _check_seed("data.seed", self.seed, largest=2**32 - 1)  # scikit-learn's splits take no more
        if self.name == "table" and self.path is None:
            raise ConfigError("data.path=null: name the Parquet or Arrow file, folder or pattern, data.path=...")

    @property
    def has_validation(self) -> bool:
        """Whether images are held out, by which something can be chosen; without any all train."""
        return self.validation_fraction > 0

    def _check_normalisation(self) -> None:
        one_of("data.normalisation", self.normalisation, (STATISTICS, *NORMALISATIONS))
        if self.normalisation != STATISTICS and self.mean is not None:
            raise ConfigError(
                f"data.normalisation={self.normalisation} and data.mean={list(self.mean)}: give the one or the other"
            )
        if (self.mean is None) != (self.std is None):
            absent = "data.mean" if self.mean is None else "data.std"
            raise ConfigError(f"{absent}=null: data.mean and data.std go together; set both, or neither")
        if self.mean is not None and self.std is not None:
            each = "one number per channel, of images scaled to [0, 1]; divide values from 0 to 255 by 255"
            right = len(self.mean) > 0 and all(0 <= value <= 1 for value in self.mean)
            _check("data.mean", list(self.mean), right, f"within [0, 1], {each}")
            right = len(self.std) > 0 and all(0 < value <= 1 for value in self.std)
            _check("data.std", list(self.std), right, f"within (0, 1], {each}")


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained: SGD with Nesterov momentum, or AdamW (which ignores ``momentum``), with a cosine
    schedule of the learning rate down to 0, by step or by epoch. See ``sweeps/training``.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str = "sgd"
    schedule: str = "step"
    momentum: float = 0.9
    weight_decay: float = 0.0
    precision: str = "auto"
    num_workers: int = 1
    cpus_per_worker: int = 1
    gpus_per_worker: float = 0.0
    sync_batch_norm: bool = False
    max_failures: int = 1
    seed: int = 0
    init_from: str | None = None

    def __post_init__(self) -> None:
        one_of("training.optimizer", self.optimizer, OPTIMIZERS)
        one_of("training.schedule", self.schedule, SCHEDULES)
        one_of("training.precision", self.precision, PRECISIONS)
        least_epochs = 1 if self.init_from is None else 0
        _check(
            "training.epochs", self.epochs, self.epochs >= least_epochs, f"a whole number of at least {least_epochs}"
        )
        for name in ("batch_size", "num_workers", "cpus_per_worker"):
            value = getattr(self, name)
            _check(f"training.{name}", value, 1 <= value <= MOST, f"a whole number from 1 to {MOST}")
        _check("training.epochs", self.epochs, self.epochs <= MOST, f"at most {MOST}")
        _check("training.learning_rate", self.learning_rate, self.learning_rate > 0, "a number above 0")
        _check("training.momentum", self.momentum, 0 <= self.momentum < 1, "within [0, 1)")
        _check_seed("training.seed", self.seed)
        for name in ("weight_decay", "gpus_per_worker", "max_failures"):
            value = getattr(self, name)
            _check(f"training.{name}", value, value >= 0, "at least 0")
        if self.sync_batch_norm and self.num_workers == 1:
            raise ConfigError(
                "training.sync_batch_norm=true needs several workers; set training.num_workers to 2 or more, or"
                " training.sync_batch_norm=false"
            )
        if self.sync_batch_norm and self.gpus_per_worker == 0:
            raise ConfigError(
                "training.sync_batch_norm=true: SyncBatchNorm runs on GPUs only; set training.sync_batch_norm=false"
                " or training.gpus_per_worker=1"
            )


DRAWS = {  # how many pairs reuse accuracy is estimated from, and what said so in earlier versions
    "pairs": ("subsets_per_size", "images_per_size"),
    "test_pairs": ("test_subsets_per_size", "test_images_per_size"),
}


@dataclass(frozen=True)
class EvaluationConfig:
    """The choices after training (every tau and threshold, level and target size), and how reuse accuracy is estimated.

    Attributes:
        rules: a user's own rules by import path, each with the values of its parameters; none until
            :func:`orchestrator.training.with_own_parts` has asked the rule.
        metrics: a user's own metrics by import path, each as it declares itself; nothing until then likewise.
        augmented: whether counting sees the training images cropped and flipped as training does, by ``seed``.
        pairs: how many (image, subset) pairs a choice near the front is tested on, on validation.
        test_pairs: likewise on test.
        subsets_per_size: of sweeps from before there was ``pairs``, as the three after it: the draw of their time.
    """

    taus: tuple[float, ...]
    thresholds: tuple[float, ...]
    levels: tuple[float, ...] = ()  # sweeps from before there were levels record none
    targets: tuple[float, ...] = ()  # nor of target sizes
    rules: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    floor: float = 0.005
    augmented: bool = False
    pairs: int | None = None
    test_pairs: int | None = None
    subsets_per_size: int | None = None
    images_per_size: int | None = None
    test_subsets_per_size: int | None = None
    test_images_per_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _grid("evaluation.taus", self.taus)
        _grid("evaluation.thresholds", self.thresholds)
        for name in ("levels", "targets"):
            values = getattr(self, name)
            different = len(set(values)) == len(values)
            _check(f"evaluation.{name}", list(values), different, "different numbers, or [] for none")
        _check("evaluation.taus", list(self.taus), all(0 < tau <= 1 for tau in self.taus), "each within (0, 1]")
        _check(
            "evaluation.targets", list(self.targets), all(0 < size <= 1 for size in self.targets), "each within (0, 1]"
        )
        _check("evaluation.thresholds", list(self.thresholds), min(self.thresholds) >= 0, "each at least 0")
        _check("evaluation.levels", list(self.levels), min(self.levels, default=0) >= 0, "each at least 0")
        for path, grid in self.rules.items():
            for name, values in grid.items():
                _grid(f"evaluation.rules: {path}: {name}", values)
        _check_seed("evaluation.seed", self.seed)
        _check("evaluation.floor", self.floor, 0 <= self.floor < 1, "within [0, 1)")
        for budget, earlier in DRAWS.items():
            self._check_draw(budget, earlier)

    def _check_draw(self, budget: str, earlier: tuple[str, ...]) -> None:
        """Refuse a draw that is stated in both ways, or in none."""
        stated = [name for name in (budget, *earlier) if getattr(self, name) is not None]
        for name in stated:
            value = getattr(self, name)
            _check(f"evaluation.{name}", value, 1 <= value <= MOST, f"a whole number from 1 to {MOST}")
        if len(stated) > 1 and budget in stated:
            raise ConfigError(
                f"evaluation.{stated[1]}={getattr(self, stated[1])} is how draws were stated before"
                f" evaluation.{budget}={getattr(self, budget)}; leave it out, or set evaluation.{budget}=null"
            )
        if budget not in stated and len(stated) < len(earlier):
            raise ConfigError(f"evaluation.{budget}=null: must be a whole number of (image, subset) pairs")

    @property
    def grids(self) -> dict[str, Mapping[str, tuple[float, ...]]]:
        """The rules that are tried, each with the values of its parameters."""
        levels = {CONTRIBUTION: {"level": self.levels}} if self.levels else {}
        targets = {SIZE: {"target": self.targets}} if self.targets else {}
        return {ACTIVITY: {"tau": self.taus, "threshold": self.thresholds}, **levels, **targets, **self.rules}

    @property
    def own_metrics(self) -> dict[str, Metric]:
        """The declarations of a user's own metrics that are known, by name."""
        declared = [Metric(**declaration) for declaration in self.metrics.values() if declaration]
        return {metric.name: metric for metric in declared}


@dataclass(frozen=True)
class Dimension:
    """One dimension of the search space: from low to high, or one of a few choices, all numbers or all text.

    A logarithmic one of real numbers may have a zero of its own.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    zero: bool = False
    choices: tuple[int | float | str, ...] | None = None

    @property
    def stated(self) -> dict[str, Any]:
        """As :class:`~orchestrator.search.Problem` states it."""
        if self.choices is not None:
            return {"choices": list(self.choices)}
        stated = {"low": self.low, "high": self.high, "log": self.log, "integer": self.integer}
        return {**stated, "zero": True} if self.zero else stated  # as before there were zeros

    @property
    def ends(self) -> tuple[Any, Any]:
        """The lowest and the highest value, or the first and the last choice."""
        if self.choices is not None:
            return self.choices[0], self.choices[-1]
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            return int(self.low), int(self.high)
        return 0.0 if self.zero else self.low, self.high

    @property
    def between(self) -> tuple[Any, ...]:
        """The other values that are of a kind of their own: the other choices, or the low end beside a zero."""
        if self.choices is not None:
            return self.choices[1:-1]
        return (self.low,) if self.zero else ()

    @property
    def is_text(self) -> bool:
        """Whether its values are text."""
        return self.choices is not None and isinstance(self.choices[0], str)

    def check(self, key: str) -> None:
        """Refuse what is not a dimension.

        Raises:
            ConfigError: ends that are missing or the wrong way round, or fewer than two different choices.
        """
        if self.choices is not None:
            _check(
                f"{key}.choices",
                list(self.choices),
                len(self.choices) == len(set(self.choices)) > 1,
                "two or more, all different",
            )
            kinds = {isinstance(choice, str) for choice in self.choices}
            _check(f"{key}.choices", list(self.choices), len(kinds) == 1, "all numbers or all text")
            largest = max((abs(choice) for choice in self.choices if isinstance(choice, int)), default=0)
            _check(f"{key}.choices", list(self.choices), largest <= EXACT, "whole numbers of at most 2^53")
            rest = {name: getattr(self, name) for name in ("low", "high", "log", "integer", "zero")}
            given = {name: value for name, value in rest.items() if value is not None and value is not False}
            drop = " ".join(f"~{key}.{name}" for name in given)
            _check(key, given, not given, f"choices alone; remove the other keys ({drop} if a shipped file sets them)")
            return
        if self.low is None or self.high is None:
            raise ConfigError(f"{key}: low={self.low} high={self.high}; give both, or choices")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"{key}: low={self.low} high={self.high}; low must be below high")
        remedy = "above 0 on a logarithmic scale; zero: true adds 0 itself"
        _check(f"{key}.low", self.low, self.low > 0 or not self.log, remedy)
        has_axis = self.log and not self.integer
        remedy = "false but for log: true without integer: true; elsewhere low may be 0"
        _check(f"{key}.zero", self.zero, has_axis or not self.zero, remedy)
        is_integer = self.low == int(self.low) and self.high == int(self.high)
        is_integer &= max(abs(self.low), abs(self.high)) <= EXACT
        _check(
            key, f"{self.low} to {self.high}", is_integer or not self.integer, "between whole numbers of at most 2^53"
        )


@dataclass(frozen=True)
class Objective:
    """What is better of a metric, and on which scale its values are compared: ``linear`` or ``log``.

    The scale is None only until it is known what a user's own metric declares.
    """

    direction: str
    scale: str | None = None

    @property
    def is_logarithmic(self) -> bool:
        """Whether its scale, and its axis, are logarithmic."""
        return self.scale == LOGARITHMIC

    def completed(self, metric: Metric) -> "Objective":
        """Return it with the scale that the metric declares, where it states none."""
        return self if self.scale else Objective(self.direction, LOGARITHMIC if metric.is_logarithmic else LINEAR)


@dataclass(frozen=True)
class SearchConfig:
    """The searcher, its search space and its objectives. See ``sweeps/search``.

    Attributes:
        reference: of each objective the worst value that still counts for the hypervolume; None where it follows from
            the sweep's first standard training.
    """

    name: str
    space: Mapping[str, Dimension]
    objectives: Mapping[str, Objective]
    reference: Mapping[str, float | None] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()
    baselines: tuple[Mapping[str, float | str], ...] = ()
    warm_start: tuple[str, ...] = ()
    seed: int = 0
    repeats: int = 1
    early_stopping: str = "none"
    reduction: int = 3
    first_rung: float = 1 / 9

    def __post_init__(self) -> None:
        one_of("search.name", self.name, sorted(SEARCHERS))
        for key, dimension in self.space.items():
            dimension.check(f"search.space.{key}")
        few = len(self.objectives) < 2
        remedy = "two objectives or more" if few else "four objectives at most; make the others search.constraints"
        ways = {name: objective.direction for name, objective in self.objectives.items()}
        _check("search.objectives", ways, 2 <= len(self.objectives) <= MOST_OBJECTIVES, remedy)
        _check_seed("search.seed", self.seed)
        _check("search.repeats", self.repeats, 1 <= self.repeats <= MOST, f"at least 1, at most {MOST}")
        for metric, objective in self.objectives.items():
            one_of(f"search.objectives.{metric}", objective.direction, DIRECTIONS)
            if objective.scale is not None:
                one_of(f"search.objectives.{metric}.scale", objective.scale, SCALES)
            self._check_reference(metric, objective)
        for text in self.constraints:
            try:
                Constraint.parse(text)
            except ValueError as error:
                raise ConfigError(f"search.constraints: {error}") from error
        different = len(set(self.warm_start)) == len(self.warm_start)
        _check("search.warm_start", list(self.warm_start), different, "different sweeps")
        one_of("search.early_stopping", self.early_stopping, EARLY_STOPPING)
        try:
            rungs(1, self.reduction, self.first_rung)
        except ValueError as error:
            raise ConfigError(
                f"search.reduction={self.reduction} search.first_rung={self.first_rung}: {error}"
            ) from error

    @property
    def directions(self) -> list[str]:
        """The directions of the objectives, in order."""
        return [objective.direction for objective in self.objectives.values()]

    @property
    def scales(self) -> list[str]:
        """The scales of the objectives, in order."""
        return [objective.scale or LINEAR for objective in self.objectives.values()]

    def reference_values(self, following: Mapping[str, float]) -> list[float | None]:
        """Return the reference point in the order of the objectives: what is stated, else what ``following`` has, which
        follows from a baseline; None where neither has a value.
        """
        stated = {name: self.reference.get(name) for name in self.objectives}
        return [following.get(name) if value is None else value for name, value in stated.items()]

    def completed(self, metrics: Mapping[str, Metric]) -> "SearchConfig":
        """Return it with the scale and the reference value of every objective whose metric is known, as declared where
        nothing is stated.
        """
        known = {name: metric for name, metric in metrics.items() if name in self.objectives}
        objectives = {
            name: objective.completed(known[name]) if name in known else objective
            for name, objective in self.objectives.items()
        }
        declared = {name: None if metric.baseline else metric.reference for name, metric in known.items()}
        stated = {name: value for name, value in self.reference.items() if value is not None}
        return replace(self, objectives=objectives, reference={**declared, **stated})

    def check_metrics(self, own: Mapping[str, Metric]) -> None:
        """Refuse objectives, reference values and constraints on what is not a metric, objectives for which there is no
        reference value, and logarithms of what may be below 0.

        Args:
            own: a user's own metrics, by name.

        Raises:
            ConfigError: such objectives, reference values or constraints.
        """
        metrics = {**{name: METRICS[name] for name in OBJECTIVES}, **own}
        known = sorted(name for name, metric in metrics.items() if metric.direction)
        for name, objective in self.objectives.items():
            one_of("search.objectives", name, known)
            is_wrong = objective.is_logarithmic and metrics[name].kind == NUMBER
            remedy = "linear: the metric may be below 0, and has no logarithm there"
            _check(f"search.objectives.{name}.scale", LOGARITHMIC, not is_wrong, remedy)
        for name in self.reference:
            one_of("search.reference", name, known)
        missing = sorted(
            name for name in self.objectives if self.reference.get(name) is None and not metrics[name].baseline
        )
        _check("search.reference", dict(self.reference), not missing, f"complete; add a value for {missing}")
        for text in self.constraints:
            one_of(f"search.constraints: {text!r}: metric", Constraint.parse(text).metric, known)

    def _check_reference(self, name: str, objective: Objective) -> None:
        value = self.reference.get(name)
        is_right = value is None or not objective.is_logarithmic or value > FLOOR
        remedy = f"above {FLOOR:g}, where the logarithmic scale begins; or set search.objectives.{name}.scale=linear"
        _check(f"search.reference.{name}", value, is_right, remedy)


@dataclass(frozen=True)
class SweepConfig:
    """How many trials, and how many at once (null: as many as the cluster holds).

    ``confirms`` and ``chosen``, the sweep and the points of it that this one trains again, are set by ``moda confirm``.
    """

    name: str | None = None
    trials: int = 16
    concurrency: int | None = None
    confirms: str | None = None
    chosen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check("sweep.trials", self.trials, 1 <= self.trials <= MOST, f"at least 1, at most {MOST}")
        _check("sweep.concurrency", self.concurrency, self.concurrency is None or self.concurrency >= 1, "at least 1")
        if self.name is not None and not SWEEP_NAME.fullmatch(self.name):
            like = re.sub(r"[^a-z0-9_-]+", "-", self.name.lower()).strip("_-")[:64]
            raise ConfigError(
                f"sweep.name={self.name!r:.200}: quoted or not, use 1 to 64 of the characters a-z 0-9 _ -,"
                " beginning with a letter or digit" + (f", such as {like}" if like else "")
            )


@dataclass(frozen=True)
class TrackingConfig:
    """The tracker that shows results besides the tables."""

    name: str = "wandb"
    project: str = "moda"
    entity: str | None = None

    def __post_init__(self) -> None:
        one_of("tracking.name", self.name, TRACKERS)


def _check(key: str, value: object, right: bool, remedy: str) -> None:
    if not right:
        raise ConfigError(f"{key}={value}: must be {remedy}")


def _check_seed(key: str, seed: int, largest: int = SEEDS - 1) -> None:
    _check(key, seed, 0 <= seed <= largest, f"a whole number from 0 to {largest}")


def one_of(key: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{key}={value!r} is not known; known: {', '.join(known)}")


def _grid(key: str, values: tuple[float, ...]) -> None:
    _check(key, list(values), 0 < len(values) == len(set(values)), "one or more different numbers")
