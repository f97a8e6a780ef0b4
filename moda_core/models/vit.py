"""Vision Transformers for small images: pre-norm blocks of attention and a hidden layer with GELU.

The sizes and the initialisation are those of NeMo's ViT-S and DeiT-S, which are trained from scratch on images of 32 x
32 in patches of 4 x 4.

Shapes: B images, T tokens (class tokens first), D channels, H heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core.models.initialising import TRANSFORMER_DEVIATION
from moda_core.models.width import check_width

EPSILON = 1e-12  # of layer norms, as published
HIDDEN = 4  # hidden units of a block, in widths


class SelfAttention(nn.Module):
    """Attention of every token to all tokens; a head's output, before ``out``, is a unit."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention, then a hidden layer with GELU, each after a layer norm and added to the residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = nn.Sequential(nn.Linear(width, HIDDEN * width), nn.GELU(), nn.Linear(HIDDEN * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens))
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


class VisionTransformer(nn.Module):
    """A Vision Transformer whose logits are the mean of one linear layer on each of its class tokens.

    Args:
        in_channels: channels of the image.
        image_size: its height and width, a multiple of ``patch``.
        num_classes: number of logits.
        width: channels of a token, a multiple of ``heads``.
        depth: number of blocks.
        heads: of each block's attention.
        patch: height and width of a patch.
        class_tokens: 1, or 2 with the distillation token of DeiT.

    Raises:
        ValueError: sizes that do not fit one another, or that are not whole numbers of at least 1.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        image_size: int,
        num_classes: int,
        width: int,
        depth: int,
        heads: int,
        patch: int,
        class_tokens: int,
    ) -> None:
        super().__init__()
        check_width(width)
        for name, value in (("depth", depth), ("heads", heads), ("patch", patch)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"model.{name}={value!r} must be a whole number of at least 1")
        if width % heads:
            raise ValueError(f"model.width={width} must be a multiple of model.heads={heads}")
        if image_size % patch:
            raise ValueError(f"images of {image_size} x {image_size} do not split into patches of model.patch={patch}")
        tokens = (image_size // patch) ** 2 + class_tokens
        self.patches = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.class_tokens = nn.Parameter(torch.empty(1, class_tokens, width))
        self.positions = nn.Parameter(torch.empty(1, tokens, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.heads = nn.ModuleList(nn.Linear(width, num_classes) for _ in range(class_tokens))
        nn.init.normal_(self.class_tokens, std=TRANSFORMER_DEVIATION)
        nn.init.normal_(self.positions, std=TRANSFORMER_DEVIATION)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_tokens.expand(images.shape[0], -1, -1), patches], 1) + self.positions
        tokens = self.norm(self.blocks(tokens))
        logits: list[Tensor] = [head(tokens[:, place]) for place, head in enumerate(self.heads)]
        return logits[0] if len(logits) == 1 else sum(logits[1:], logits[0]) / len(logits)


def vit_small(
    *,
    in_channels: int,
    image_size: int,
    num_classes: int,
    width: int = 384,
    depth: int = 12,
    heads: int = 12,
    patch: int = 4,
) -> VisionTransformer:
    """ViT-S: two unit layers a block, its heads and its hidden units."""
    return VisionTransformer(
        in_channels=in_channels,
        image_size=image_size,
        num_classes=num_classes,
        width=width,
        depth=depth,
        heads=heads,
        patch=patch,
        class_tokens=1,
    )


def deit_small(
    *,
    in_channels: int,
    image_size: int,
    num_classes: int,
    width: int = 384,
    depth: int = 12,
    heads: int = 6,
    patch: int = 4,
) -> VisionTransformer:
    """DeiT-S, with a distillation token beside the class token; the logits are the mean of the two heads."""
    return VisionTransformer(
        in_channels=in_channels,
        image_size=image_size,
        num_classes=num_classes,
        width=width,
        depth=depth,
        heads=heads,
        patch=patch,
        class_tokens=2,
    )
