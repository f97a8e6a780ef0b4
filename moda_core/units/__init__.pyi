from .activations import ACTIVATIONS
from .attention import attention_arguments, is_attention
from .calls import argument, arguments
from .dimensions import channel_dimensions
from .gate_places import gate_sites, gate_source
from .in_place import refuse_in_place
from .layers import UnitLayer, UnitLayers, along, rewrite_units, unit_layers, unit_sites, unit_values, watch_units
from .movement import decode, holds_tensor, is_movement, run_movement
from .tracing import trace_with_shapes
from .windows import attend_by_window, relative_positions, shift_mask, window_attention

__all__ = [
    "ACTIVATIONS",
    "UnitLayer",
    "UnitLayers",
    "along",
    "argument",
    "arguments",
    "attend_by_window",
    "attention_arguments",
    "channel_dimensions",
    "decode",
    "gate_sites",
    "gate_source",
    "holds_tensor",
    "is_attention",
    "is_movement",
    "refuse_in_place",
    "relative_positions",
    "rewrite_units",
    "run_movement",
    "shift_mask",
    "trace_with_shapes",
    "unit_layers",
    "unit_sites",
    "unit_values",
    "watch_units",
    "window_attention",
]
