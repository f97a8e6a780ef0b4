from .composing import compose
from .extract import LARGEST_DIFFERENCE, cut_graph, cut_network, largest_difference, relative_difference
from .held import Held, held_channels, masked_channels
from .refitting import refit_graph, refit_network
from .slices import slice_state, stored_shape

__all__ = [
    "LARGEST_DIFFERENCE",
    "Held",
    "compose",
    "cut_graph",
    "cut_network",
    "held_channels",
    "largest_difference",
    "masked_channels",
    "refit_graph",
    "refit_network",
    "relative_difference",
    "slice_state",
    "stored_shape",
]
