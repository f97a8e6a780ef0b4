"""What modules cost on this machine, beside the whole network: parameters, memory and time."""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from moda_core import open_modules
from moda_core.sets import ModuleSet, whole_network
from orchestrator.errors import ConfigError

WHOLE = "whole network"
LEAST_ROUNDS, MOST_ROUNDS = 5, 200
SECONDS = 5.0  # for each size of batch; the least number of rounds may take longer


@dataclass(frozen=True)
class NetworkCost:
    """What a network costs.

    Attributes:
        name: of the network: the whole one, or of which classes the module is.
        classes: how many logits it has.
        parameters: that it has.
        weight_bytes: of its parameters and buffers.
        activation_bytes: by batch size: what is alive at once while it computes, at most, without its weights.
        seconds: by batch size: the median time of a batch.
        rounds: by batch size: of how many rounds, in each of which every network computed one batch.
    """

    name: str
    classes: int
    parameters: int
    weight_bytes: int
    activation_bytes: dict[int, int]
    seconds: dict[int, float]
    rounds: dict[int, int]


def measure_modules(
    folder: str,
    *,
    classes: Sequence[str] | None,
    batches: Sequence[int],
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> list[NetworkCost]:
    """Measure a pulled module set: the whole network that it was cut from, the module of all its classes, and that of
    some.

    Networks compute in turns, so that whatever else the machine does meanwhile slows all of them alike. The whole
    network has drawn weights, which change neither its size nor its speed.

    Args:
        folder: of the set.
        classes: of the module beside the others; None: for a single class, the largest such module.
        batches: sizes of batches.
        device: ``cpu``, or a GPU such as ``cuda``.
        clock: seconds.

    Raises:
        ConfigError: a batch without images, or a device that is not there.
        ModuleSetError: no module set in the folder, or a class that it does not have.
    """
    if wrong := [size for size in batches if size < 1]:
        raise ConfigError(f"--batch {wrong[0]}: a batch has one image or more")
    place, modules = _device(device), open_modules(folder)
    networks = {name: network.to(place) for name, network in _networks(modules, classes).items()}
    shape = modules.manifest["preprocessing"]["shape"]
    seconds: dict[str, dict[int, float]] = {name: {} for name in networks}
    memory: dict[str, dict[int, int]] = {name: {} for name in networks}
    rounds = {}
    for size in batches:
        images = torch.randn(size, *shape, generator=torch.Generator().manual_seed(0)).to(place)
        times = _in_turns(networks, images, clock)
        for name, network in networks.items():
            seconds[name][size] = statistics.median(times[name])
            memory[name][size] = peak_bytes(network, images)
        rounds[size] = len(times[WHOLE])
    return [
        NetworkCost(
            name,
            network(images[:1]).shape[1],
            sum(tensor.numel() for tensor in network.parameters()),
            sum(tensor.nbytes for tensor in itertools.chain(network.parameters(), network.buffers())),
            memory[name],
            seconds[name],
            rounds,
        )
        for name, network in networks.items()
    ]


def peak_bytes(network: fx.GraphModule, images: Tensor) -> int:
    """The largest number of bytes of tensors that are alive at once while a network computes.

    Its images are among them and its weights are not; what is a view of another tensor counts once.
    """
    interpreter = _Watched(network)
    with torch.inference_mode():
        interpreter.run(images)
    return interpreter.most


class _Watched(fx.Interpreter):
    """Runs a network node by node, and lets go of what no later node needs."""

    most = 0

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        alive = [value for value in (*self.env.values(), result) if isinstance(value, Tensor)]
        weights = {tensor.untyped_storage().data_ptr() for tensor in self.module.state_dict().values()}
        storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in alive}
        self.most = max(self.most, sum(size for place, size in storages.items() if place not in weights))
        return result


def _networks(modules: ModuleSet, classes: Sequence[str] | None) -> dict[str, fx.GraphModule]:
    names = modules.manifest["class_names"]
    found = {WHOLE: whole_network(modules), f"all {len(names)} classes": modules.compose().network}
    if classes is not None:
        chosen = modules.compose(classes)
        return {
            **found,
            f"{'class' if len(chosen.class_names) == 1 else 'classes'} {', '.join(chosen.class_names)}": chosen.network,
        }
    alone = {name: modules.compose([name]).network for name in names}
    largest = max(alone, key=lambda name: sum(tensor.numel() for tensor in alone[name].parameters()))
    return {**found, f"class {largest}, the largest": alone[largest]}


def _in_turns(
    networks: dict[str, fx.GraphModule], images: Tensor, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of a batch in each round, by network."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for network in networks.values():
        _call(network, images)  # what happens once
    began = clock()
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and clock() - began > SECONDS:
            break
        for name, network in networks.items():
            started = clock()
            _call(network, images)
            times[name].append(clock() - started)
    return times


def _call(network: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        network(images)
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device {name}: PyTorch has no such device here; give cpu, or cuda where a GPU is"
        ) from error
    return device
