"""Ctrl-C and SIGTERM while trials run: the first one lets them end in good order, the second one ends at once."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from orchestrator.errors import Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """The signal that somebody has sent, if any."""

    received: int | None = None

    def check(self) -> None:
        """Raise what the signal stands for.

        Raises:
            Terminated: SIGTERM was received.
            KeyboardInterrupt: SIGINT was received.
        """
        if self.received == signal.SIGTERM:
            raise Terminated
        if self.received is not None:
            raise KeyboardInterrupt


@contextmanager
def stopping_tune() -> Iterator[Interrupt]:
    """Within it the first SIGINT or SIGTERM makes Tune stop its trials; what was there before handles the second.

    Yields:
        The interrupt, to be looked at when Tune has ended: Tune returns then as if all were done. Outside the main
        thread there are no signals.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGUSR1)}

    def stop(number: int, frame: FrameType | None) -> None:
        interrupt.received = number
        tunes = signal.getsignal(signal.SIGUSR1)  # Tune's own handler, while it runs
        if callable(tunes):
            tunes(number, frame)
        _handle(before)
        if tunes is before[signal.SIGUSR1]:
            interrupt.check()
        os.write(2, b"\nstopping the trials; interrupt again to stop at once\n")

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    _handle({number: stop for number in SIGNALS if before[number] is not signal.SIG_IGN})  # nohup's is left alone
    try:
        yield interrupt
    finally:
        _handle(before)


@contextmanager
def ray_may_not_take_sigterm() -> Iterator[None]:
    """Around ``ray.init``, which makes SIGTERM end the process with exit code 15: afterwards it is handled as before.

    Raises:
        Terminated: SIGTERM came while Ray was starting.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as ended:
        raise Terminated from ended
    finally:
        if threading.current_thread() is threading.main_thread():
            _handle({signal.SIGTERM: before})


def _handle(handlers: "Mapping[signal.Signals, signal._HANDLER]") -> None:
    for number, handler in handlers.items():
        if handler is not None:  # one that is not Python's cannot be set again
            signal.signal(number, handler)
