from .class_ids import check_class_ids
from .contributions import Contributions, contribution_masks, count_contributions
from .control import random_units
from .decomposition import Decomposition, Masks, MergedUnits, Scales, as_decomposition, merged_units
from .folding import FoldedGates, open_means
from .frequency import (
    Frequencies,
    active_units,
    check_evaluating,
    check_sizes,
    check_thresholds,
    count_frequencies,
)
from .gate_names import GATE_COUNTS, GATE_OPENS, GATE_SIZES, GATE_SUMS
from .gates import Gate, Gated, watch_gates
from .masked import Select, check_keep, mask_network, row_masked_graph
from .masks import floored, keep_masks, keep_some_unit, merge_masks
from .rule_protocol import DEFAULT_FLOOR, Parameter, Rule, check_parameters, check_rule

__all__ = [
    "DEFAULT_FLOOR",
    "GATE_COUNTS",
    "GATE_OPENS",
    "GATE_SIZES",
    "GATE_SUMS",
    "Contributions",
    "Decomposition",
    "FoldedGates",
    "Frequencies",
    "Gate",
    "Gated",
    "Masks",
    "MergedUnits",
    "Parameter",
    "Rule",
    "Scales",
    "Select",
    "active_units",
    "as_decomposition",
    "check_class_ids",
    "check_evaluating",
    "check_keep",
    "check_parameters",
    "check_rule",
    "check_sizes",
    "check_thresholds",
    "contribution_masks",
    "count_contributions",
    "count_frequencies",
    "floored",
    "keep_masks",
    "keep_some_unit",
    "mask_network",
    "merge_masks",
    "merged_units",
    "open_means",
    "random_units",
    "row_masked_graph",
    "watch_gates",
]
