"""What the rows of rivals.py say: a table of sizes and a table of stages for each network, as means over the seeds."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from compact_modules import smallest_size
from compared_trainings import Seeds
from recipes import staircase
from result_rows import Row

Points = list[tuple[float, float]]  # (cut_size, reuse accuracy), the sizes ascending
SIZES = ("module_size", "cut_size", "kernel_retention", "linear_retention", "module_overlap", "cut_overlap")


def sizes_table(seeds: Seeds, rules: dict[str, tuple[str, str]], wanted: Sequence[float]) -> str:
    """Accuracies of the whole networks, and the smallest sizes at which reuse accuracy on test reaches each value.

    Args:
        seeds: by recipe, for each seed its rows on test.
        rules: by what a line is called, its recipe and the rule of its own.
        wanted: the values, between two choices interpolated in the logarithm of the size.
    """
    heads = [f"{value:.2f} {way}" for value in wanted for way in ("own rule", "by size", "with bias")]
    lines = []
    for name, (recipe, rule) in rules.items():
        if not (of_recipe := seeds.get(recipe)):
            continue
        cut = [[row for row in rows if row["stage"] == "cut"] for rows in of_recipe]
        ways = [(rule, "reuse_accuracy")]
        if name == recipe:
            ways += [("size", "reuse_accuracy"), ("size", "calibrated_reuse_accuracy")]
        cells = [f"{_mean(row[0][metric] for row in of_recipe):.4f}" for metric in ("accuracy", "reuse_baseline")]
        for value in wanted:
            sizes = [mean_size([staircase(rows, *way) for rows in cut], value) for way in ways]
            cells += ["-" if size is None else f"{size:.4f}" for size in sizes] + [""] * (3 - len(ways))
        lines.append([name, str(len(of_recipe)), *cells])
    return _markdown(["recipe", "seeds", "accuracy", "reuse baseline", *heads], lines)


def mean_size(seeds: Sequence[Points], wanted: float) -> float | None:
    """The geometric mean over seeds of the sizes at a reuse accuracy; None where one does not reach it."""
    sizes = [smallest_size(points, wanted) for points in seeds]
    reached = [size for size in sizes if size is not None]
    return statistics.geometric_mean(reached) if len(reached) == len(sizes) else None


def stages_table(seeds: Seeds, is_chosen: Callable[[Row], bool]) -> str:
    """Sizes, overlaps and reuse accuracies on test of one choice of each training, as cut, refitted and tuned.

    Args:
        seeds: by recipe, for each seed its rows on test.
        is_chosen: whether a row is of the choice.
    """
    standard = {(rows[0]["seed"], rows[0]["device"]): rows[0]["seconds"] for rows in seeds.get("standard", ())}
    lines = []
    for recipe, of_recipe in seeds.items():
        chosen = [[row for row in rows if is_chosen(row)] for rows in of_recipe]
        chosen = [rows for rows in chosen if rows]
        if not chosen:
            continue
        cut, refit, tuned = (
            [row for rows in chosen for row in rows if row["stage"] == stage] for stage in ("cut", "refit", "tuned")
        )
        choices = ", ".join(dict.fromkeys(row["choice"] for row in cut))
        columns = [
            *((cut, name) for name in (*SIZES, "reuse_accuracy", "calibrated_reuse_accuracy")),
            *((refit, name) for name in ("cut_accuracy", "control_cut_accuracy", "reuse_accuracy", "control_accuracy")),
            *((tuned, name) for name in ("reuse_accuracy", "control_accuracy")),
        ]
        cells = [f"{_mean(row[name] for row in rows):.4f}" if rows else "-" for rows, name in columns]
        lines.append([recipe, choices, *cells, _time_ratio(cut, standard)])
    heads = ["module", "cut", "kernels", "linear", "module overlap", "cut overlap", "reuse", "with bias"]
    staged = ["few: cut", "random", "refit", "random", "tuned", "random", "time"]
    return _markdown(["recipe", "choice", *heads, *staged], lines)


def _time_ratio(rows: Sequence[Row], standard: dict[Any, float]) -> str:
    keys = [(row["seed"], row["device"]) for row in rows]
    ratios = [row["seconds"] / standard[key] for row, key in zip(rows, keys, strict=True) if key in standard]
    return f"{statistics.geometric_mean(ratios):.2f}" if ratios else "-"


def _mean(values: Any) -> float:
    return statistics.mean(values)


def _markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
