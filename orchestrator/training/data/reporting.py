"""Tells a person how far decoding has come, if it takes long."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PATIENCE = 3.0  # seconds that nobody needs to be told of
LOOKS = 1000  # how often the clock is read
STEPS = 10  # lines in a log

Item = TypeVar("Item")


def reported(
    items: Iterable[Item],
    total: int,
    what: str,
    *,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """The items themselves, with a bar on a terminal's standard error, or else a line for every tenth of them.

    Args:
        items: that take time.
        total: how many.
        what: is done.
        console: where it is shown.
        clock: seconds.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    task, started = bar.add_task(what, total=total), clock()
    looks, steps = (max(1, total // often) for often in (LOOKS, STEPS))
    try:
        for number, item in enumerate(items, start=1):
            yield item
            if number % looks or clock() - started < PATIENCE:
                continue
            bar.update(task, completed=number)
            if console.is_terminal:
                bar.start()
            elif number % steps < looks:
                console.print(f"{what}: {number} of {total}", markup=False, highlight=False, soft_wrap=True)
    finally:
        if bar.live.is_started:  # else it would leave an empty line
            bar.stop()
