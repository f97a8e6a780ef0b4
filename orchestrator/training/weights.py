"""Weights as bytes, whatever tensors a network shares; and networks that were trained elsewhere."""

from collections import OrderedDict

import safetensors.torch
import torch
from torch import Tensor, nn

from orchestrator.errors import ConfigError
from orchestrator.training.fitting import fit
from orchestrator.training.weights_file import read_weights_file


def dump_weights(network: nn.Module) -> bytes:
    """The state of a network as safetensors bytes. A tensor that has several names is stored once, under the first.

    Raises:
        ConfigError: a state that does not consist of tensors.
    """
    state = network.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"{type(network).__name__}: {name} of its state is a {type(value).__name__}; only tensors can be kept:"
                " register it as a buffer, or leave it out of the state"
            )
    first = {names[0]: state[names[0]] for names in _names_by_place(state).values()}
    # Copies, because safetensors refuses tensors that overlap.
    return safetensors.torch.save(
        {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in first.items()}
    )


def read_weights(data: bytes, network: nn.Module) -> None:
    """Load what :func:`dump_weights` gave into a network that shares the same tensors."""
    network.load_state_dict(_with_shared(safetensors.torch.load(data), network))


def load_weights_file(path: str, network: nn.Module, *, key: str, may_resize: bool = False) -> str:
    """Load weights trained elsewhere: ``.safetensors``, or a PyTorch state dict (read without unpickling code).

    The weights may be nested in a checkpoint and have prefixes that wrappers leave; they are converted to the network's
    types.

    Args:
        path: the file.
        network: takes the weights; unchanged when they are refused.
        key: what to call the file in an error.
        may_resize: whether those of a Transformer may be for images of another size, whose embeddings of positions are
            interpolated, or for other classes, whose last layer stays as the network has it; for what is trained on.

    Returns:
        What was taken from the file: "" for the whole of it, else like ``model.state_dict``; then what was resized.

    Raises:
        ConfigError: no such file, not weights, weights of another network, or numbers that are not finite.
    """
    where = f"{key}={path}"
    content = read_weights_file(path, where)
    shared = [names for names in _names_by_place(network.state_dict()).values() if len(names) > 1]
    fitting = fit(content, network.state_dict(), shared, where, may_resize=may_resize)
    network.load_state_dict(_with_shared(fitting.state, network), strict=False)
    return fitting.taken


def _names_by_place(state: dict[str, Tensor]) -> dict[tuple[object, ...], list[str]]:
    """The names of a state by where their tensors lie in memory, in order: those of one tensor are together."""
    names: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in state.items():
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        names.setdefault(place, []).append(name)
    return names


def _with_shared(stored: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A stored state with all names of the tensors that ``network`` shares, and the versions of its layers."""
    state = OrderedDict(stored)
    state._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]  # MNASNet reads nothing without it
    for names in _names_by_place(network.state_dict()).values():
        present = [name for name in names if name in stored]
        for name in names if present else ():
            state.setdefault(name, stored[present[0]])
    return state
