"""What each class keeps, in the report: its units by layer, and how much two classes have in common."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from orchestrator.results import KeptUnits
from orchestrator.views.table_row import Row

MOST_CLASSES = 100  # of a heat map that can be read


def class_sections(kept: Sequence[KeptUnits]) -> Iterator[dict[str, Any]]:
    """What the report says of the classes of each published set."""
    for units in kept:
        if units.why_not:
            yield {"point": units.point, "why_not": units.why_not}
        else:
            yield {"point": units.point, "why_not": "", "summary": _summary(units), **_table(units), **_map(units)}


def _summary(units: KeptUnits) -> str:
    """The class with the largest module, and the two that have most in common: what a mean hides."""
    counts_C, names = units.all_CN.sum(1), units.class_names
    width, largest = units.all_CN.shape[1], int(counts_C.argmax())
    text = (
        f"Class {names[largest]} keeps most: {counts_C[largest]} of {width} units"
        f" ({100 * counts_C[largest] / width:.1f} %), where the mean is {100 * counts_C.mean() / width:.1f} %."
    )
    if len(names) < 2:
        return text
    apart_CC = units.overlaps_CC - 2 * np.eye(len(names))
    one, other = divmod(int(apart_CC.argmax()), len(names))
    return (
        f"{text} Classes {names[one]} and {names[other]} have most in common:"
        f" {100 * apart_CC[one, other]:.1f} % of the units that either keeps."
    )


def _table(units: KeptUnits) -> dict[str, Any]:
    width = units.all_CN.shape[1]
    heads = [f"{layer} (of {mask_CN.shape[1]})" for layer, mask_CN in zip(units.layers, units.masks, strict=True)]
    rows = []
    for index, name in enumerate(units.class_names):
        count = int(units.all_CN[index].sum())
        by_layer = [str(int(mask_CN[index].sum())) for mask_CN in units.masks]
        rows.append(Row([name, str(count), f"{100 * count / width:.1f}", *by_layer]))
    return {"head": ["class", f"units (of {width})", "units %", *heads], "rows": rows}


def _map(units: KeptUnits) -> dict[str, Any]:
    """Shares in whole per cent, by pair of classes; nothing where there are too many to look at."""
    if not 1 < len(units.class_names) <= MOST_CLASSES:
        return {"overlaps": [], "names": []}
    shares_CC = np.rint(100 * units.overlaps_CC).astype(int).tolist()
    return {"overlaps": list(zip(units.class_names, shares_CC, strict=True)), "names": list(units.class_names)}
