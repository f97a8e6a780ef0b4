"""The metrics of a point. A metric is declared here once: its column, its title and unit, its direction, its axis.

Tables take their columns from these declarations, the configuration what may be an objective, views how they show it.
People read shares in per cent. What programs read and what people type are shares: columns, JSON, W&B's numbers,
constraints, the names of points.
"""

import math
from dataclasses import dataclass

SHARE, COUNT, AMOUNT = "share", "count", "amount"  # within [0, 1]; a whole number of at least 0; a number of at least 0
NUMBER = "number"  # any finite number
MARGIN = 0.05  # by how much a metric may be worse than its baseline and still count


@dataclass(frozen=True)
class Metric:
    """A metric of a point.

    Attributes:
        name: in tables, objectives and constraints.
        title: for people, such as ``module size``.
        what: its meaning, for the documentation of the tables.
        kind: which numbers it takes: ``share``, ``count``, ``amount`` or ``number``.
        direction: ``max`` or ``min`` where more or less is better, so that it can be an objective; else empty.
        short: the head of a column in the terminal, without the per cent sign.
        unit: of an axis, such as ``share of the full model's parameters``; empty where the title says it.
        is_logarithmic: whether its scale is logarithmic where the configuration states none: people compare sizes by
            their ratio. Never with ``number``, which may be below 0.
        reference: the worst value that counts for a hypervolume, where the configuration states none.
        baseline: the metric from which that value follows instead: what it is for the sweep's first standard training,
            less :data:`MARGIN`.
        since: the schema version that brought its column.
    """

    name: str
    title: str
    what: str = ""
    kind: str = SHARE
    direction: str = ""
    short: str = ""
    unit: str = ""
    is_logarithmic: bool = False
    reference: float | None = None
    baseline: str = ""
    since: int = 1

    @property
    def is_percentage(self) -> bool:
        """Whether tables show the metric in per cent."""
        return self.kind == SHARE

    @property
    def head(self) -> str:
        """The head of its column in the terminal, such as ``size %``."""
        return f"{self.short or self.title} %" if self.is_percentage else self.short or self.title

    @property
    def name_with_unit(self) -> str:
        """Its title and its unit, where its numbers stand in a row: ``module size %``."""
        return f"{self.title} %" if self.is_percentage else self.title

    @property
    def axis(self) -> str:
        """The title of its axis, with the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def brief_axis(self) -> str:
        """The title of its axis as :attr:`axis`, but without the unit for a share, whose ticks show it."""
        return self.title if self.is_percentage else self.axis

    def cell(self, value: float, spread: float | None = None) -> str:
        """Format a value as a cell under :attr:`head`, with its deviation or standard error."""
        if self.is_percentage:
            return percent(value, spread)
        return f"{value:.4g}" + (f"±{spread:.2g}" if spread is not None else "")

    def text(self, value: float, spread: float | None = None) -> str:
        """Format a value as :meth:`cell`, with its unit: ``97.2±0.8 %``."""
        return self.cell(value, spread) + (" %" if self.is_percentage else "")

    def difference(self, value: float, before: float) -> str:
        """Format by how much a value exceeds one before it, as a cell; percentages in points."""
        if not self.is_percentage:
            return f"{value - before:+.4g}"
        return f"{100 * (value - before):+.{_percent_digits(value - before)}f}"

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest number that it can be; infinite if there is no bound."""
        if self.kind == SHARE:
            return 0.0, 1.0
        return (-math.inf if self.kind == NUMBER else 0.0), math.inf


def percent(share: float, spread: float | None = None) -> str:
    """Format a share in per cent without the sign, ``97.2±0.8``: one decimal, and of less than 1 % two digits that
    count.
    """
    digits = _percent_digits(share)
    return f"{100 * share:.{digits}f}" + (f"±{100 * spread:.{digits}f}" if spread is not None else "")


def _percent_digits(share: float) -> int:
    """How many decimals a share has in per cent."""
    size = float(f"{abs(100 * share):.2g}")
    return 1 if size >= 1 or size == 0 else 1 - math.floor(math.log10(size))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy", "accuracy", "of the full model, share of images", direction="max", short="acc", reference=0.0
        ),
        Metric(
            "balanced_accuracy",
            "balanced accuracy",
            "of the full model, share of each class's images, mean over classes",
            direction="max",
            short="balanced acc",
            reference=0.0,
            since=10,
        ),
        Metric(
            "worst_class_accuracy",
            "accuracy of the worst class",
            "of the full model, share of the images of the class for which it is least",
            direction="max",
            short="worst acc",
            reference=0.0,
            since=10,
        ),
        Metric(
            "reuse_accuracy",
            "reuse accuracy",
            "of composed modules, over class subsets; share of images",
            direction="max",
            short="reuse",
            baseline="reuse_baseline",
        ),
        Metric("reuse_accuracy_error", "standard error of reuse accuracy", "its standard error", AMOUNT),
        Metric(
            "calibrated_reuse_accuracy",
            "calibrated reuse accuracy",
            "the same with the stored bias of each class; where none is kept the reuse accuracy",
            direction="max",
            short="calibrated",
            since=6,
            baseline="reuse_baseline",
        ),
        Metric(
            "calibrated_reuse_accuracy_error",
            "standard error of calibrated reuse accuracy",
            "its standard error",
            AMOUNT,
            since=6,
        ),
        Metric(
            "reuse_baseline",
            "reuse accuracy of the whole network",
            "the whole network with restricted logits, on all pairs of the draw",
        ),
        Metric(
            "balanced_reuse_accuracy",
            "balanced reuse accuracy",
            "calibrated reuse accuracy of each class's images, mean over classes",
            direction="max",
            short="balanced reuse",
            reference=0.0,
            since=10,
        ),
        Metric(
            "balanced_reuse_accuracy_error",
            "standard error of balanced reuse accuracy",
            "its standard error",
            AMOUNT,
            since=10,
        ),
        Metric(
            "worst_class_reuse_accuracy",
            "reuse accuracy of the worst class",
            "the same of the class for which it is least",
            direction="max",
            short="worst class",
            reference=0.0,
            since=10,
        ),
        Metric(
            "worst_class_reuse_accuracy_error",
            "standard error of the worst class's reuse accuracy",
            "its standard error",
            AMOUNT,
            since=10,
        ),
        Metric("reuse_subsets", "subsets", "class subsets drawn", COUNT),
        Metric("reuse_images", "images", "images drawn", COUNT),
        Metric(
            "cut_size",
            "module size",
            "parameters of a module as it is cut and stored / full model, mean over classes",
            direction="min",
            reference=1.0,
            short="size",
            unit="share of the full model's parameters",
            is_logarithmic=True,
            since=6,
        ),
        Metric(
            "cut_overlap",
            "overlap",
            "parameters that both of two classes keep / full model, as cut, mean over pairs",
            direction="min",
            reference=1.0,
            since=6,
        ),
        Metric(
            "module_size",
            "module size (published count)",
            "parameters of a module / full model, counted from the masks alone as MODA's published code does, mean over"
            " classes",
            direction="min",
            reference=1.0,
            short="published size",
            unit="share of the full model's parameters",
            is_logarithmic=True,
            since=6,
        ),
        Metric(
            "module_overlap",
            "overlap (published count)",
            "parameters that both of two classes keep / full model, counted from the masks alone, mean over pairs",
            direction="min",
            reference=1.0,
            short="published overlap",
            since=6,
        ),
        Metric(
            "overlap_jaccard",
            "overlap (Jaccard)",
            "the same, over the parameters that either keeps",
            direction="min",
            reference=1.0,
            short="Jaccard",
        ),
        Metric(
            "kernel_retention",
            "kernel retention",
            "kept convolution kernels / all, mean over classes",
            direction="min",
            reference=1.0,
            short="kernels",
            since=2,
        ),
        Metric(
            "linear_retention",
            "retention of linear weights",
            "kept weights of linear layers / all, mean over classes",
            direction="min",
            reference=1.0,
            short="linear",
            since=6,
        ),
        Metric(
            "flops",
            "FLOPs of a module",
            "operations for one image, module / full model, mean over classes",
            direction="min",
            reference=1.0,
            short="FLOPs",
            is_logarithmic=True,
            since=2,
        ),
        Metric(
            "coupling",
            "coupling",
            "Jaccard index of two classes' unit masks, mean over pairs",
            direction="min",
            reference=1.0,
            since=2,
        ),
        Metric("floored", "floored", "(class, layer) pairs where the floor acted", COUNT),
    )
}
# Of points whose modules were refitted or tuned after cutting, beside the metrics above.
STAGE_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "cut_accuracy",
            "cut",
            "reuse accuracy of the same modules as they were cut, on the same subsets and images",
            since=7,
        ),
        Metric(
            "control_accuracy",
            "random",
            "the same of random units, as many in each layer, refitted or tuned in the same way",
            since=7,
        ),
        Metric("control_cut_accuracy", "random, cut", "the same of these random units as they were cut", since=7),
        Metric(
            "composed_size",
            "size",
            "parameters of these modules / full model, averaged over subsets; of separate networks their sum",
            AMOUNT,
            since=7,
        ),
        Metric("control_size", "size of random", "the same of the random units", since=7),
    )
}
OBJECTIVES = tuple(sorted(name for name, metric in METRICS.items() if metric.direction))

# Before schema version 6 metrics of networks as they are cut had the names that the published count has since.
CUT_NAMES = {"module_size": "cut_size", "module_overlap": "cut_overlap"}
