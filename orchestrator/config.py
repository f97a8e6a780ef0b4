"""Configuration: Hydra's YAML becomes frozen dataclasses once, at the edge. The only module that sees OmegaConf.

Whatever is wrong becomes a :class:`ConfigError` of one line that names the key, the value and what would be right.
"""

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moda_core.methods import METHODS, Method
from orchestrator.models import check_model_name, model_options
from orchestrator.search import Coefficients
from orchestrator.sections import (
    ConfigError,
    DataConfig,
    Dimension,
    EvaluationConfig,
    ModelConfig,
    SearchConfig,
    SweepConfig,
    TrackingConfig,
    TrainingConfig,
    one_of,
)

# Of an identity, at these values: sweeps from before there were such keys record none.
LEFT_OUT: dict[tuple[str, str], Any] = {("evaluation", "levels"): [], ("training", "optimizer"): "sgd"}


@dataclass(frozen=True)
class Config:
    """Everything a command needs."""

    model: ModelConfig
    data: DataConfig
    method: Method
    training: TrainingConfig
    evaluation: EvaluationConfig
    search: SearchConfig
    sweep: SweepConfig
    tracking: TrackingConfig
    storage: str

    def with_coefficients(self, coefficients: Mapping[str, Any]) -> "Config":
        """This configuration with a trial's coefficients in place, each a key of method, training or model."""
        method: dict[str, Any] = {}
        training: dict[str, Any] = {}
        options = dict(self.model.options)
        own = model_options(self.model.name)
        for key, value in coefficients.items():
            if key in _field_names(self.method):
                method[key] = _as_field(type(self.method), key, value)
            elif key in _field_names(self.training):
                training[key] = _as_field(TrainingConfig, key, value)
            elif own is None or key in own:
                dimension = self.search.space.get(key)
                options[key] = int(value) if dimension is not None and _means_whole(dimension, value) else value
            else:
                known = [*_field_names(self.method), *_field_names(self.training), *own]
                raise ConfigError(f"search.space.{key} is no key of method, training or model; known: {sorted(known)}")
        return dataclasses.replace(
            self,
            method=dataclasses.replace(self.method, **method),
            training=dataclasses.replace(self.training, **training),
            model=ModelConfig(self.model.name, options),
        )

    def for_trial(self, number: int, coefficients: Mapping[str, Any]) -> "Config":
        """This configuration as trial ``number`` of a sweep runs it: repeats of a set differ in their training seed."""
        own = self.with_coefficients(coefficients)
        seed = own.training.seed + number % self.search.repeats
        return dataclasses.replace(own, training=dataclasses.replace(own.training, seed=seed))

    def coefficient(self, key: str) -> Any:
        """The value of a key of method, training or model; None where the model's own default is taken."""
        for section in (self.method, self.training):
            if key in _field_names(section):
                return getattr(section, key)
        return self.model.options.get(key)


def load_config(overrides: Sequence[str]) -> Config:
    """Compose ``sweeps/config.yaml`` with the overrides and check it.

    Raises:
        ConfigError: anything that is wrong, in one line.
    """
    return parse_config(compose_config(overrides))


def compose_config(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration as plain data."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("sweeps", version_base="1.3"):
            composed = compose("config", overrides=[_addable(one) for one in overrides])
            plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error)) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """A recorded configuration with ``key=value``, ``+key=value`` or ``~key`` on top; a mapping is merged.

    Raises:
        ConfigError: an override that cannot be read or applied, or what comes of it is wrong.
    """
    changed = OmegaConf.create(to_plain(config))
    try:
        for one in OverridesParser.create().parse_overrides(list(overrides)):
            if one.is_delete():
                at, _, name = one.key_or_group.rpartition(".")
                section = OmegaConf.select(changed, at)
                if section is None or name not in section:
                    raise ConfigError(f"{one.input_line}: the sweep has no {one.key_or_group}; leave it out")
                del section[name]
            else:
                OmegaConf.update(changed, one.key_or_group, one.value(), merge=True, force_add=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error)) from error
    plain: Any = OmegaConf.to_container(changed)
    return parse_config(plain)


def render_config(plain: Mapping[str, Any]) -> str:
    """YAML text of plain data."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(plain)))


def parse_config(plain: Mapping[str, Any]) -> Config:
    """Check plain data and make the dataclasses of it."""
    sections = {one.name for one in dataclasses.fields(Config)}
    if unknown := sorted(set(plain) - sections - {"experiment"}):
        raise ConfigError(f"unknown keys {unknown}; known: {sorted(sections)}")
    if absent := sorted(sections - set(plain)):
        raise ConfigError(f"keys {absent} are missing")
    search = dict(plain["search"])
    search["space"] = {
        key: _build(Dimension, value, f"search.space.{key}") for key, value in (search.get("space") or {}).items()
    }
    search["baselines"] = tuple(dict(one) for one in search.get("baselines") or ())
    return Config(
        model=_model(plain["model"]),
        data=_build(DataConfig, plain["data"], "data"),
        method=_method(plain["method"]),
        training=_build(TrainingConfig, plain["training"], "training"),
        evaluation=_build(EvaluationConfig, plain["evaluation"], "evaluation"),
        search=_build(SearchConfig, search, "search"),
        sweep=_build(SweepConfig, plain["sweep"], "sweep"),
        tracking=_build(TrackingConfig, plain["tracking"], "tracking"),
        storage=_typed("storage", plain["storage"], str),
    )


def check_space(config: Config) -> None:
    """Refuse a search space that can propose an invalid configuration, before anything is trained."""
    if not config.search.space:
        raise ConfigError("search.space={}: name at least one coefficient to search")
    hints = typing.get_type_hints(TrainingConfig)
    for key, one in config.search.space.items():
        if hints.get(key) is int and not one.integer and one.choices is None:
            raise ConfigError(f"search.space.{key} is for whole numbers: add integer: true")
    for coefficients in corners(dataclasses.replace(config.search, baselines=())):
        config.with_coefficients(coefficients)
    for baseline in config.search.baselines:
        for key, one in config.search.space.items():
            if isinstance(baseline.get(key, one.ends[0]), str) != one.is_text:
                raise ConfigError(
                    f"search.baselines: {key}={baseline[key]!r} must be {'text' if one.is_text else 'a number'}, as"
                    f" search.space.{key} has it"
                )
        config.with_coefficients(baseline)


def corners(search: SearchConfig) -> list[Coefficients]:
    """The lowest and the highest coefficients of the space, the other choices one at a time, and the baselines."""
    lows = {key: one.ends[0] for key, one in search.space.items()}
    highs = {key: one.ends[1] for key, one in search.space.items()}
    others = [{**lows, key: value} for key, one in search.space.items() for value in (one.choices or ())[1:-1]]
    return [lows, highs, *others, *({**lows, **one} for one in search.baselines)]


def to_plain(config: Config) -> dict[str, Any]:
    """The configuration as plain data that :func:`parse_config` reads back."""
    plain: dict[str, Any] = _as_plain(config)
    plain["model"] = {"name": config.model.name, **plain["model"]["options"]}
    plain["method"] = {"name": method_name(config.method), **plain["method"]}
    return plain


def method_name(method: Method) -> str:
    """The name that a method is known by."""
    return next(name for name, kind in METHODS.items() if kind is type(method))


def identity(config: Config) -> dict[str, Any]:
    """What makes a sweep the sweep it is: neither budget nor objectives, nor where and how it runs.

    Early stopping is budget: which trials are trained to the end, not what a training gives.
    """
    plain = to_plain(config)
    if config.training.init_from is not None:  # by content: the same weights may lie elsewhere tomorrow
        plain["training"]["init_from"] = _file_hash(config.training.init_from)
    for (section, key), value in LEFT_OUT.items():
        if plain[section][key] == value:
            del plain[section][key]
    plain["search"]["space"] = {key: one.stated for key, one in config.search.space.items()}
    repeats = {"repeats": config.search.repeats} if config.search.repeats > 1 else {}  # as before there were repeats
    sweep = config.sweep
    parent = {"confirms": sweep.confirms, "chosen": list(sweep.chosen)} if sweep.confirms else {}
    elsewhere = ("cpus_per_worker", "gpus_per_worker", "max_failures")
    return {
        "model": plain["model"],
        "data": {key: value for key, value in plain["data"].items() if key not in ("root", "download")},
        "method": plain["method"],
        "training": {key: value for key, value in plain["training"].items() if key not in elsewhere},
        "evaluation": plain["evaluation"],
        "space": plain["search"]["space"],
        "baselines": plain["search"]["baselines"],
        "seed": plain["search"]["seed"],
        **repeats,
        **parent,
    }


def identity_hash(identity: Mapping[str, Any]) -> str:
    """Eight hex digits of the canonical JSON."""
    text = json.dumps(identity, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _as_field(kind: Any, key: str, value: Any) -> Any:
    """A coefficient as the type of the field that it is for: 30.0 epochs of a YAML list are 30."""
    hint = typing.get_type_hints(kind)[key]
    if hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    return _typed(f"search.space.{key}", value, hint)


def _means_whole(dimension: Dimension, value: Any) -> bool:
    """Whether a number of a YAML list is meant for a dimension of whole numbers."""
    whole = dimension.integer or any(isinstance(one, int) for one in dimension.choices or ())
    return whole and isinstance(value, float) and value.is_integer()


def _file_hash(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"training.init_from={path}: cannot be read: {error.strerror}") from error


def _model(value: Any) -> ModelConfig:
    options = dict(_typed("model", value, dict))
    name = options.pop("name", None)
    try:
        check_model_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    known = model_options(name)
    if known is not None and (unknown := sorted(set(options) - set(known))):
        raise ConfigError(f"model.{unknown[0]} is no key of {name}; known: {', '.join(sorted(known)) or 'none'}")
    return ModelConfig(name, options)


def _field_names(section: Any) -> list[str]:
    return [one.name for one in dataclasses.fields(section)]


def _method(value: Any) -> Method:
    options = dict(_typed("method", value, dict))
    name = options.pop("name", None)
    one_of("method.name", name, sorted(METHODS))
    method: Method = _build(METHODS[name], options, "method")
    return method


def _build(kind: Any, value: Any, path: str) -> Any:
    """A dataclass from a mapping; unknown keys, missing keys and wrong types are named."""
    value = _typed(path, value, dict)
    hints = typing.get_type_hints(kind)
    fields = {one.name: one for one in dataclasses.fields(kind)}
    if unknown := sorted(set(value) - set(fields)):
        raise ConfigError(f"{path}.{unknown[0]} is no key; known: {', '.join(sorted(fields)) or 'none'}")
    arguments = {key: _typed(f"{path}.{key}", one, hints[key]) for key, one in value.items()}
    required = [
        name
        for name, one in fields.items()
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    ]
    if absent := [name for name in required if name not in arguments]:
        raise ConfigError(f"{path}.{absent[0]} is missing; set it, {path}.{absent[0]}=...")
    try:
        return kind(**arguments)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _typed(path: str, value: Any, kind: Any) -> Any:
    """``value`` as the type that the field declares, or an error that names both."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        if value is None and type(None) in arguments:
            return None
        kinds = [one for one in arguments if one is not type(None)]
        return _typed(path, value, next((one for one in kinds if type(value) is one), kinds[0]))
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path}={value!r} must be a list")
        return tuple(_typed(f"{path}[{index}]", one, arguments[0]) for index, one in enumerate(value))
    if origin is not None:  # a mapping
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}={value!r} must be a mapping")
        return {key: _typed(f"{path}.{key}", one, arguments[1]) for key, one in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # class names such as 3
    if kind is Any:
        return value
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{path}={value!r} must be of type {kind.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path}={value} must be a finite number")
    return value


def _as_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {one.name: _as_plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _as_plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_as_plain(one) for one in value]
    return value


def _addable(override: str) -> str:
    """``training.epoch=3`` as ``++training.epoch=3``: any key may be given plainly, and a wrong one is our error."""
    key = override.partition("=")[0]
    return f"++{override}" if "." in key and key[0] not in "+~" else override


def _one_line(error: BaseException) -> str:
    """The message of an error, or of its cause where it has none, without Hydra's extra lines."""
    while not str(error).strip() and error.__cause__ is not None:
        error = error.__cause__
    noise = ("full_key", "object_type", "Set the env variable", "See https", "To append to your config")
    text = str(error).partition("Config search path")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = " ".join(line for line in lines if not line.startswith(noise))
    if line.startswith("Could not override"):
        line += f"; known at the top: {', '.join(one.name for one in dataclasses.fields(Config))}"
    return line
