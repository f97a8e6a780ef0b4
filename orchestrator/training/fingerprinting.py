"""What a sweep is made of, by content: its images and labels, its own method and network, and weights to start from.

A file may move and a network be written more clearly: the fingerprint stays. It changes with what is computed; that of
an own method with the file that it is written in, since nothing traces what a loss computes.
"""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from moda_core import unit_layers
from moda_core.graph import ChannelGraph, Node, channel_graph
from orchestrator.config import (
    FINGERPRINTS,
    Config,
    Fingerprints,
    corners,
    difference,
    is_own_model,
    weights_fingerprint,
)
from orchestrator.errors import ConfigError
from orchestrator.results import Sweep
from orchestrator.training.data import Data
from orchestrator.training.importing import source_sha256
from orchestrator.training.trial import make_network

TRAINED = ("weight", "bias", "running_mean", "running_var")  # tensors that training changes; others are constants
IN_TRAINING = ("dropout", "identity")  # operations that do something in training alone, if anything


def fingerprints(config: Config, data: Data, sections: Collection[str] = tuple(FINGERPRINTS)) -> Fingerprints:
    """Return fingerprints of everything that a configuration names and that may change under that name.

    Args:
        config: of a sweep that :func:`orchestrator.training.trial.check_trainable` accepts.
        data: what it names, loaded.
        sections: which of them.

    Raises:
        ConfigError: ``training.init_from`` cannot be read, or a network cannot be built.
        NetworkError: a network that cannot be cut.
    """
    found = {
        "data": lambda: dict(data.contents),
        "method": lambda: _source("method.name", {method.name for method in config.methods if method.is_own}),
        "metrics": lambda: _source("evaluation.metrics", config.evaluation.metrics),
        "network": lambda: {"graph": _network_fingerprint(config, data)} if is_own_model(config.model.name) else {},
        "rules": lambda: _source("evaluation.rules", config.evaluation.rules),
        "training": lambda: weights_fingerprint(config),
    }
    taken = {section: found[section]() for section in sections}
    return {section: prints for section, prints in taken.items() if prints}


def check_unchanged(sweep: Sweep, data: Data, sections: Collection[str] = ("data", "network")) -> None:
    """Refuse data or a network that differ from those the sweep recorded. Older sweeps recorded nothing.

    Args:
        sweep: as it is recorded.
        data: its data set as it is found here, now.
        sections: what of it is used: ``training`` where ``training.init_from`` is read again.

    Raises:
        ConfigError: what differs.
    """
    recorded = {section: prints for section, prints in sweep.fingerprints.items() if section in sections}
    now = fingerprints(sweep.config, data, recorded)
    if changed := difference(recorded, now, config=sweep.config):
        raise ConfigError(f"sweep {sweep.sweep_id!r}: {changed}; give what it was trained with")


def graph_fingerprint(network: nn.Module, example: Tensor) -> str:
    """Of the operations of a network with their attributes and shapes, whatever its code looks like: 64 hex digits.

    Neither weights nor how they are initialised count, only which of them are trained.

    Raises:
        NetworkError: a network that cannot be cut.
    """
    layers = unit_layers(network, example)
    graph, state = channel_graph(network, layers, example)
    modules = dict(network.named_modules())
    called = {node.name: modules[str(node.target)] for node in layers.graph.nodes if node.op == "call_module"}
    # Of modules that draw at random, the channel graph does not tell what they do in training.
    random = [_settings(called[node.name]) for node in graph.nodes if node.op in IN_TRAINING and node.name in called]
    frozen = {tensor.data_ptr() for tensor in network.parameters() if not tensor.requires_grad}
    return _hash([_operations(graph, state, frozen), random])


def _source(key: str, paths: Iterable[str]) -> dict[str, str]:
    """Of the files that own parts are written in, since nothing traces what they compute; nothing of none."""
    sources = [source_sha256(key, path) for path in sorted(paths)]
    if not sources:
        return {}
    return {"source": sources[0] if len(sources) == 1 else _hash(sources)}


def _network_fingerprint(config: Config, data: Data) -> str:
    """Of the configuration's network, or of those at the corners of a space that its options are searched in."""
    example = data.train[torch.zeros(1, dtype=torch.long, device=data.train.labels.device)]
    at_corners = (config.with_coefficients(coefficients) for coefficients in corners(config.search))
    different = {json.dumps(dict(corner.model.options), sort_keys=True, default=str): corner for corner in at_corners}
    graphs = [
        graph_fingerprint(make_network(different[key], data, pretrained=False), example) for key in sorted(different)
    ]
    return graphs[0] if len(graphs) == 1 else _hash(graphs)


def _operations(graph: ChannelGraph, state: Mapping[str, Tensor], frozen: Collection[int]) -> list[Any]:
    """The nodes by number, inputs first: neither names nor the order of independent calls play a part.

    ``frozen`` holds the addresses of parameters that are not trained.
    """
    numbers: dict[str, int] = {}
    layers: dict[str, int] = {}  # of nodes with tensors: a layer that is called again has the number of its first call
    found = []
    for node in _inputs_first(graph):
        layer = layers.setdefault(node.shares or node.name, len(layers)) if node.tensors() else None
        inputs = [numbers[name] for name in node.inputs]
        shape, is_unit = [node.channels, *node.size], node.unit_layer is not None
        keys = {name: f"{node.name}.{name}" for name in node.tensors()}
        owned = {name: state[key] for name, key in keys.items() if key in state}
        constants = {name: tensor.tolist() for name, tensor in owned.items() if name not in TRAINED}
        fixed = [name for name, tensor in owned.items() if tensor.data_ptr() in frozen]
        found.append([_operation(graph, node), inputs, shape, dict(node.attributes), constants, fixed, is_unit, layer])
        numbers[node.name] = len(numbers)
    return found


def _operation(graph: ChannelGraph, node: Node) -> str:
    """To flatten single pixels is to reshape them."""
    return "reshape" if node.op == "flatten" and math.prod(graph.by_name[node.inputs[0]].size) == 1 else node.op


def _inputs_first(graph: ChannelGraph) -> Iterator[Node]:
    """The nodes that the logits depend on, each after its inputs."""
    waiting, seen = [graph.output.name], set[str]()
    while waiting:
        name = waiting[-1]
        ahead = [source for source in graph.by_name[name].inputs if source not in seen]
        if ahead:
            waiting.append(ahead[0])
            continue
        waiting.pop()
        if name not in seen:
            seen.add(name)
            yield graph.by_name[name]


def _settings(module: nn.Module) -> list[Any]:
    """The class of a module and the numbers, flags and words that it holds."""
    plain = {name: value for name, value in vars(module).items() if isinstance(value, int | float | str)}
    kept = {name: value for name, value in plain.items() if name not in ("training", "inplace") and name[0] != "_"}
    return [type(module).__name__, kept]


def _hash(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
