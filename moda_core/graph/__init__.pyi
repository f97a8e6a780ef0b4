from .graph import ChannelGraph
from .layers import build_module, per_channel
from .operations import (
    ATTENDING,
    BROADCASTING,
    INDEXED,
    LARGEST_NUMBER,
    MIXING,
    NORMALISING,
    POINTWISE,
    TRAINABLE,
    Node,
)
from .reading import channel_graph

__all__ = [
    "ATTENDING",
    "BROADCASTING",
    "INDEXED",
    "LARGEST_NUMBER",
    "MIXING",
    "NORMALISING",
    "POINTWISE",
    "TRAINABLE",
    "ChannelGraph",
    "Node",
    "build_module",
    "channel_graph",
    "per_channel",
]
