"""The symbolic graph of a network, with the shape of everything in it, and the proof that it computes the same."""

import linecache
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn import functional as F
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from moda_core.errors import NetworkError
from moda_core.modes import device_of
from moda_core.units.attention import name_attention
from moda_core.units.by_hand import name_activations
from moda_core.units.calls import argument
from moda_core.units.in_place import mark_in_place
from moda_core.units.proxies import CONSTANT, ShapeTracer

DROPOUT_FUNCTIONS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)
RANDOM = ("bernoulli", "bernoulli_", "rand_like", "randn_like", "uniform_", "normal_", "exponential_", "random_")
WRAPPERS = (torch.jit.ScriptModule, nn.DataParallel, nn.parallel.DistributedDataParallel)
LARGEST_DIFFERENCE = 1e-3  # of the traced network's outputs from the network's own, relative to the largest
LONGEST_MESSAGE = 480
FACTORY = re.compile(r"(zeros|ones|full|empty|arange|rand|randn|eye|linspace)\(\)")


def trace_with_shapes(network: nn.Module, example_input: Tensor) -> fx.Graph:
    """Trace the network symbolically and run it once; ``node.meta["value"]`` holds every node's value, or a tensor's
    shape.

    Raises:
        NetworkError: a network that does not take the images, or that cannot be traced: the line and what to write.
    """
    if hiding := [name for name, module in network.named_modules() if isinstance(module, WRAPPERS)]:
        raise _refusal(
            network, f"wraps {hiding[0] or 'a network'}, which hides what it computes; give the nn.Module inside it"
        )
    batches = _batch(example_input, 2), _batch(example_input, 3)
    tracer = ShapeTracer(batches)
    with _steady(network, tracer):
        _output(network, batches[0])
        try:
            graph = tracer.trace(network)
        except Exception as error:  # whatever a network's own code raises when it is given a proxy
            raise _refusal(network, f"cannot be traced{_place(error)}: {_remedy(error)}") from error
    for node in graph.nodes:
        if node.op != "output" and _is_random(node):
            called = str(getattr(node.target, "__name__", node.target))
            layer = "nn.BatchNorm2d" if "norm" in called else "nn.Dropout or torchvision.ops.StochasticDepth"
            raise _refusal(
                network,
                f"node {node.name!r}: tracing freezes {called}, which differs in training; use a module such as"
                f" {layer}, made in __init__",
            )
    modules = dict(network.named_modules())
    name_activations(graph, modules)
    name_attention(graph, modules)
    for node in reversed(list(graph.nodes)):
        value = node.meta.pop("runs")[0]
        if node.op == "get_attr" and isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            node.meta["constant"] = value
        node.meta["value"] = map_aggregate(value, _without_data)
        if not node.users and node.op.startswith("call_") and isinstance(value, int | bool):
            graph.erase_node(node)
    mark_in_place(graph, modules)
    return graph


def prove_trace(network: nn.Module, graph: fx.Graph, example_input: Tensor) -> None:
    """Refuse a graph that computes anything else than the network for one, two or three images.

    Raises:
        NetworkError: a network that does not take one of them, or computes by something that tracing freezes.
    """
    with _steady(network, ShapeTracer((example_input, example_input))):
        traced = fx.GraphModule(network, graph)
        for count in (1, 2, 3):
            images = _batch(example_input, count)
            expected = _output(network, images.clone())
            try:
                is_same = _equal(expected, found := traced(images))
            except (RuntimeError, IndexError, ValueError):  # as of parts of a batch that has fewer images
                is_same = False
            if not is_same:
                raise _refusal(
                    network,
                    f"computes something else than its traced graph for a batch of {count}: it depends on the number"
                    " of images, draws at random, or works in place on what is read again; write it without",
                )
            rows = next((value.shape[:1] for value in tree_leaves(found) if isinstance(value, Tensor)), None)
            if rows != (count,):
                raise _refusal(
                    network,
                    f"gives no row of logits for each image of a batch of {count}; write .flatten(1) instead of"
                    " .squeeze(), and x.size(0) instead of a fixed number of images",
                )


def _batch(example_input: Tensor, count: int) -> Tensor:
    """So many images of the example's shape: noise, so that two computations rarely agree by chance."""
    shape = (count, *example_input.shape[1:])
    if not example_input.is_floating_point():
        return example_input[:1].expand(shape).clone()
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(count))
    return noise.to(example_input)


@contextmanager
def _steady(network: nn.Module, tracer: ShapeTracer) -> Iterator[None]:
    """No gradients, no dropout, no statistics; random numbers, buffers, attributes and modes are put back afterwards.

    A module that tracing follows keeps its mode, since the mode may decide what it computes.
    """
    device = device_of(network)
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers() if not is_lazy(buffer)]
    kept = [(module, dict(vars(module)), dict(module._buffers)) for module in network.modules()]
    for name, module in network.named_modules():
        if tracer.is_leaf_module(module, name):
            module.training = False
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):  # an expanded one cannot be written to
                    buffer.copy_(before)
        for module, attributes, named_buffers in kept:
            if not isinstance(module, LazyModuleMixin):  # whose first call makes it what it is
                _put_back(module, attributes)
                module._buffers.update(named_buffers)
            module.training = attributes["training"]


def _put_back(module: nn.Module, attributes: dict[str, Any]) -> None:
    """Take away what a call of the network left in a module, symbolic values among it."""
    for name in [name for name in vars(module) if name not in attributes and not name.startswith(CONSTANT)]:
        delattr(module, name)
    vars(module).update(attributes)


def _output(network: nn.Module, images: Tensor) -> Any:
    try:
        return network(images)
    except Exception as error:  # whatever a network's own code raises
        shape, count = tuple(images.shape[1:]), len(images)
        text = f"does not take images of shape {shape} (a batch of {count}){_place(error)}: {_text(error)}"
        raise _refusal(network, text) from error


def _refusal(network: nn.Module, text: str) -> NetworkError:
    message = f"{type(network).__name__} {text}"
    return NetworkError(message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]} ...")


def _place(error: Exception) -> str:
    """Where in the user's own code an error arose."""
    libraries = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(libraries):
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f" ({Path(frame.filename).name}:{frame.lineno} {line[:100]!r})"
    return ""


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:250] or type(error).__name__


def _remedy(error: Exception) -> str:
    """What went wrong in tracing, and what to write instead."""
    text = _text(error)
    if isinstance(error, NetworkError):
        return text
    if "item assignment" in text:
        return "it assigns into a tensor; write torch.cat, torch.where or F.pad"
    if FACTORY.match(text):
        return f"torch.{text.split('(')[0]} is given the number of images; write x.new_zeros, x.new_ones or x.new_full"
    if "Proxy" in text or "TracedValue" in text:
        return f"{text[:150]}; only operations of torch on tensors can be followed (of a scripted function, itself)"
    return text


def _is_random(node: fx.Node) -> bool:
    """Whether a function drops or draws at random, in training alone or always: it was traced in one mode only."""
    if node.op == "call_method":
        return node.target in RANDOM
    if node.op != "call_function":
        return False
    if getattr(node.target, "__name__", "") in RANDOM:
        return True
    shares = [value for key, value in node.kwargs.items() if "dropout" in key]
    if argument(node, "p") is not None:
        shares.append(argument(node, "p"))
    if shares and not any(shares):
        return False  # it drops nothing
    attends = node.target is F.scaled_dot_product_attention and bool(shares)
    return attends or "training" in node.kwargs or node.target in DROPOUT_FUNCTIONS


def _without_data(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) else value


def _equal(expected: Any, found: Any) -> bool:
    """Whether two outputs hold the same tensors, up to rounding."""
    pairs = [[value for value in tree_leaves(output) if isinstance(value, Tensor)] for output in (expected, found)]
    if [value.shape for value in pairs[0]] != [value.shape for value in pairs[1]]:
        return False
    return all(_close(*values) for values in zip(*pairs, strict=True))


def _close(expected: Tensor, found: Tensor) -> bool:
    wide = torch.float64
    expected, found = expected.to(wide).nan_to_num(), found.to(wide).nan_to_num()
    if expected.numel() == 0:
        return True
    return bool((expected - found).abs().max() <= LARGEST_DIFFERENCE * expected.abs().max())
