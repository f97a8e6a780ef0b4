"""One network for a set of classes."""

from collections.abc import Sequence

from torch import Tensor, fx, nn

from moda_core.choosing import Masks, as_decomposition
from moda_core.cutting.extract import cut_network
from moda_core.units import UnitLayers


def compose(
    network: nn.Module, layers: UnitLayers, masks: Masks, class_ids: Sequence[int], example_input: Tensor
) -> fx.GraphModule:
    """Build the module of ``class_ids``: the network cut to the union of their masks, with the logits in the order
    given.

    Args:
        network: the trained network.
        layers: its unit layers.
        masks: L boolean tensors of (C, N_l), from :func:`moda_core.keep_masks`, or a decomposition.
        class_ids: one class or more.
        example_input: one batch, for the shapes.
    """
    return cut_network(network, layers, as_decomposition(masks), class_ids, example_input)
