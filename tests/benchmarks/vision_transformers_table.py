"""What the rows of vision_transformers.py say of each network, as means over the seeds."""

import statistics
from collections.abc import Sequence

from compact_modules import smallest_size
from compared_trainings import Seeds
from result_rows import Row
from rivals_table import Points, stages_table

POINTS_BELOW = 0.02  # below the whole network with the same logits
UNITS = ("kept", "jaccard", "between", "alone", "exchanged")


def print_network(network: str, seeds: Seeds, own_rules: dict[str, str], choices: Sequence[str]) -> None:
    """Print the tables of a network.

    Args:
        network: its name.
        seeds: by recipe, for each seed its rows.
        own_rules: by recipe, the rule of its method.
        choices: whose sizes and stages are shown, and the first one's units.
    """
    on_test = {
        recipe: [[row for row in rows if row["split"] == "test" and row["stage"] != "units"] for rows in of_recipe]
        for recipe, of_recipe in seeds.items()
    }
    print(f"\n{network}\n\n{retention_table(on_test, own_rules)}")
    for choice in choices:
        print(f"\n{choice}\n\n{stages_table(on_test, lambda row, choice=choice: row['choice'] == choice)}")
    if (by_magnitude := "magnitude/0.1") in {row["choice"] for rows in on_test.get("standard", ()) for row in rows}:
        print(f"\n{by_magnitude}\n\n{stages_table(on_test, lambda row: row['choice'] == by_magnitude)}")
    print(f"\nslices\n\n{slices_table(on_test)}\n\nunits at {choices[0]}\n\n{units_table(seeds)}")


def retention_table(seeds: Seeds, own_rules: dict[str, str]) -> str:
    """The smallest retention of linear weights, and the smallest size, at which composed modules as they are cut are at
    most 2 points less accurate on test than their own whole network, and than the standard one."""
    standard = _baseline(seeds["standard"]) if "standard" in seeds else None
    heads = [
        *("recipe", "seeds", "accuracy", "reuse baseline"),
        *(f"{what} {way}" for what in ("linear", "cut") for way in ("own rule", "by size", "with bias")),
        *("linear with bias, to standard", "linear by magnitude"),
    ]
    lines = [heads, ["---"] * len(heads)]
    for recipe, of_recipe in seeds.items():
        ways = [
            *((own_rules[recipe], "reuse_accuracy"), ("size", "reuse_accuracy"), ("size", "calibrated_reuse_accuracy"))
        ]
        cells = [f"{statistics.mean(rows[0]['accuracy'] for rows in of_recipe):.4f}", f"{_baseline(of_recipe):.4f}"]
        cells += [_smallest(of_recipe, *way, size) for size in ("linear_retention", "cut_size") for way in ways]
        cells.append(_smallest(of_recipe, *ways[-1], "linear_retention", standard))
        cells.append(_smallest(of_recipe, "magnitude", "reuse_accuracy", "linear_retention"))
        lines.append([recipe, str(len(of_recipe)), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def slices_table(seeds: Seeds) -> str:
    """Of tuned choices, whose modules are slices of their own: retention, sizes and accuracy on a few subsets."""
    heads = ["recipe", "choice", "linear", "cut", "composed", "reuse baseline", "masked", "tuned", "random, tuned"]
    names = ("linear_retention", "cut_size", "composed_size", "reuse_baseline", "cut_accuracy", "reuse_accuracy")
    lines = [heads, ["---"] * len(heads)]
    for recipe, of_recipe in seeds.items():
        tuned = [row for rows in of_recipe for row in rows if row["stage"] == "tuned"]
        if tuned:
            cells = [f"{statistics.mean(row[name] for row in tuned):.4f}" for name in (*names, "control_accuracy")]
            lines.append([recipe, tuned[0]["choice"], *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def units_table(seeds: Seeds) -> str:
    """What heads and hidden units say of classes."""
    heads = ["recipe", "units", "whole", "both masked", *UNITS]
    lines = [heads, ["---"] * len(heads)]
    for recipe, of_recipe in seeds.items():
        for kind in ("heads", "hidden"):
            rows = [row for rows in of_recipe for row in rows if row["stage"] == "units" and row["role"] == kind]
            cells = [f"{statistics.mean(row[name] for row in rows):.3f}" for name in ("whole", "both", *UNITS)]
            lines.append([recipe, kind, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _baseline(of_recipe: Sequence[Sequence[Row]]) -> float:
    return statistics.mean(rows[0]["reuse_baseline"] for rows in of_recipe)


def _smallest(
    of_recipe: Sequence[Sequence[Row]], rule: str, metric: str, size: str, baseline: float | None = None
) -> str:
    """The geometric mean over seeds of the smallest size from which on choices by a rule are accurate enough."""
    found = []
    for rows in of_recipe:
        points = staircase_of([row for row in rows if (row["rule"], row["stage"]) == (rule, "cut")], metric, size)
        wanted = (rows[0]["reuse_baseline"] if baseline is None else baseline) - POINTS_BELOW
        found.append(smallest_size(points, wanted) if points else None)
    reached = [value for value in found if value is not None]
    return f"{statistics.geometric_mean(reached):.4f}" if len(reached) == len(found) else "-"


def staircase_of(rows: Sequence[Row], metric: str, size: str) -> Points:
    """The (size, metric) of each row that is better than all smaller ones."""
    best: Points = []
    for value, accuracy in sorted((row[size], row[metric]) for row in rows):
        if not best or accuracy > best[-1][1]:
            best.append((value, accuracy))
    return best
