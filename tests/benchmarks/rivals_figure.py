"""Draws the fronts of rivals.py with Pillow: a panel for each network, a line for each recipe."""

import math
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Line = list[tuple[float, float]]  # (size, accuracy), the sizes ascending

SCALE = 3  # everything is drawn so much larger, and made smaller at the end, so that lines are smooth
WIDTH, HEIGHT = 430, 340  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 28, 40  # of a panel, around its axes
SIZES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the axis, which is logarithmic
INK, GRID = "#333333", "#e2e2e2"
COLORS = ("#777777", "#111111", "#8ecae6", "#0b5fa5", "#f4a582", "#c0392b", "#a8d5a2", "#1b7837")


def draw_fronts(panels: Mapping[str, Mapping[str, Line]], file: Path) -> None:
    """Draw the lines of each panel, by the panel's title and the line's name, into a PNG file."""
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    colors = {name: COLORS[place % len(COLORS)] for place, name in enumerate(names)}
    columns = 2 if len(panels) > 1 else 1
    rows = math.ceil(len(panels) / columns)
    image = Image.new("RGB", (columns * WIDTH * SCALE, (rows * HEIGHT + 44) * SCALE), "white")
    pen = _Pen(ImageDraw.Draw(image))
    for place, (title, lines) in enumerate(panels.items()):
        _draw_panel(pen, place % columns * WIDTH, place // columns * HEIGHT, title, lines, colors)
    _draw_legend(pen, rows * HEIGHT, columns * WIDTH, colors)
    small = image.resize((image.width // SCALE, image.height // SCALE), Image.Resampling.LANCZOS)
    small.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, optimize=True)


class _Pen:
    """Draws in units of the finished image."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self.draw = draw
        self.font = ImageFont.load_default(11 * SCALE)

    def line(self, points: Line, color: str, width: float = 1.0) -> None:
        places = [(x * SCALE, y * SCALE) for x, y in points]
        self.draw.line(places, fill=color, width=round(width * SCALE), joint="curve")

    def text(self, x: float, y: float, text: str, anchor: str, color: str = INK) -> None:
        self.draw.text((x * SCALE, y * SCALE), text, fill=color, font=self.font, anchor=anchor)


def _draw_panel(
    pen: _Pen, left: float, top: float, title: str, lines: Mapping[str, Line], colors: Mapping[str, str]
) -> None:
    values = [accuracy for line in lines.values() for _, accuracy in line]
    high = math.ceil(max(values) * 20) / 20
    low = max(0.0, high - 0.6)
    x0, x1, y0, y1 = left + LEFT, left + WIDTH - RIGHT, top + HEIGHT - BOTTOM, top + TOP
    span = math.log(SIZES[-1] / SIZES[0])

    def place(size: float, accuracy: float) -> tuple[float, float]:
        across = min(1.0, max(0.0, math.log(size / SIZES[0]) / span))
        return x0 + across * (x1 - x0), y0 - max(0.0, accuracy - low) / (high - low) * (y0 - y1)

    for size in SIZES:
        x, _ = place(size, low)
        pen.line([(x, y0), (x, y1)], GRID)
        pen.text(x, y0 + 6, f"{size:g}", "mt")
    for step in range(7):
        accuracy = low + step * (high - low) / 6
        _, y = place(SIZES[0], accuracy)
        pen.line([(x0, y), (x1, y)], GRID)
        pen.text(x0 - 5, y, f"{accuracy:.2f}", "rm")
    for name, line in lines.items():
        if len(seen := [place(*point) for point in line if point[1] >= low]) > 1:
            pen.line(seen, colors[name], 1.6)
    pen.text((x0 + x1) / 2, top + 8, f"{title}: reuse accuracy on test", "mt")
    pen.text((x0 + x1) / 2, y0 + 22, "size of a class's module / whole network", "mt")


def _draw_legend(pen: _Pen, top: float, width: float, colors: Mapping[str, str]) -> None:
    per_row = 4
    for place, (name, color) in enumerate(colors.items()):
        x, y = 20 + place % per_row * (width - 20) / per_row, top + 10 + place // per_row * 18
        pen.line([(x, y), (x + 22, y)], color, 2.5)
        pen.text(x + 28, y, name, "lm")
