"""Parameters and buffers: ``h * self.scale``, ``(x - self.mean) / self.std``, ``x + self.position_embedding``."""

import operator

import torch
from torch import Tensor, fx, nn

from moda_core.errors import NetworkError
from moda_core.graph.reader import Reader


def add_parameters(reader: Reader, node: fx.Node, op: str) -> bool:
    """Add an addition, subtraction, product or quotient of channels and of one number for each, or the addition of one
    number for each channel and position; False if it is none.
    """
    first, second = node.args
    assert isinstance(first, fx.Node)
    assert isinstance(second, fx.Node)
    constant, image = (second, first) if second in reader.constants else (first, second)
    if image in reader.constants or (op in ("sub", "div") and constant is first):
        return False
    dimension = reader.dimension(node)
    source = reader.input(image, node.name, dimension=dimension, broadcast=True)
    if image.meta["value"].shape != node.meta["value"].shape:
        return False
    path, labels = reader.constants[constant]
    tensor = operator.attrgetter(path)(reader.network)
    trains = isinstance(tensor, nn.Parameter)
    index_C = _per_channel(labels, node.meta["value"].shape, dimension)
    if index_C is None and op == "add" and constant.meta["value"].shape[1:] == image.meta["value"].shape[1:]:
        embedded = embedding(reader, constant, dimension)
        if embedded is not None:
            reader.add(node, "add", {}, [source, embedded], dimension=dimension)
            return True
    if index_C is None or (trains and not torch.equal(index_C, torch.arange(tensor.numel()))):
        raise NetworkError(
            f"node {node.name!r} reads {constant.name!r} ({constant.op} {constant.target}), which cutting does not know"
            f" to follow a channel through: of {constant.name!r} it needs one number per channel; the masked network"
            " still works"
        )
    scales = op in ("mul", "div")
    values_C = tensor.flatten() if trains else tensor.flatten()[index_C.to(tensor.device)]
    if op == "sub":
        values_C = -values_C
    elif op == "div":
        values_C = 1 / values_C
    kind, name = ("scale", "weight" if trains else "factor") if scales else ("shift", "bias" if trains else "offset")
    root = tensor if trains else values_C
    reader.add(node, kind, {"trains": trains}, [source], {name: values_C}, root, dimension=dimension)
    return True


def embedding(reader: Reader, constant: fx.Node, dimension: int) -> str | None:
    """The name of a node that gives a parameter or a buffer of (1, ...), or of (B, ...) alike for every image.

    None where that is not what it is, or where parts of a parameter are left out or read twice.

    Args:
        reader: of the network.
        constant: the traced node of the parameter, maybe moved or expanded.
        dimension: of its channels.
    """
    path, labels = reader.constants[constant]
    tensor = operator.attrgetter(path)(reader.network)
    trains = isinstance(tensor, nn.Parameter)
    if not isinstance(labels, Tensor) or labels.ndim < 3 or not bool((labels == labels[:1]).all()):
        return None
    index_CS = labels.movedim(dimension, 1)[0]
    if trains and not torch.equal(index_CS.flatten().sort().values, torch.arange(tensor.numel())):
        return None
    made = reader.put(constant.name, "embedding", None, len(index_CS), tuple(index_CS.shape[1:]), trains=trains)
    reader.own(made, [tensor])
    (name,) = made.tensors()
    reader.state[f"{made.name}.{name}"] = tensor.detach().flatten()[index_CS.to(tensor.device)]
    return made.name


def _per_channel(labels: Tensor, shape: torch.Size, dimension: int) -> Tensor | None:
    """Which number of a constant every channel meets when it is broadcast, None if its pixels meet several."""
    whole = labels.expand(shape).movedim(dimension, 1)
    shape = whole.shape
    first_C = whole.flatten(2)[0, :, 0] if len(shape) > 2 else whole[0]
    same = torch.equal(whole, first_C.view(1, -1, *[1] * (len(shape) - 2)).expand(shape))
    return first_C if same else None
