"""Makes README's pictures of a real run: the front, the report and the terminal, as docs/{front,report,terminal}.png.

Usage: make pictures    (runs `make demo` first; needs Chromium)
   or: PYTHONPATH=. python docs/pictures.py STORAGE SWEEP
"""

import io
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

import orchestrator as moda
from orchestrator.views import front_table, render_report
from tests.orchestrator.views.browser import NAMES, Browser, chromium

DOCS = Path(__file__).parent
COLOURS = 96  # of a picture: flat areas and text need no more, and its file is a third as large
WIDTH, COLUMNS = 1280, 150
FRONT = ("#front-figure", "#front-figure + .legend")
MARGIN = 12  # pixels beside an element


def main(storage: str, sweep_id: str) -> None:
    """Draw the pictures of a finished sweep."""
    if not any(map(shutil.which, NAMES)):
        sys.exit(f"no Chromium is found ({', '.join(NAMES)}); install one: apt-get install chromium")
    opened = moda.open_sweep(sweep_id, storage=storage)
    with tempfile.TemporaryDirectory() as scratch, chromium(Path(scratch) / "profile") as browser:
        browser.call("Emulation.setScrollbarsHidden", hidden=True)
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
        browser.open(render_report(opened.recorded), Path(scratch) / "report.html", width=WIDTH, height=1000)
        keep(browser, DOCS / "report.png")
        keep(browser, DOCS / "front.png", *FRONT)
        browser.open(terminal_page(opened.recorded), Path(scratch) / "terminal.html", width=WIDTH, height=600)
        keep(browser, DOCS / "terminal.png", "svg")


def terminal_page(sweep: "moda.Sweep") -> str:
    """The front as `moda front` prints it, in a picture of a terminal."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(f"$ moda front {sweep.sweep_id}", highlight=False)
    console.print(front_table(sweep, title="the front", width=COLUMNS))
    return f"<body style='margin: 0'>{console.export_svg(title='moda')}</body>"


def keep(browser: Browser, file: Path, *selectors: str) -> None:
    """Write what is seen, or some elements alone, as a small PNG."""
    clip: dict[str, Any] = {}
    if selectors:
        boxes = f"{json.dumps(selectors)}.map((each) => document.querySelector(each).getBoundingClientRect())"
        edges = "Math.min(...boxes.map((box) => box.left)), Math.min(...boxes.map((box) => box.top)),"
        edges += "Math.max(...boxes.map((box) => box.right)), Math.max(...boxes.map((box) => box.bottom))"
        left, top, right, bottom = browser.value(f"(() => {{ const boxes = {boxes}; return [{edges}]; }})()")
        place = {"x": left - MARGIN, "y": top}
        size = {"width": right - left + 2 * MARGIN, "height": bottom - top, "scale": 1}
        clip = {"clip": {**place, **size}, "captureBeyondViewport": True}
    browser.picture(file, **clip)
    with Image.open(file) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
