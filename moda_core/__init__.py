"""Modular training: losses, masks, cutting, composing and measuring, in PyTorch alone."""

from moda_core.compose import compose
from moda_core.contributions import Contributions, contribution_masks, count_contributions
from moda_core.errors import ModuleSetError, NetworkError
from moda_core.export import export_modules
from moda_core.extract import cut_network, largest_difference
from moda_core.frequency import Frequencies, count_frequencies
from moda_core.losses import ModularLosses, modular_losses
from moda_core.masked import mask_network
from moda_core.masks import floored, keep_masks, merge_masks
from moda_core.metrics import ModuleMetrics, cohesion, module_metrics
from moda_core.models import build_model
from moda_core.module_file import Modules, ModuleSet, load_modules, open_modules
from moda_core.replace import (
    ClassAccuracy,
    RawImages,
    ReplacedClass,
    Replacement,
    ReplacementAccuracy,
    replace_class,
    replacement_accuracy,
)
from moda_core.reuse import (
    ReuseAccuracy,
    ReuseDraw,
    all_subsets,
    draw_pairs,
    draw_subsets,
    estimate_reuse,
    reuse_accuracy,
    reuse_by_composing,
)
from moda_core.saving import save_modules, slice_modules
from moda_core.units import UnitLayer, UnitLayers, unit_layers, watch_units

__all__ = [
    "ClassAccuracy",
    "Contributions",
    "Frequencies",
    "ModularLosses",
    "ModuleMetrics",
    "ModuleSet",
    "ModuleSetError",
    "Modules",
    "NetworkError",
    "RawImages",
    "ReplacedClass",
    "Replacement",
    "ReplacementAccuracy",
    "ReuseAccuracy",
    "ReuseDraw",
    "UnitLayer",
    "UnitLayers",
    "all_subsets",
    "build_model",
    "cohesion",
    "compose",
    "contribution_masks",
    "count_contributions",
    "count_frequencies",
    "cut_network",
    "draw_pairs",
    "draw_subsets",
    "estimate_reuse",
    "export_modules",
    "floored",
    "keep_masks",
    "largest_difference",
    "load_modules",
    "mask_network",
    "merge_masks",
    "modular_losses",
    "module_metrics",
    "open_modules",
    "replace_class",
    "replacement_accuracy",
    "reuse_accuracy",
    "reuse_by_composing",
    "save_modules",
    "slice_modules",
    "unit_layers",
    "watch_units",
]
