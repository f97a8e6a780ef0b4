from .compared import compared_table
from .confirmed import confirmation_lines, confirmation_table
from .garbage import Removable, garbage_table, mebibytes, unknown_lines
from .page import render_report
from .pairs import objectives_figure
from .progress import Progress
from .rows import render_rows
from .stages import tables_beside
from .terminal import front_table, losses_text, replacement_table, replacement_verdict, surface_table
from .wandb_front import show_sweep

__all__ = [
    "Progress",
    "Removable",
    "compared_table",
    "confirmation_lines",
    "confirmation_table",
    "front_table",
    "garbage_table",
    "losses_text",
    "mebibytes",
    "objectives_figure",
    "render_report",
    "render_rows",
    "replacement_table",
    "replacement_verdict",
    "show_sweep",
    "surface_table",
    "tables_beside",
    "unknown_lines",
]
