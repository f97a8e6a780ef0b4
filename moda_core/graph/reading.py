"""From a network to its channel graph: every call of the traced graph as an operation of the allow-list, or refused."""

from torch import Tensor, fx, nn

from moda_core.errors import GraphError, NetworkError
from moda_core.graph.graph import ChannelGraph
from moda_core.graph.reader import Reader, unknown
from moda_core.graph.translations import translate
from moda_core.units import UnitLayers, holds_tensor, is_movement, refuse_in_place, trace_with_shapes


def channel_graph(
    network: nn.Module, layers: UnitLayers, example_input: Tensor
) -> tuple[ChannelGraph, dict[str, Tensor]]:
    """Return the network's channel graph and its tensors, named ``node.tensor``. They are the network's own; only class
    tokens and embeddings of positions are copied, since they lie in another order.

    Raises:
        NetworkError: an operation that the allow-list does not know, by node and name.
    """
    graph = trace_with_shapes(network, example_input)
    if _calls(graph) != _calls(layers.graph):
        raise NetworkError(
            f"{type(network).__name__} does not run as it did when its unit layers were found (in another mode?); call"
            " unit_layers again"
        )
    logits = next(node.args[0] for node in graph.nodes if node.op == "output")
    if not isinstance(logits, fx.Node):
        raise NetworkError(
            f"{type(network).__name__} returns {str(logits)[:200]}; a network that returns its logits alone is needed"
        )
    reader = Reader(network, layers, graph)
    try:
        _read(reader, logits)
        found = ChannelGraph(tuple(reader.nodes.values()), reader.widths)
    except GraphError as error:
        raise NetworkError(f"{error}; the masked network still works") from error
    if not reader.state:
        raise NetworkError(f"{type(network).__name__} has no layer with weights that could be cut")
    return found, reader.state


def _calls(graph: fx.Graph) -> list[tuple[str, str]]:
    return [(node.op, str(node.target)) for node in graph.nodes]


def _read(reader: Reader, logits: fx.Node) -> None:
    for node in reader.graph.nodes:
        refuse_in_place(node)
    for node in reader.graph.nodes:
        if node.op == "output":
            break
        if node.op == "placeholder":
            reader.add(node, "input", {}, [])
        elif not node.users and node.op in ("call_function", "call_method") and node.name not in reader.layer_of:
            continue  # nobody reads it
        elif node.op == "get_attr":
            reader.add_constant(node)
        elif reader.follows(node) and is_movement(node, reader.modules):
            reader.move(node)
        elif holds_tensor(node.meta["value"]) and not translate(reader, node):
            raise unknown(node, reader.modules)
        reader.mark_units(node)
        if node is logits:
            break
    reader.finish(logits)
