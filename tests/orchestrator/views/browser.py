"""A headless Chromium, spoken to over a pipe in the DevTools protocol: nothing has to be installed beside it."""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")
MESSAGES = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator["Browser"]:
    """A browser with a profile of its own in ``folder``; a test is skipped where none is installed."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium is installed: the report is not tested in a browser")
    to_browser, from_test = os.pipe()
    from_browser, to_test = os.pipe()
    reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, to_test))
    command = f'exec "$0" "$@" 3<&{reading} 4>&{writing}'  # the ends where Chromium looks for them
    process = subprocess.Popen(
        ["bash", "-c", command, program, *FLAGS, f"--user-data-dir={folder}"],
        pass_fds=(reading, writing),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (to_browser, to_test, reading, writing):
        os.close(end)
    try:
        with open(from_test, "wb", buffering=0) as send, open(from_browser, "rb") as receive:
            yield Browser(send, receive)
    finally:
        process.kill()
        process.wait()


class Browser:
    """One page of a browser.

    Attributes:
        messages: what the page wrote to its console, and its errors.
        addresses: what it asked for.
    """

    def __init__(self, send: Any, receive: Any) -> None:
        self.messages: list[Any] = []
        self.addresses: list[str] = []
        self._send, self._receive, self._count, self._rest = send, receive, 0, b""
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters, **self._session}
        self._send.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._count:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, page: str, file: Path, *, width: int = 1280, height: int = 900) -> None:
        """Show a page at a size, and forget what an earlier one wrote."""
        file.write_text(page)
        self.messages, self.addresses = [], []
        self.resize(width, height)
        self.call("Page.navigate", url=file.as_uri())
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def resize(self, width: int, height: int = 900) -> None:
        """Give the page another size, in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def value(self, expression: str) -> Any:
        """Evaluate JavaScript in the page, and wait for a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, after it was brought into view."""
        return tuple(
            self.value(
                f"(() => {{ const element = document.querySelector({json.dumps(selector)});"
                " element.scrollIntoView({block: 'center'}); const box = element.getBoundingClientRect();"
                " return [box.left + box.width / 2, box.top + box.height / 2]; })()"
            )
        )

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        self.drag(self.place(selector), [])

    def drag(self, start: tuple[float, float], ends: list[tuple[float, float]]) -> None:
        """Press the mouse button at a place, move along others and let go."""
        self._mouse("mouseMoved", start)
        self._mouse("mousePressed", start, button="left", clickCount=1)
        for end in ends:
            self._mouse("mouseMoved", end, button="left", buttons=1)
        self._mouse("mouseReleased", (ends or [start])[-1], button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key and let go."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self, file: Path, **parameters: Any) -> None:
        """Write what is seen as a PNG; ``parameters`` as the protocol has them, such as a ``clip``."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **parameters)["data"]))

    def _mouse(self, kind: str, place: tuple[float, float], **parameters: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], **parameters)

    def _read(self) -> Any:
        while b"\0" not in self._rest:
            received = self._receive.read1()
            assert received, "the browser has ended"
            self._rest += received
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        if message.get("method") in MESSAGES:
            self.messages.append(message["params"])
        if message.get("method") == "Network.requestWillBeSent":
            self.addresses.append(message["params"]["request"]["url"])
        return message
