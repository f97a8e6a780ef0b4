"""Attention within windows of an image, as torchvision's Swin has it: with a bias for each relative position, and
windows that are shifted.

Tokens are put in the order of their windows before queries, keys and values are computed, and back behind the
projection, so that every call in between is one on (images, tokens, channels).

Shapes: B samples, H heads, T tokens in the order of windows, W windows of N tokens, d numbers of a head, P relative
positions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

MODULE = "torchvision.models.swin_transformer"  # which is not imported
BIAS_FUNCTION = "_get_relative_position_bias"  # of it: makes scores of a table
MASKED = -100.0  # what is added to scores of tokens that meet in a window only because it is shifted


def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    table: Tensor,
    grid: Sequence[int],
    window: Sequence[int],
    shift: Sequence[int],
) -> Tensor:
    """Compute attention of every token to the tokens of its window.

    Args:
        query: (B, H, T, d), scaled here by the root of d.
        key: likewise.
        value: likewise.
        table: (P, H), what is added to the scores of two tokens by where they lie to each other.
        grid: windows above and beside one another.
        window: tokens above and beside one another in a window.
        shift: by how many tokens windows are shifted, down and right.

    Returns:
        (B, H, T, d).
    """
    index_NN = relative_positions(window).to(table.device)
    mask_WNN = shift_mask(grid, window, shift).to(table.device)
    return attend_by_window(query, key, value, table, index_NN, mask_WNN)


def attend_by_window(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, index_NN: Tensor, mask_WNN: Tensor
) -> Tensor:
    """Compute :func:`window_attention` with what :func:`relative_positions` and :func:`shift_mask` give."""
    scores_HWNN = table[index_NN].movedim(-1, 0)[:, None].to(query.dtype) + mask_WNN.to(query.dtype)
    heads, windows = scores_HWNN.shape[:2]
    # Windows are as heads: exports know attention of four dimensions.
    query, key, value = (part.unflatten(2, (windows, -1)).flatten(1, 2) for part in (query, key, value))
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=scores_HWNN.flatten(0, 1))
    by_head: Tensor = attended.unflatten(1, (heads, windows)).flatten(2, 3)
    return by_head


def relative_positions(window: Sequence[int]) -> Tensor:
    """Return which row of the table two tokens of a window have, (N, N)."""
    height, width = window
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    differences = places[:, None] - places[None] + torch.tensor([height - 1, width - 1])
    return differences[..., 0] * (2 * width - 1) + differences[..., 1]


def shift_mask(grid: Sequence[int], window: Sequence[int], shift: Sequence[int]) -> Tensor:
    """Return what is added to scores where windows are shifted, (W, N, N): 0 or MASKED."""
    sides = [count * side for count, side in zip(grid, window, strict=True)]
    regions = torch.zeros(sides)
    parts = [((0, -side), (-side, -step), (-step, None)) for side, step in zip(window, shift, strict=True)]
    for row, (top, bottom) in enumerate(parts[0]):
        for column, (left, right) in enumerate(parts[1]):
            regions[top:bottom, left:right] = 3 * row + column
    region_WN = _by_window(regions, window)
    return torch.where(region_WN[:, :, None] == region_WN[:, None], 0.0, MASKED)


def is_window_attention(function: Any, arguments: Sequence[Any], options: dict[str, Any]) -> bool:
    """Return whether a call is of torchvision's function for Swin, with nothing that is dropped, and not Swin V2's."""
    given = dict(zip(NAMES, arguments, strict=False)) | options
    return (
        _is_of_swin(function, "shifted_window_attention")
        and given.get("logit_scale") is None
        and not given.get("attention_dropout")
        and not given.get("dropout")
    )


NAMES = (
    *("input", "qkv_weight", "proj_weight", "relative_position_bias", "window_size", "num_heads", "shift_size"),
    *("attention_dropout", "dropout", "qkv_bias", "proj_bias", "logit_scale", "training"),
)


def attend_in_windows(arguments: Sequence[Any], options: dict[str, Any], table: Any, call: Callable[..., Any]) -> Any:
    """Compute what torchvision's function for Swin does, call by call.

    Args:
        arguments: of the function.
        options: by name.
        table: of biases, from which the argument of the function was made.
        call: makes a call of :func:`window_attention` with the arguments that it is given.
    """
    given = dict(zip(NAMES, arguments, strict=False)) | options
    images, heads, window = given["input"], given["num_heads"], tuple(given["window_size"])
    _, height, width, _ = images.shape
    grid = tuple(-(-side // step) for side, step in zip((height, width), window, strict=True))
    # A window as large as what there is, is not shifted.
    shift = tuple(0 if count == 1 else step for count, step in zip(grid, given["shift_size"], strict=True))
    order, back = window_order((height, width), grid, window, shift)
    tokens = images.flatten(1, 2)
    if len(order) > len(back):  # tokens of zeros fill the last windows
        zeros = tokens * 0
        tokens = torch.cat([tokens, *[zeros] * -(-(len(order) - len(back)) // len(back))], 1)
    projected = F.linear(tokens[:, order], given["qkv_weight"], given["qkv_bias"])
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in projected.chunk(3, -1))
    attended = call(query, key, value, table, list(grid), list(window), list(shift))
    out = F.linear(attended.transpose(1, 2).flatten(2), given["proj_weight"], given["proj_bias"])
    return out[:, back].unflatten(1, (height, width))


def is_patch_merging(function: Any, arguments: Sequence[Any]) -> bool:
    """Return whether a call is of torchvision's function that puts four neighbours' channels side by side, of an image
    with even sides.
    """
    is_named = _is_of_swin(function, "_patch_merging_pad")
    return is_named and not any(side % 2 for side in arguments[0].shape[-3:-1])


def merge_patches(images: Any) -> Any:
    """Compute what torchvision's function does, call by call: (B, height, width, C) to half the sides and 4 C."""
    places = ((0, 0), (1, 0), (0, 1), (1, 1))
    together = torch.cat([images[:, row::2, column::2] for row, column in places], -1)
    return together.contiguous()  # torch.fx marks the last call as one of a wrapped function, which torch.cat is not


def window_order(
    size: tuple[int, int], grid: Sequence[int], window: Sequence[int], shift: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return the tokens of an image in the order of windows, and where each token of the image stands in this order.

    Tokens that fill the last windows are those after the last one of the image.
    """
    height, width = size
    sides = [count * side for count, side in zip(grid, window, strict=True)]
    in_image = torch.zeros(sides, dtype=torch.bool)
    in_image[:height, :width] = True
    padded = torch.where(in_image, in_image.flatten().cumsum(0).view(sides) - 1, 0)
    padded[~in_image] = torch.arange(height * width, in_image.numel())
    rolled = padded.roll((-shift[0], -shift[1]), (0, 1))
    order = _by_window(rolled, window).flatten()
    return order.tolist(), order.argsort()[: height * width].tolist()


def _is_of_swin(function: Any, name: str) -> bool:
    return (getattr(function, "__module__", None), getattr(function, "__name__", None)) == (MODULE, name)


def _by_window(sides: Tensor, window: Sequence[int]) -> Tensor:
    """(height, width) as (W, N)."""
    height, width = window
    by_window: Tensor = sides.unflatten(0, (-1, height)).unflatten(2, (-1, width)).transpose(1, 2).flatten(2)
    return by_window.flatten(0, 1)
