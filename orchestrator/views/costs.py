"""What modules cost, in the terminal."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from orchestrator.declarations import percent
from orchestrator.views.terminal import bytes_text


def costs_table(costs: Sequence[Mapping[str, Any]]) -> Table:
    """Return a row for each network; shares are of the first one's.

    Args:
        costs: with the fields of ``orchestrator.modules.NetworkCost``.
    """
    whole, batches = costs[0], list(costs[0]["seconds"])
    heads = [(f"ms / {size}", "time %", f"memory / {size}") for size in batches]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for head in ("parameters", "size %", "weights", *itertools.chain(*heads)):
        table.add_column(head, justify="right")
    for cost in costs:
        parameters, seconds = cost["parameters"], cost["seconds"]
        cells = [f"{parameters:,}", percent(parameters / whole["parameters"]), bytes_text(cost["weight_bytes"])]
        for size in batches:
            cells.append(f"{1000 * seconds[size]:.3g}")
            cells.append(percent(seconds[size] / whole["seconds"][size]))
            cells.append(bytes_text(cost["activation_bytes"][size]))
        table.add_row(escape(cost["name"]), *cells)
    return table
