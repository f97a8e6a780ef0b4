"""Classes in the report: how often the module of all of them is right on each, the size and units of its module, and
how much two classes have in common.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from orchestrator.declarations import percent
from orchestrator.results import ClassResults, KeptUnits, Sweep, SweepClasses
from orchestrator.views.table_row import Row

MOST_CLASSES = 100  # of a heat map that can be read
MOST_OF_ALL_POINTS = 20  # of heat maps of every point of the front: of more classes only best and knee have them


def class_sections(sweep: Sweep, classes: SweepClasses, kept: Sequence[KeptUnits] = ()) -> Iterator[dict[str, Any]]:
    """Yield what the report says of the classes of each point of the front that was measured or published.

    Args:
        sweep: the sweep.
        classes: what was measured of them.
        kept: which units they keep, of the module sets that are published.
    """
    published = {units.point: units for units in kept}
    for point in sweep.front:
        units, shown = published.get(point.label), classes.shown(point)
        if units is None and shown is None:
            continue
        why_not = units.why_not if units is not None else ""
        units = None if why_not else units
        role = sweep.mark(point)
        names = _class_names(units, shown)
        has_maps = len(names) <= (MOST_CLASSES if role else MOST_OF_ALL_POINTS)
        yield {
            "point": point.label,
            "role": role,
            "worst": f"worst class {_worst_text(*shown)}" if shown else "",
            "lines": [*([worst_class_text(*shown)] if shown else []), *_lines(units, shown), *filter(None, [why_not])],
            **_table(names, units, {split: classes.of(point, split) for split in ("validation", "test")}),
            "confusion": _confusion(shown[1]) if shown and has_maps else [],
            "split": shown[0] if shown else "",
            "overlaps": _overlaps(units) if units is not None and has_maps else [],
            "names": names,
        }


def worst_class_text(split: str, results: ClassResults) -> str:
    """Say which class the module of all classes is worst at, by how much, and what it takes it for."""
    worst = results.worst
    mistaken = results.mistaken_for(worst)
    text = (
        f"Class {results.class_names[worst]} is worst: the module of all classes gets"
        f" {percent(results.accuracy_C[worst], results.errors_C[worst])} % of its"
        f" {results.images_C[worst]} {split} images right (the whole network"
        f" {percent(results.whole_accuracy_C[worst])} %)"
    )
    if mistaken is None:
        return f"{text}."
    share = results.confusion_CC[worst, mistaken] / results.images_C[worst]
    return f"{text}, and takes {percent(share)} % of them for {results.class_names[mistaken]}."


def _worst_text(split: str, results: ClassResults) -> str:
    return f"{results.class_names[results.worst]}: {percent(results.accuracy_C[results.worst])} % on {split}"


def _class_names(units: KeptUnits | None, shown: tuple[str, ClassResults] | None) -> list[str]:
    if shown is not None:
        return list(shown[1].class_names)
    return list(units.class_names) if units is not None else []


def _lines(units: KeptUnits | None, shown: tuple[str, ClassResults] | None) -> Iterator[str]:
    """The largest module, the class that keeps most units, and the two that have most in common: what a mean hides."""
    if shown is not None:
        sizes_C, names = shown[1].cut_sizes_C, shown[1].class_names
        largest = int(sizes_C.argmax())
        yield (
            f"The largest module is that of class {names[largest]}: {percent(sizes_C[largest])} % of the parameters,"
            f" where the mean is {percent(sizes_C.mean())} %."
        )
    if units is None:
        return
    counts_C, names, width = units.all_CN.sum(1), units.class_names, units.all_CN.shape[1]
    most = int(counts_C.argmax())
    yield (
        f"Class {names[most]} keeps most: {counts_C[most]} of {width} units ({percent(counts_C[most] / width)} %),"
        f" where the mean is {percent(counts_C.mean() / width)} %."
    )
    if len(names) > 1:
        apart_CC = units.overlaps_CC - 2 * np.eye(len(names))
        one, other = divmod(int(apart_CC.argmax()), len(names))
        yield (
            f"Classes {names[one]} and {names[other]} have most in common: {percent(apart_CC[one, other])} % of the"
            " units that either keeps."
        )


def _table(names: Sequence[str], units: KeptUnits | None, by_split: dict[str, ClassResults | None]) -> dict[str, Any]:
    """A row for each class: accuracies by split, the size and the units of its module, and its units by layer."""
    columns: dict[str, list[str]] = {"class": list(names)}
    for split, results in by_split.items():
        if results is not None:
            mark = "" if split == "validation" else f"{split} "
            pairs = zip(results.accuracy_C, results.errors_C, strict=True)
            columns[f"{mark}accuracy %"] = [percent(share, error) for share, error in pairs]
            columns[f"{mark}whole network %"] = [percent(share) for share in results.whole_accuracy_C]
    measured = next(filter(None, by_split.values()), None)
    if measured is not None:
        columns["module size %"] = [percent(share) for share in measured.cut_sizes_C]
    if units is not None:
        columns[f"units (of {units.all_CN.shape[1]})"] = [str(count) for count in units.all_CN.sum(1)]
        for layer, mask_CN in zip(units.layers, units.masks, strict=True):
            columns[f"{layer} (of {mask_CN.shape[1]})"] = [str(count) for count in mask_CN.sum(1)]
    elif measured is not None:
        columns[f"units (of {measured.full_units})"] = [f"{count:.4g}" for count in measured.units_C]
    return {"head": list(columns), "rows": [Row(list(cells)) for cells in zip(*columns.values(), strict=True)]}


def _confusion(results: ClassResults) -> list[dict[str, Any]]:
    """A row for each class: of each class that its images are taken for the count, the share in whole per cent, and how
    dark it is drawn: mistakes as shares of the largest one."""
    shares_CC = results.confusion_CC / np.maximum(results.images_C, 1)[:, None]
    largest = max(float((shares_CC - np.diag(shares_CC.diagonal())).max()), 1e-9)
    rows = []
    for label, name in enumerate(results.class_names):
        cells = []
        for other, count in enumerate(results.confusion_CC[label].tolist()):
            share = float(shares_CC[label, other])
            is_right = other == label
            said = f"{count} of {results.images_C[label]} images of {name}"
            cells.append(
                {
                    "count": count,
                    "text": f"{100 * share:.0f}" if share >= 0.005 else "",
                    "shade": round(100 * (share if is_right else share / largest)),
                    "kind": "right" if is_right else "wrong",
                    "title": f"{said} are {'right' if is_right else f'taken for {results.class_names[other]}'}",
                }
            )
        rows.append({"name": name, "cells": cells})
    return rows


def _overlaps(units: KeptUnits) -> list[tuple[str, list[int]]]:
    """Shares in whole per cent, by pair of classes; nothing of a single class."""
    if len(units.class_names) < 2:
        return []
    shares_CC = np.rint(100 * units.overlaps_CC).astype(int).tolist()
    return list(zip(units.class_names, shares_CC, strict=True))
