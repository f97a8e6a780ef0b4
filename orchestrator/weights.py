"""Weights as files: safetensors of our own, and networks that were trained elsewhere."""

import pickle
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from orchestrator.errors import ConfigError

# What reading bytes that are no weights can raise, besides the formats' own errors.
UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError)
WRAPPERS = ("state_dict", "model_state_dict", "model", "network")


def dump_weights(network: nn.Module) -> bytes:
    """The float32 state of a network as safetensors bytes."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return safetensors.torch.save(state)


def read_weights(data: bytes, network: nn.Module) -> None:
    """Load what :func:`dump_weights` gave."""
    network.load_state_dict(safetensors.torch.load(data))


def load_weights_file(path: str, network: nn.Module, *, key: str) -> None:
    """Load weights trained elsewhere: ``.safetensors``, or a PyTorch state dict (read without unpickling code).

    Args:
        path: the file.
        network: takes the weights.
        key: what to call the file in an error.

    Raises:
        ConfigError: no such file, not weights, or weights of another network.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"{key}={path}: there is no such file")
    try:
        state: Any
        if file.suffix == ".safetensors":
            state = safetensors.torch.load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, *UNREADABLE) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{key}={path} is no safetensors file and no state dict: {reason}") from error
    state = next(
        (state[name] for name in WRAPPERS if isinstance(state, dict) and isinstance(state.get(name), dict)), state
    )
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ConfigError(f"{key}={path} holds no state dict (a mapping from names to tensors)")
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    expected = network.state_dict()
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    missing, unknown = sorted(set(expected) - set(state) - optional), sorted(set(state) - set(expected))
    if missing or unknown:
        raise ConfigError(f"{key}={path} is another network: {_some('missing', missing)}, {_some('unknown', unknown)}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise ConfigError(
                f"{key}={path}: {name} is {tuple(tensor.shape)}, the model's {tuple(expected[name].shape)};"
                " give the model, data and classes that it was trained with"
            )
    network.load_state_dict(state, strict=False)


def _some(what: str, names: list[str]) -> str:
    return f"{len(names)} {what}" + (f" ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''})" if names else "")
