from .compared import compared_table
from .configuration import config_rows, config_yaml, configuration_page
from .confirmed import confirmation_lines, confirmation_table
from .costs import costs_table
from .findings import NOTED, RIGHT, WRONG, Finding, findings_table
from .garbage import Removable, garbage_table, mebibytes, unknown_lines
from .page import render_report
from .pairs import objectives_figure
from .per_class import worst_class_text
from .progress import Progress
from .rows import render_rows
from .stages import tables_beside
from .sweep_run import SweepRun
from .sweep_tables import comparison_tables, status_lines, sweeps_table, trial_lines
from .terminal import (
    bytes_text,
    duration_text,
    front_table,
    losses_text,
    metrics_text,
    reference_text,
    replacement_table,
    replacement_verdict,
    surface_table,
)

__all__ = [
    "NOTED",
    "RIGHT",
    "WRONG",
    "Finding",
    "Progress",
    "Removable",
    "SweepRun",
    "bytes_text",
    "compared_table",
    "comparison_tables",
    "config_rows",
    "config_yaml",
    "configuration_page",
    "confirmation_lines",
    "confirmation_table",
    "costs_table",
    "duration_text",
    "findings_table",
    "front_table",
    "garbage_table",
    "losses_text",
    "mebibytes",
    "metrics_text",
    "objectives_figure",
    "reference_text",
    "render_report",
    "render_rows",
    "replacement_table",
    "replacement_verdict",
    "status_lines",
    "surface_table",
    "sweeps_table",
    "tables_beside",
    "trial_lines",
    "unknown_lines",
    "worst_class_text",
]
