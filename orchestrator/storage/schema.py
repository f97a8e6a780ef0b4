"""The schema of the tables: `sweeps`, `trials` (an event log), `epochs`, `points`, `reference_points`, `rungs`,
`modules` and `drivers` (event logs), `classes`.

They are the truth; the rest is a view. docs/tables.md says the same in prose, and a test compares the two.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from orchestrator.declarations import COUNT, METRICS, STAGE_METRICS, Metric
from orchestrator.storage.older_rows import with_calibrated, with_choice, with_choices, with_cut_sizes

# 2: kernel_retention, flops, coupling in points; 3: level, beside which tau and threshold are null; 4: modules;
# 5: points by rule, parameters and stage, a user's own metrics; terms in epochs, after_seconds in trials
# 6: sizes and overlaps in points by both ways to count, linear_retention; a bias of each class; target;
# reference_points
# 7: points of the stages refit and tuned, with metrics of their own; gate_share
# 8: files_sha256 in trials
# 9: drivers
# 10: classes; accuracies that count classes alike, and of the worst class, in points
SCHEMA_VERSION = 10
ROUNDING = 1e-9  # means of shares come out a little above 1 or below 0: a sum of weights is not exactly 1
LARGEST_BIAS = 1e6  # as moda_core has it
FINITE = 1e300  # larger than whatever is measured: numbers within it are neither NaN nor infinite


@dataclass(frozen=True)
class Column:
    """A column: its type, what it holds in which unit, and the numbers that it may hold.

    Attributes:
        kind: the Arrow type.
        what: the meaning, for people.
        low: the smallest number that it, or each value of a map or list, may hold; None for what is not a number.
        high: the largest one, of a column of floats.
        better: ``up`` or ``down`` for a metric that has a good direction.
        since: the schema version that brought it.
    """

    kind: pa.DataType
    what: str
    low: float | None = None
    high: float = FINITE
    better: str = ""
    since: int = 1

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Smallest and largest number, up to rounding; None for what is not a number."""
        if self.low is None:
            return None
        slack = 0 if pa.types.is_integer(self.kind) else ROUNDING
        return self.low - slack, self.high + slack

    @property
    def range_text(self) -> str:
        """The numbers that it may hold, for people; nothing for what is not a number."""
        if self.low is None:
            return ""
        if pa.types.is_integer(self.kind):
            return f"at least {self.low:g}"
        if self.high < FINITE:
            return f"within [{self.low:g}, {self.high:g}]"
        return f"finite and at least {self.low:g}" if self.low > -FINITE else "finite"


@dataclass(frozen=True)
class Table:
    """A table's columns and the ones that make a row's key, in which null equals null.

    ``has_choices`` says that its rows state a choice; older versions' and brief ones state tau and threshold, or a
    level, alone.
    """

    what: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]
    nullable_key: tuple[str, ...] = ()
    has_choices: bool = False

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema; outside the key all may be null."""
        required = set(self.key) - set(self.nullable_key)
        return pa.schema([pa.field(name, column.kind, name not in required) for name, column in self.columns.items()])

    @property
    def constraints(self) -> dict[str, str]:
        """The ranges of columns of numbers in SQL, by name. A null meets every range, NaN and infinity none."""
        found = {}
        for name, column in self.columns.items():
            if column.bounds is not None and not pa.types.is_nested(column.kind):
                low, high = column.bounds
                below = f" AND {name} <= {high!r}" if pa.types.is_floating(column.kind) else ""
                found[f"{name}_range"] = f"({name} IS NULL OR ({name} >= {low!r}{below}))"
        return found

    def current(self, rows: pa.Table) -> pa.Table:
        """Rows of any schema version as today's: what they imply, and null where there was no such column."""
        for name in set(self.columns) - set(rows.schema.names):
            rows = rows.append_column(name, pa.nulls(len(rows)))
        rows = rows.select(list(self.columns)).cast(self.schema)
        if not self.has_choices:
            return rows
        return with_choices(with_calibrated(with_cut_sizes(rows))).cast(self.schema)


_TEXT, _INT, _FLOAT, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", tz="UTC")
_NUMBERS = pa.map_(_TEXT, _FLOAT)


def _count(what: str, since: int = 1) -> Column:
    return Column(_INT, what, low=0, since=since)


def _share(what: str, since: int = 1) -> Column:
    return Column(_FLOAT, what, low=0, high=1, since=since)


def _amount(what: str, since: int = 1) -> Column:
    return Column(_FLOAT, what, low=0, since=since)


def _number(what: str) -> Column:
    return Column(_FLOAT, what, low=-FINITE)


_SWEEP = {"sweep_id": Column(_TEXT, "its name, or a hash of what makes it different")}
_TRIAL = {**_SWEEP, "trial_id": Column(_TEXT, "sweep and number; the id of its W&B run too")}
_VERSION = {"schema_version": Column(pa.int32(), "of the program that wrote the row", low=1)}

# A choice is a rule with its parameters; those of this package's rules have columns of their own.
_CHOICE = {
    "rule": Column(_TEXT, "activity, contribution, size, magnitude, score, gate, or the path of an own rule", since=5),
    "rule_parameters": Column(_TEXT, "JSON of its parameters, in the order of the rule", since=5),
    "tau": _share("share of a class's images on which a unit must be active; else null"),
    "threshold": _amount("active is above this times the unit's mean; else null"),
    "level": _amount("contribution to the class's logit that a unit must reach; else null", since=3),
    "target": _share("mean share of the parameters that modules should keep; else null", since=6),
    "magnitude_target": _share("the same, of modules by the magnitude of filters; else null", since=7),
    "score": Column(_FLOAT, "trained score above which units are kept; else null", low=-FINITE, since=7),
    "gate_share": _share("share of a class's images on which a unit's gate must be above 0; else null", since=7),
}


def _metric(metric: Metric) -> Column:
    low, high = metric.bounds
    return Column(
        _INT if metric.kind == COUNT else _FLOAT,
        metric.what,
        low=max(low, -FINITE),
        high=min(high, FINITE),
        better={"max": "up", "min": "down"}.get(metric.direction, ""),
        since=metric.since,
    )


# Of a point, and of a point at a rung.
METRIC_COLUMNS = {name: _metric(metric) for name, metric in METRICS.items()}
_STAGED = {
    **{name: _metric(metric) for name, metric in STAGE_METRICS.items()},
    "accuracy_by_size": Column(
        _NUMBERS, "refit, tuned: reuse accuracy by the number of classes of a subset; else null", low=0, high=1, since=7
    ),
}
_OWN = Column(_NUMBERS, "a user's own metrics, by name", low=-FINITE, since=5)
_BIAS = Column(
    pa.list_(_FLOAT),
    "added to each class's logit, by class; null where none is kept",
    low=-LARGEST_BIAS,
    high=LARGEST_BIAS,
    since=6,
)


def _since(version: int, columns: Mapping[str, Column]) -> dict[str, Column]:
    """Columns of a table that a version brought."""
    return {name: replace(column, since=max(version, column.since)) for name, column in columns.items()}


TABLES = {
    "sweeps": Table(
        "What was asked for: one row a sweep.",
        ("sweep_id",),
        {
            **_SWEEP,
            "created": Column(_TIME, "when it was started first"),
            "identity": Column(_TEXT, "canonical JSON of what makes it different from others"),
            "config": Column(_TEXT, "JSON of its whole configuration"),
            "versions": Column(_TEXT, "JSON of the packages that results depend on"),
            **_VERSION,
        },
    ),
    "trials": Table(
        "The event log; a trial's state is a view of it.",
        ("sweep_id", "trial_id", "attempt", "event"),
        {
            **_TRIAL,
            "number": _count("of the trial in its sweep, from 0"),
            "attempt": _count("0 for the proposal, then from 1"),
            "event": Column(_TEXT, "proposed, started, finished, failed, diverged, stopped"),
            "time": Column(_TIME, "of the event"),
            "coefficients": Column(_TEXT, "canonical JSON"),
            "seconds": _amount("finished, stopped: seconds of training, over all attempts"),
            "evaluation_seconds": _amount("likewise: seconds of counting and decomposing"),
            "after_seconds": _amount("finished: seconds of a step after training; null without one", since=5),
            "precision": Column(_TEXT, "of the forward pass: float32 or bfloat16"),
            "reason": Column(_TEXT, "of a failure or a stop"),
            "files_sha256": Column(_TEXT, "finished: JSON of the sha256 of each file that it keeps, by name", since=8),
            **_VERSION,
        },
    ),
    "epochs": Table(
        "The course of the trainings that ended in good order: one row an epoch.",
        ("sweep_id", "trial_id", "epoch"),
        {
            **_TRIAL,
            "epoch": _count("from 1"),
            "loss": _number("mean over the epoch's images"),
            "cross_entropy": _amount("its terms, before their coefficients, in nats"),
            "affinity": _number("a term"),
            "dispersion": _number("a term"),
            "compactness": _number("a term"),
            "terms": Column(_NUMBERS, "the terms that have no column of their own, by name", low=-FINITE, since=5),
            "training_accuracy": _share("of the epoch, share of images"),
            "learning_rate": _amount("at its start"),
            "seconds": _amount("seconds that it took"),
            **_VERSION,
        },
    ),
    "points": Table(
        "What was found: one row a trial, choice, stage and split.",
        ("sweep_id", "trial_id", "rule", "rule_parameters", "stage", "split"),
        {
            **_TRIAL,
            **_CHOICE,
            "stage": Column(
                _TEXT, "cut: as it was cut; refit, tuned: changed for each subset; separate: a network a class", since=5
            ),
            "split": Column(_TEXT, "validation or test"),
            **METRIC_COLUMNS,
            "bias": _BIAS,
            **_STAGED,
            "own": _OWN,
            **_VERSION,
        },
        nullable_key=("rule", "rule_parameters", "stage"),  # of rows from before version 5, until they are read
        has_choices=True,
    ),
    "reference_points": Table(
        "The reference values that follow from the first standard training: one row a sweep, once one has finished.",
        ("sweep_id",),
        _since(
            6,
            {
                **_TRIAL,
                "reference_values": Column(_TEXT, "JSON of the worst values that still count, by metric"),
                "time": Column(_TIME, "when they were recorded"),
                **_VERSION,
            },
        ),
    ),
    "rungs": Table(
        "Surfaces in mid-training, with a third of the images: what early stopping judges by.",
        ("sweep_id", "trial_id", "epoch", "rule", "rule_parameters"),
        _since(
            3,
            {
                **_TRIAL,
                "rung": _count("from 1"),
                "fraction": _share("of the training: trials are compared at the same one"),
                "epoch": _count("after which it was measured"),
                **_CHOICE,
                **METRIC_COLUMNS,
                "own": _OWN,
                **_VERSION,
            },
        ),
        nullable_key=("rule", "rule_parameters"),
        has_choices=True,
    ),
    "modules": Table(
        "The event log of module sets in the storage: a row each time one is published or removed.",
        ("sweep_id", "name", "event", "time"),
        _since(
            4,
            {
                **_TRIAL,
                **_CHOICE,
                "name": Column(_TEXT, "of the set's folder under `modules/`"),
                "event": Column(_TEXT, "published or removed"),
                "time": Column(_TIME, "of the event"),
                "manifest_sha256": Column(_TEXT, "of the set's manifest, which holds those of its files"),
                "bytes": _count("of all its files"),
                "parameters": _count("of its network, cut to the union of all classes' masks"),
                "full_parameters": _count("of the full model"),
                **_VERSION,
            },
        ),
        has_choices=True,
    ),
    "drivers": Table(
        "The event log of the processes that ran a sweep, one after another: a row when one begins and when it ends.",
        ("sweep_id", "term", "event"),
        _since(
            9,
            {
                **_SWEEP,
                "term": Column(_INT, "from 1; of several processes that begin one term the first has it", low=1),
                "event": Column(_TEXT, "began or ended; a process that was killed has not ended"),
                "time": Column(_TIME, "of the event"),
                "driver_id": Column(_TEXT, "host and a random part; names the file of its heartbeat"),
                "host": Column(_TEXT, "on which it ran"),
                "machine": Column(_TEXT, "what distinguishes the machine since it was booted, and its container"),
                "pid": _count("number of the process there"),
                "process": Column(_TEXT, "the number, and when it started by the machine's count"),
                **_VERSION,
            },
        ),
    ),
    "classes": Table(
        "What the module of all classes makes of each class: one row a trial, choice, split and class, for the points"
        " that are best or knee of their trial, or on the front of their sweep.",
        ("sweep_id", "trial_id", "rule", "rule_parameters", "split", "class_id"),
        _since(
            10,
            {
                **_TRIAL,
                **_CHOICE,
                "split": Column(_TEXT, "validation or test"),
                "class_id": _count("of the class, from 0"),
                "class_name": Column(_TEXT, "of the class"),
                "images": _count("of the class that were drawn"),
                "accuracy": _share("share of them that the module of all classes, with its biases, gets right"),
                "whole_accuracy": _share("share of them that the whole network gets right"),
                "taken_for": Column(pa.list_(_INT), "how many the module takes for each class, by class id", low=0),
                "cut_size": _share("parameters of the class's own module as it is cut / full model"),
                "units": _count("that the class keeps, of all layers"),
                "full_units": _count("of the whole network"),
                **_VERSION,
            },
        ),
        has_choices=True,
    ),
}


# Terms that had a column of their own before there was one for all of them.
TERM_COLUMNS = ("affinity", "dispersion", "compactness")


def to_arrow(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table holds them: of several with one key the first, stamped with the schema version.

    Raises:
        ValueError: a key that is not whole, or a number out of its column's range; it names table, column and value.
    """
    declared = TABLES[table]
    unique: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in map(with_choice, rows) if declared.has_choices else rows:
        _check(table, declared, row)
        unique.setdefault(tuple(row.get(name) for name in declared.key), row)
    stamped = [{**row, "schema_version": SCHEMA_VERSION} for row in unique.values()]
    return pa.Table.from_pylist(stamped, declared.schema)


def _check(table: str, declared: Table, row: Mapping[str, Any]) -> None:
    for name, column in declared.columns.items():
        value = row.get(name)
        if value is None:
            if name in declared.key and name not in declared.nullable_key:
                raise ValueError(f"{table}.{name} is missing in {dict(row)}; it is part of the key")
        elif bounds := column.bounds:
            for key, number in _numbers(column, value):
                if not bounds[0] <= number <= bounds[1]:  # NaN is in no range
                    place = f"{name}[{key!r}]" if key is not None else name
                    raise ValueError(f"{table}.{place}={number!r} cannot be; it is {column.range_text}")


def _numbers(column: Column, value: Any) -> Iterable[tuple[Any, float]]:
    """The numbers of a value, each with its key or place in it; None for the value itself."""
    if pa.types.is_map(column.kind):
        return dict(value).items()
    return enumerate(value) if pa.types.is_list(column.kind) else [(None, value)]
