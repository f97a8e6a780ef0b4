"""Parameters and buffers that scale or shift channels: ``h * self.scale``, ``(x - self.mean) / self.std``."""

import operator

import torch
from torch import Tensor, fx, nn

from moda_core.errors import NetworkError
from moda_core.graph.reader import Reader


def add_per_channel(reader: Reader, node: fx.Node, op: str) -> bool:
    """Add an addition, subtraction, product or quotient of channels and of one number for each; False if it is none."""
    first, second = node.args
    assert isinstance(first, fx.Node)
    assert isinstance(second, fx.Node)
    constant, image = (second, first) if second in reader.constants else (first, second)
    if image in reader.constants or (op in ("sub", "div") and constant is first):
        return False
    source = reader.input(image, node.name, broadcast=True)
    if image.meta["value"].shape != node.meta["value"].shape:
        return False
    path, labels = reader.constants[constant]
    tensor = operator.attrgetter(path)(reader.network)
    trains = isinstance(tensor, nn.Parameter)
    index_C = _per_channel(labels, node.meta["value"].shape)
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
    reader.add(node, kind, {"trains": trains}, [source], {name: values_C}, tensor if trains else values_C)
    return True


def _per_channel(labels: Tensor, shape: torch.Size) -> Tensor | None:
    """Which number of a constant every channel meets when it is broadcast, None if its pixels meet several."""
    whole = labels.expand(shape)
    first_C = whole.flatten(2)[0, :, 0] if len(shape) > 2 else whole[0]
    same = torch.equal(whole, first_C.view(1, -1, *[1] * (len(shape) - 2)).expand(shape))
    return first_C if same else None
