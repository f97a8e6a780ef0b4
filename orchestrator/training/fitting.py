"""Which tensors of a checkpoint are a network's weights, wherever they are nested and whatever wrapped their names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.training.resizing import is_head, resize

# Where checkpoints keep weights; of several that fit the first is taken.
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
    "module",
    "params",
    "weights",
    "backbone",
    "ema",
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
)
MOST_LEVELS = 4  # of mappings in mappings
# What parallel and compiled networks put into names, at any place.
WRAPPED = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
COUNTER = "num_batches_tracked"  # of batch norm; old checkpoints have none, and nothing here depends on it
MOST_PREFIXES = 4
NAMES_SHOWN = 3
LONGEST_NAME = 60  # that is shown


@dataclass(frozen=True)
class Fitting:
    """Weights that fit a network.

    Attributes:
        state: by the network's names, in its types; of tensors that it shares at least one name.
        taken: where they were in the file: "" for the whole of it, else like ``model.state_dict``; then what was
            resized.
    """

    state: dict[str, Tensor]
    taken: str


@dataclass(frozen=True)
class _Named:
    """Tensors of a file as they might be called in the network, and what is wrong with that."""

    taken: str
    tensors: Mapping[str, Tensor]
    missing: list[str]
    unknown: list[str]
    misshapen: list[str]

    @property
    def faults(self) -> tuple[int, int]:
        """How far they are from fitting."""
        return len(self.missing) + len(self.unknown), len(self.misshapen)


def fit(
    content: Any,
    expected: Mapping[str, Tensor],
    shared: Sequence[Sequence[str]],
    where: str,
    *,
    may_resize: bool = False,
) -> Fitting:
    """Find the weights of a network in what a file holds.

    Args:
        content: of the file.
        expected: the network's state.
        shared: the names of each tensor that has several.
        where: what to call the file in an error.
        may_resize: whether weights of a Transformer may be for images of another size or for other classes.

    Raises:
        ConfigError: no tensors, those of another network, or tensors that cannot be weights.
    """
    again = sum(len(names) - 1 for names in shared)
    least = sum(not name.endswith(COUNTER) for name in expected) - again
    namings = [naming for found in _mappings(content, least) for naming in _namings(*found, expected, shared)]
    if not namings:
        raise ConfigError(f"{where} does not hold a state dict (a mapping from names to tensors)")
    best = min(namings, key=lambda naming: naming.faults)  # the first of equals
    if best.missing or best.unknown:
        raise ConfigError(
            f"{where} holds the weights of a different network: {_some('missing', best.missing)},"
            f" {_some('unknown', best.unknown)}"
        )
    changed: dict[str, Tensor] = {}
    for name in best.misshapen:
        resized = resize(name, best.tensors[name], expected[name]) if may_resize else None
        if resized is not None:
            changed[name] = resized
            continue
        raise ConfigError(
            f"{where}: {name} is {tuple(best.tensors[name].shape)}, the model's {tuple(expected[name].shape)};"
            " give the model, data and classes that it was trained with"
        )
    tensors = {**best.tensors, **changed}
    state = {name: _converted(tensor, expected[name], name, where) for name, tensor in tensors.items()}
    for names in shared:
        present = [name for name in names if name in state]
        for name in present[1:]:
            if not torch.equal(state[name], state[present[0]]):
                raise ConfigError(f"{where}: {present[0]} and {name} differ; in the model they are one tensor")
    words = [f"{name} {'drawn anew' if is_head(name) else 'resized'}" for name in changed]
    return Fitting(state, ", ".join([*([best.taken] if best.taken else []), *words]))


def _mappings(content: Any, least: int) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """The mappings in a file that hold tensors by name, outer ones first, and what to call each."""
    level: list[tuple[str, Any]] = [("", content)]
    seen: set[int] = set()
    for _ in range(MOST_LEVELS):
        inner = []
        for called, mapping in level:
            if not isinstance(mapping, Mapping) or id(mapping) in seen:
                continue
            seen.add(id(mapping))
            named = {name: value for name, value in mapping.items() if isinstance(name, str)}
            tensors = {
                name: value for name, value in named.items() if isinstance(value, Tensor) and not value.is_nested
            }
            if tensors:
                yield called, tensors
                yield from _groups(called, tensors, least)
            inner += [(_inside(called, name), named[name]) for name in _in_order(named)]
        level = inner


def _groups(called: str, tensors: Mapping[str, Tensor], least: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The tensors below each part of the names that others stand beside: ``module.*`` beside ``n_averaged``, or
    ``_orig_mod.model.*`` beside ``_orig_mod.criterion``. Smaller ones than the network are left out."""
    for prefix in _shared_prefixes(tensors):
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            first, _, rest = name.removeprefix(prefix).partition(".")
            groups.setdefault(first, {})[rest] = tensor
        for first in _in_order(groups):
            if least <= len(groups[first]) < len(tensors):
                yield _inside(called, f"{prefix}{first}.*"), groups[first]


def _in_order(names: Iterable[str]) -> list[str]:
    """The names of wrappers first."""
    present = dict.fromkeys(names)
    return [name for name in WRAPPERS if name in present] + [name for name in present if name not in WRAPPERS]


def _inside(called: str, name: str) -> str:
    return f"{called}.{name[:LONGEST_NAME]}".lstrip(".")


def _namings(
    taken: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], shared: Sequence[Sequence[str]]
) -> Iterator[_Named]:
    """The tensors as they are called, without prefixes that all of them share or with those that all of the network's
    names share, and each with and without wrappers."""
    for prefix in _shared_prefixes(tensors):
        shorter = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        for renamed in (shorter, _unwrapped(shorter)):
            for added in _shared_prefixes(expected):
                whole = {added + name: tensor for name, tensor in renamed.items()}
                yield _compared(taken, whole, expected, shared)


def _shared_prefixes(names: Iterable[str]) -> list[str]:
    """No prefix, and whatever every name begins with: ``"a."``, ``"a.b."``."""
    prefixes = [""]
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1 or len(prefixes) > MOST_PREFIXES:
            break
        prefixes.append(f"{prefixes[-1]}{parts[0]}.")
    return prefixes


def _unwrapped(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    renamed = {".".join(part for part in name.split(".") if part not in WRAPPED): tensors[name] for name in tensors}
    return renamed if len(renamed) == len(tensors) else tensors


def _compared(
    taken: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], shared: Sequence[Sequence[str]]
) -> _Named:
    present = set(tensors)
    filled = {name for names in shared if present.intersection(names) for name in names}
    missing = [name for name in expected if name not in present | filled and not name.endswith(COUNTER)]
    unknown = [name for name in tensors if name not in expected]
    misshapen = [name for name in expected if name in tensors and tensors[name].shape != expected[name].shape]
    return _Named(taken, tensors, sorted(missing), sorted(unknown), misshapen)


def _converted(tensor: Tensor, like: Tensor, name: str, where: str) -> Tensor:
    """A tensor in the type of the network's; only finite numbers, and none that would be rounded to whole ones."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        kind = "without values" if tensor.is_meta else "quantised" if tensor.is_quantized else "sparse"
        raise ConfigError(f"{where}: {name} is {kind}; save it dense, in floating point: dequantize() or to_dense()")
    if tensor.is_floating_point() != like.is_floating_point() or tensor.is_complex() != like.is_complex():
        if name.endswith(COUNTER):
            return like
        raise ConfigError(
            f"{where}: {name} is {_type(tensor)}, the model's {_type(like)}; save it in the model's type before"
            " quantisation"
        )
    converted = tensor.to(like.dtype)
    if wrong := int((~converted.isfinite()).sum()):
        raise ConfigError(
            f"{where}: {name} holds NaN or infinity as {_type(like)} ({wrong} of {converted.numel()} values); its"
            " training diverged or the file is damaged"
        )
    return converted


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _some(what: str, names: list[str]) -> str:
    shown = ", ".join(name[:LONGEST_NAME] for name in names[:NAMES_SHOWN])
    return f"{len(names)} {what}" + (f" ({shown}{' ...' if len(names) > NAMES_SHOWN else ''})" if names else "")
