from .bias import fit_bias
from .budget import draw_budget, spread_sizes
from .metrics import ModuleMetrics, cohesion, module_metrics, sizes_and_overlaps
from .rejection import ACCEPTED, accepted_share, draw_outside, least_logits
from .reuse import (
    ReuseAccuracy,
    ReuseDraw,
    all_subsets,
    correct_pairs,
    draw_pairs,
    draw_subsets,
    estimate_reuse,
    reuse_accuracy,
    reuse_by_composing,
    reuse_logits,
    summarize_reuse,
)
from .sizes import composed_sizes, count_all_parameters, count_parameters

__all__ = [
    "ACCEPTED",
    "ModuleMetrics",
    "ReuseAccuracy",
    "ReuseDraw",
    "accepted_share",
    "all_subsets",
    "cohesion",
    "composed_sizes",
    "correct_pairs",
    "count_all_parameters",
    "count_parameters",
    "draw_budget",
    "draw_outside",
    "draw_pairs",
    "draw_subsets",
    "estimate_reuse",
    "fit_bias",
    "least_logits",
    "module_metrics",
    "reuse_accuracy",
    "reuse_by_composing",
    "reuse_logits",
    "sizes_and_overlaps",
    "spread_sizes",
    "summarize_reuse",
]
