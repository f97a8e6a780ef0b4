"""Training methods that the packages know nothing of, for test_method.py.

Shapes: B samples, N units of a layer.
"""

import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, fx, nn
from torch.nn import functional as F

from moda_core import unit_layers
from moda_core.methods import Images, Method, Mwt, Objective, Prepared, StepCheckpoint, Workers, cross_entropy
from moda_core.units import along, rewrite_units
from tests.integration.gates import wait_at

STEP = 0.05
FEW = 10  # images; a dry run, which nobody waits for, has fewer


def _means(activation: Tensor) -> Tensor:
    """One value per sample and unit (B, N), the units in dimension 1."""
    return activation if activation.ndim == 2 else activation.flatten(2).mean(2)


def _masked(activation: Tensor, mask_BN: Tensor) -> Tensor:
    return activation * along(mask_BN, activation, 1)


@dataclass(frozen=True)
class Toy(Method):
    """Masks every unit layer by a generator of its own, wants small masks, and afterwards trains without them.

    Attributes:
        weight: of the sparsity.
        passes: of the step after training.
        gate: a folder in which that step waits after its first pass, as of :class:`tests.integration.gates.Gate`.
    """

    terms: ClassVar[tuple[str, ...]] = ("sparsity",)
    space: ClassVar[dict[str, dict[str, Any]]] = {"weight": {"low": 0.01, "high": 1.0, "log": True}}
    baselines: ClassVar[tuple[dict[str, Any], ...]] = ({"weight": 0.0},)

    weight: float = 0.1
    passes: int = 2
    gate: str = ""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"method.weight={self.weight} must be at least 0")

    def prepare(self, network: nn.Module, example: Tensor) -> Prepared:
        layers = unit_layers(network, example)
        generators = nn.ModuleList(nn.Linear(width, width) for width in layers.widths)
        masks: list[fx.Node] = []

        def mask(graph: fx.Graph, node: fx.Node, layer: int) -> fx.Node:
            made = graph.call_module(f"generators.{layer}", (graph.call_function(_means, (node,)),))
            masks.append(graph.call_function(torch.sigmoid, (made,)))
            return graph.call_function(_masked, (node, masks[-1]))

        graph = rewrite_units(layers, mask)
        output = next(node for node in graph.nodes if node.op == "output")
        output.args = ((output.args[0], masks),)
        names = [str(node.target) for node in layers.graph.nodes if node.op in ("call_module", "get_attr")]
        parts = {name: operator.attrgetter(name)(network) for name in names}
        parts |= {f"generators.{index}": generator for index, generator in enumerate(generators)}
        return Prepared(fx.GraphModule(parts, graph), generators)

    def objective(self, output: Any, labels: Tensor, *, num_classes: int, size: int, workers: Workers) -> Objective:
        logits, masks = output
        entropy = cross_entropy(logits, labels, size=size, workers=workers)
        sparsity = torch.stack([mask_BN.mean(1).sum() for mask_BN in masks]).mean() * (workers.world / size)
        return Objective(entropy + self.weight * sparsity, entropy, {"sparsity": sparsity}, logits)

    def after(
        self,
        network: nn.Module,
        parts: nn.Module | None,
        images: Images,
        *,
        num_classes: int,
        workers: Workers,
        checkpoint: StepCheckpoint,
    ) -> None:
        """Steps of the whole training set without masks: what is cut has none."""
        done = 0
        if checkpoint.state is not None:
            done = checkpoint.state["done"]
            network.load_state_dict(checkpoint.state["network"])
        for number in range(done, self.passes):
            network.zero_grad()
            for batch, labels in images.batches(rank=workers.rank, world=workers.world):
                (F.cross_entropy(network(batch), labels, reduction="sum") / len(images)).backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    if workers.group is not None:
                        dist.all_reduce(gradient, group=workers.group)
                    parameter.sub_(gradient, alpha=STEP)
            checkpoint.save({"done": number + 1, "network": network.state_dict()})
            is_dry_run = len(images) < FEW
            if self.gate and number == 0 and workers.rank == 0 and not is_dry_run:
                wait_at(Path(self.gate))


@dataclass(frozen=True)
class Gated(Mwt):
    """Has gates: those of MwT, wanted to be closed."""

    terms: ClassVar[tuple[str, ...]] = ("openness",)

    def objective(self, output: Any, labels: Tensor, *, num_classes: int, size: int, workers: Workers) -> Objective:
        logits, gates = output
        entropy = cross_entropy(logits, labels, size=size, workers=workers)
        openness = torch.stack([gate_BN.mean(1).sum() for gate_BN in gates]).mean() * (workers.world / size)
        return Objective(entropy + self.alpha * openness, entropy, {"openness": openness}, logits)


@dataclass(frozen=True)
class AfterAlone(Method):
    """Takes a trained network and halves its weights; offers one of the rules."""

    needs_training: ClassVar[bool] = False
    rules: ClassVar[tuple[str, ...]] = ("activity",)

    factor: float = 0.5

    def objective(self, output: Any, labels: Tensor, *, num_classes: int, size: int, workers: Workers) -> Objective:
        raise AssertionError("nothing is trained")

    def after(self, network: nn.Module, parts: nn.Module | None, images: Images, **others: Any) -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(self.factor)


class NoDataclass(Method):
    """No dataclass."""


@dataclass(frozen=True)
class Outside(Toy):
    """Keeps its parts outside of the model."""

    def prepare(self, network: nn.Module, example: Tensor) -> Prepared:
        return Prepared(network, nn.Linear(1, 1))


@dataclass(frozen=True)
class Reserved(Toy):
    """A term that is called like something else of an epoch."""

    terms: ClassVar[tuple[str, ...]] = ("seconds",)


@dataclass(frozen=True)
class Undeclared(Toy):
    """A term that is not declared."""

    terms: ClassVar[tuple[str, ...]] = ()
