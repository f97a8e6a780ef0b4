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

__all__ = [
    "ModuleMetrics",
    "ReuseAccuracy",
    "ReuseDraw",
    "all_subsets",
    "cohesion",
    "draw_pairs",
    "draw_subsets",
    "estimate_reuse",
    "module_metrics",
    "reuse_accuracy",
    "reuse_by_composing",
    "sizes_and_overlaps",
]
