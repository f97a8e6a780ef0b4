"""The outputs of convolutions as sites, after batch norm: where methods with mask generators multiply by a mask."""

from collections.abc import Mapping

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from moda_core.errors import NetworkError
from moda_core.units.layers import UnitLayers, unit_sites


def later_convolutions(network: nn.Module, example_input: Tensor) -> UnitLayers:
    """Return the output of every convolution but the first one in order of execution, as sites.

    The site is the batch norm of a convolution where there is one that alone reads it, else the convolution: before
    the activation, and before a residual addition. A convolution of a shortcut is one like any other. Which one is the
    first is decided by its place in the graph, and no number of channels plays a part.

    Args:
        network: any network that ``torch.fx`` can trace symbolically.
        example_input: one batch, for the shapes; its values do not matter.

    Raises:
        NetworkError: as :func:`unit_sites`; or a network with fewer than two convolutions.
    """
    modules = dict(network.named_modules())
    convolutions: list[fx.Node] = []

    def is_site(node: fx.Node, module: nn.Module | None) -> bool:
        if isinstance(module, nn.Conv2d):
            convolutions.append(node)
            return len(convolutions) > 1 and _batch_norm(node, modules) is None
        source = next(iter(node.all_input_nodes), None)
        return source in convolutions[1:] and _batch_norm(source, modules) is node

    try:
        return unit_sites(network, example_input, is_site)
    except NetworkError as error:
        if len(convolutions) > 1:
            raise
        raise NetworkError(
            f"{type(network).__name__} has no convolution after a first one, which mask generators need; choose another"
            " model or another method"
        ) from error


def convolution_input(site: fx.Node, modules: Mapping[str, nn.Module]) -> fx.Node:
    """Return what the convolution of a site reads.

    Args:
        site: the node of a site of :func:`later_convolutions`, in any graph of the same network.
        modules: the network's modules by name.
    """
    is_convolution = site.op == "call_module" and isinstance(modules[str(site.target)], nn.Conv2d)
    convolution = site if is_convolution else site.all_input_nodes[0]
    return convolution.all_input_nodes[0]


def _batch_norm(convolution: fx.Node, modules: Mapping[str, nn.Module]) -> fx.Node | None:
    """The batch norm that alone reads a convolution."""
    readers = list(convolution.users)
    if len(readers) != 1 or readers[0].op != "call_module":
        return None
    return readers[0] if isinstance(modules[str(readers[0].target)], _BatchNorm) else None
