"""The commands that look at what a sweep has found: `front`, `report` and `query`."""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from orchestrator.api import (
    open_store,
    write_output,
)
from orchestrator.cli.asked import Asked
from orchestrator.cli.opened import opened_sweep, result_of
from orchestrator.cli.output import Output, row_format
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    pass


def front(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.views import front_table, tables_beside

    sweep = opened_sweep(asked, options, options.sweep).with_stages(*options.stages)
    if not sweep.recorded.front:
        raise ConfigError(sweep.recorded.why_no_front)
    output.show(
        front_table(sweep.recorded, title=f"the front of {sweep.sweep_id}", width=output.width, whole=options.all)
    )
    output.show(*tables_beside(sweep.recorded))
    for confirmation in sweep.confirmations:
        output.say(
            f"confirmed by {confirmation.sweep_id}: {len(confirmation.recorded.told)} points with fresh seeds, the best"
            f" is {confirmation.best.label}; moda report {sweep.sweep_id} shows the details",
        )
    output.give(result_of(sweep.recorded, storage=sweep.storage))


def report(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    if options.watch is not None and not options.watch >= 1:
        raise ConfigError(f"--watch {options.watch:g}: give 1 second or more")
    while True:
        sweep = opened_sweep(asked, options, options.sweep).with_stages(*options.stages)
        is_watched = options.watch is not None and not sweep.recorded.is_settled
        path = sweep.report(options.to or None, refresh=options.watch if is_watched else None)
        output.give({"report": str(path), "is_over": sweep.recorded.is_over})
        output.say(f"report written to {path}" + (f"; {sweep.recorded.finished_text}" if is_watched else ""))
        if not is_watched:
            return
        time.sleep(options.watch)


def query(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.results import query
    from orchestrator.views import render_rows

    form = row_format(options, output)
    if form == "arrow" and options.to is None and sys.stdout.isatty():
        raise ConfigError("--format arrow cannot be printed on a terminal; add --to FILE")
    open_store(asked.storage)
    data = render_rows(query(asked.storage, options.sweep, options.sql), form)
    if options.to is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    output.say(f"rows written to {write_output(options.to, data)}")
