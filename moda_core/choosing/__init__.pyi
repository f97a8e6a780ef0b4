from .contributions import Contributions, contribution_masks, count_contributions
from .frequency import Frequencies, active_units, check_thresholds, count_frequencies
from .masked import Select, check_keep, mask_network, row_masked_graph
from .masks import check_class_ids, floored, keep_masks, merge_masks

__all__ = [
    "Contributions",
    "Frequencies",
    "Select",
    "active_units",
    "check_class_ids",
    "check_keep",
    "check_thresholds",
    "contribution_masks",
    "count_contributions",
    "count_frequencies",
    "floored",
    "keep_masks",
    "mask_network",
    "merge_masks",
    "row_masked_graph",
]
