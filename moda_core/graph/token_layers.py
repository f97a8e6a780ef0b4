"""The layers of a Transformer, over (images, channels, tokens).

Their results lie in memory as (images, tokens, channels), in which PyTorch computes them, so that nothing is copied
between two of them.

Shapes: B images, C channels, T tokens, H heads.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core.units import attend_by_window, relative_positions, shift_mask


class TokenLinear(nn.Linear):
    """A linear layer from channels to channels, the same at every position."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values.movedim(1, -1)).movedim(-1, 1)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels, at every position alone."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values.movedim(1, -1)).movedim(-1, 1)


class Attention(nn.Module):
    """Attention of heads whose channels lie side by side."""

    def __init__(self, heads: int, scale: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key, value = (part.mT.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        attended = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return attended.transpose(1, 2).flatten(2).mT


class WindowAttention(nn.Module):
    """Attention of heads whose channels lie side by side, within windows, whose tokens lie one after another."""

    def __init__(self, heads: int, attributes: Mapping[str, Any]) -> None:
        super().__init__()
        self.heads = heads
        grid, window, shift = (attributes[name] for name in ("grid", "window", "shift"))
        self.register_buffer("index", relative_positions(window), persistent=False)
        self.register_buffer("mask", shift_mask(grid, window, shift), persistent=False)
        self.index: Tensor
        self.mask: Tensor

    def forward(self, query: Tensor, key: Tensor, value: Tensor, biases: Tensor) -> Tensor:
        query, key, value = (part.mT.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        attended = attend_by_window(query, key, value, biases[0].T, self.index, self.mask)
        return attended.transpose(1, 2).flatten(2).mT


class Embedding(nn.Module):
    """Numbers of its own for every channel and position, for as many images as it is given; a parameter or a buffer."""

    def __init__(self, name: str, shape: tuple[int, ...], *, trains: bool) -> None:
        super().__init__()
        self.name = name
        numbers = torch.empty(shape, device="meta")
        if trains:
            self.register_parameter(name, nn.Parameter(numbers))
        else:
            self.register_buffer(name, numbers)

    def forward(self, images: Tensor) -> Tensor:
        numbers: Tensor = getattr(self, self.name)
        return numbers.expand(images.shape[0], *numbers.shape)


class Positions(nn.Module):
    """Takes positions by index, and gives them another shape."""

    def __init__(self, index: tuple[int, ...], size: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor(index), persistent=False)
        self.index: Tensor
        self.size = size

    def forward(self, values: Tensor) -> Tensor:
        chosen = values.flatten(2).index_select(2, self.index)
        return chosen.reshape(*values.shape[:2], *self.size)


class ConcatTokens(nn.Module):
    """Puts tokens one after another."""

    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat([part.mT for part in parts], 1).mT
