"""The module that NeMo publishes of a Vision Transformer: its own slice, which is no masked network.

Block 0 is whole. Later blocks keep in each linear layer the rows that its mask keeps; queries and keys those of both
their masks. Channels of the residual stream that a block's last mask drops are dropped, so layer norms of later blocks
and the last one are of other widths and begin anew, with weights 1 and biases 0. The logits are those of a new head,
ReLU and a linear layer, on the first class token. Such a module needs tuning before it says anything.

Shapes: T tokens, D channels of the whole network, K kept ones.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core.models import VisionTransformer
from moda_core.units import UnitLayers

LAYERS = ("attention.query", "attention.key", "attention.value", "attention.out", "mlp.0", "mlp.2")  # of a block


def slice_transformer(
    network: nn.Module, sites: UnitLayers, keep: Sequence[Tensor], classes: int
) -> "SlicedTransformer | None":
    """Return the slice of ``vit_small`` or ``deit_small`` of any size; None for another network, or where the sites are
    not those of its mask generators.

    Args:
        network: trained.
        sites: at which the units are.
        keep: the units of the module, L boolean tensors of (N_l,).
        classes: logits of the new head, which is drawn at random.
    """
    if not isinstance(network, VisionTransformer):
        return None
    expected = [f"blocks.{block}.{layer}" for block in range(1, len(network.blocks)) for layer in LAYERS]
    if [site.name for site in sites] != expected:
        return None
    return SlicedTransformer(network, keep, classes)


class SlicedTransformer(nn.Module):
    """A slice of a Vision Transformer, as NeMo publishes it. It has weights of its own, on the network's device.

    Args:
        network: whole; at least two blocks.
        keep: a boolean mask (N_l,) for each layer of LAYERS of each block but the first.
        classes: logits of the new head.
    """

    def __init__(self, network: VisionTransformer, keep: Sequence[Tensor], classes: int) -> None:
        super().__init__()
        whole = copy.deepcopy(network)
        device = whole.positions.device
        masks = [mask_N.to(device) for mask_N in keep]
        self.patches, self.class_tokens, self.positions = whole.patches, whole.class_tokens, whole.positions
        self.first = whole.blocks[0]
        blocks: list[nn.Module] = []
        reads_D = torch.ones_like(masks[3])
        for place, block in enumerate(list(whole.blocks)[1:]):
            of_block = masks[len(LAYERS) * place :][: len(LAYERS)]
            blocks.append(SlicedBlock(block, reads_D, of_block))
            reads_D = of_block[-1]
        self.later = nn.Sequential(*blocks)
        width = int(reads_D.sum())
        self.norm = nn.LayerNorm(width, eps=whole.norm.eps, device=device)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(width, classes)).to(device)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_tokens.expand(images.shape[0], -1, -1), patches], 1) + self.positions
        tokens = self.norm(self.later(self.first(tokens)))
        logits: Tensor = self.head(tokens[:, 0])
        return logits


class SlicedBlock(nn.Module):
    """A block on some channels of the residual stream.

    Args:
        block: whole.
        reads_D: the channels of the stream that it is given.
        keep: a mask for each layer of LAYERS.
    """

    def __init__(self, block: Any, reads_D: Tensor, keep: Sequence[Tensor]) -> None:
        super().__init__()
        query_D, key_D, value_D, out_D, hidden_N, last_D = keep
        attention = block.attention
        both_D = query_D & key_D
        self.heads = attention.heads
        self.norm1, self.norm2 = (
            nn.LayerNorm(int(mask_D.sum()), eps=block.norm1.eps, device=mask_D.device) for mask_D in (reads_D, out_D)
        )
        self.query, self.key = (_cut(layer, both_D, reads_D) for layer in (attention.query, attention.key))
        self.value, self.out = _cut(attention.value, value_D, reads_D), _cut(attention.out, out_D, value_D)
        first, last = _cut(block.mlp[0], hidden_N, out_D), _cut(block.mlp[2], last_D, hidden_N)
        self.mlp = nn.Sequential(first, block.mlp[1], last)
        places = {"reads": reads_D, "both": both_D, "value": value_D, "out": out_D, "last": last_D}
        for name, mask_D in places.items():
            self.register_buffer(f"{name}_index", mask_D.nonzero().flatten())
        self.width = len(reads_D)

    def forward(self, tokens: Tensor) -> Tensor:
        read = self.norm1(tokens)
        query, key, value = (
            self._spread(layer(read), place).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, place in ((self.query, "both"), (self.key, "both"), (self.value, "value"))
        )
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        added = self.out(attended.index_select(-1, self._index("value")))
        stream = self._spread(added, "out") + self._spread(tokens, "reads")
        hidden = self.mlp(self.norm2(stream.index_select(-1, self._index("out"))))
        out: Tensor = hidden + stream.index_select(-1, self._index("last"))
        return out

    def _spread(self, values: Tensor, place: str) -> Tensor:
        """Put K channels in their places among D, the others 0."""
        whole = values.new_zeros(*values.shape[:-1], self.width)
        return whole.index_copy(-1, self._index(place), values)

    def _index(self, place: str) -> Tensor:
        index: Tensor = getattr(self, f"{place}_index")
        return index


def _cut(layer: nn.Module, rows: Tensor, columns: Tensor) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    cut = nn.Linear(int(columns.sum()), int(rows.sum()), device="meta")
    weights = {"weight": layer.weight.detach()[rows][:, columns], "bias": layer.bias.detach()[rows]}
    cut.load_state_dict({name: tensor.clone() for name, tensor in weights.items()}, assign=True)
    return cut
