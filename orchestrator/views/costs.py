"""What modules cost, in the terminal."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

from rich.markup import escape
from rich.table import Table

from orchestrator.views.terminal import bytes_text


class Cost(Protocol):
    """What a network costs; seconds and bytes of activations are by the number of images."""

    @property
    def name(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def seconds(self) -> Mapping[int, float]: ...
    @property
    def activation_bytes(self) -> Mapping[int, int]: ...


def costs_table(costs: Sequence[Cost]) -> Table:
    """Return a row for each network; shares are of the first one's."""
    whole, batches = costs[0], list(costs[0].seconds)
    heads = [(f"ms / {size}", "time %", f"memory / {size}") for size in batches]
    table = Table(box=None)
    table.add_column("")
    for head in ("parameters", "size %", "weights", *itertools.chain(*heads)):
        table.add_column(head, justify="right")
    for cost in costs:
        cells = [f"{cost.parameters:,}", _share(cost.parameters, whole.parameters), bytes_text(cost.weight_bytes)]
        for size in batches:
            cells.append(f"{1000 * cost.seconds[size]:.3g}")
            cells.append(_share(cost.seconds[size], whole.seconds[size]))
            cells.append(bytes_text(cost.activation_bytes[size]))
        table.add_row(escape(cost.name), *cells)
    return table


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}"
