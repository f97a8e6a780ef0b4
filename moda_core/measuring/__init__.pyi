from .metrics import ModuleMetrics, cohesion, module_metrics, sizes_and_overlaps
from .reuse import (
    ReuseAccuracy,
    ReuseDraw,
    all_subsets,
    draw_pairs,
    draw_subsets,
    estimate_reuse,
    reuse_accuracy,
    reuse_by_composing,
)
from .sizes import count_all_parameters, count_parameters

__all__ = [
    "ModuleMetrics",
    "ReuseAccuracy",
    "ReuseDraw",
    "all_subsets",
    "cohesion",
    "count_all_parameters",
    "count_parameters",
    "draw_pairs",
    "draw_subsets",
    "estimate_reuse",
    "module_metrics",
    "reuse_accuracy",
    "reuse_by_composing",
    "sizes_and_overlaps",
]
