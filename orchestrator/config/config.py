"""Configuration: Hydra's YAML becomes frozen dataclasses once, at the edge. The only module that sees OmegaConf.

Whatever is wrong becomes a :class:`ConfigError` of one line that names the key, the value and what would be right.
"""

import dataclasses
import os
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from moda_core.methods import METHODS
from orchestrator.config.model_names import IMPORT_PATH, check_model_name, model_options
from orchestrator.config.overrides import (
    DECLARED,
    absolute,
    as_hydra,
    known_keys,
    meant,
    named_storage,
    read_overrides,
)
from orchestrator.config.parsing import as_plain, build, typed
from orchestrator.config.sections import (
    SEEDS,
    DataConfig,
    Dimension,
    EvaluationConfig,
    MethodConfig,
    ModelConfig,
    Objective,
    SearchConfig,
    SweepConfig,
    TrackingConfig,
    TrainingConfig,
)
from orchestrator.declarations import MARGIN, METRICS, Metric
from orchestrator.errors import ConfigError
from orchestrator.search import Coefficients

if TYPE_CHECKING:  # a worker reads no overrides
    from hydra.core.override_parser.types import Override

MERGING = "Error merging override "  # how Hydra begins what is wrong with the value of a key


@dataclass(frozen=True)
class Config:
    """The configuration of a command, checked."""

    model: ModelConfig
    data: DataConfig
    method: MethodConfig
    training: TrainingConfig
    evaluation: EvaluationConfig
    search: SearchConfig
    sweep: SweepConfig
    tracking: TrackingConfig
    storage: str

    def __post_init__(self) -> None:
        if self.evaluation.augmented and not (self.data.crop or self.data.flip):
            raise ConfigError(
                "evaluation.augmented=true: training images are not augmented; set data.crop or data.flip, or"
                " evaluation.augmented=false"
            )
        if all(self.evaluation.metrics.values()):  # else not all that may be an objective is known yet
            self.search.check_metrics(self.evaluation.own_metrics)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of its points: those of this package and a user's own, by name."""
        return {**METRICS, **self.evaluation.own_metrics}

    def with_coefficients(self, coefficients: Mapping[str, Any]) -> "Config":
        """Return this configuration with a trial's coefficients, which are keys of method, training or model."""
        method = dict(self.method.coefficients)
        training: dict[str, Any] = {}
        options = dict(self.model.options)
        accepted = model_options(self.model.name)
        for key, value in coefficients.items():
            if key in method:
                method[key] = _as_type(Any if method[key] is None else type(method[key]), key, value)
            elif key in _field_names(self.training):
                training[key] = _as_type(typing.get_type_hints(TrainingConfig)[key], key, value)
            elif accepted is None or key in accepted:
                usual = self.model.options.get(key)
                options[key] = int(value) if _means_whole(self.search.space.get(key), usual, value) else value
            else:
                keys = [*method, *_field_names(self.training), *accepted]
                raise ConfigError(
                    f"unknown key search.space.{key}; known keys of method, training and model:"
                    f" {', '.join(sorted(keys))}"
                )
        return dataclasses.replace(
            self,
            method=MethodConfig(self.method.name, method),
            training=dataclasses.replace(self.training, **training),
            model=ModelConfig(self.model.name, options),
        )

    def for_trial(self, number: int, coefficients: Mapping[str, Any]) -> "Config":
        """Return this configuration as trial ``number`` of a sweep runs it. Repeats of a set differ in their training
        seed.
        """
        config = self.with_coefficients(coefficients)
        seed = (config.training.seed + number % self.search.repeats) % SEEDS
        return dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed))

    def coefficient(self, key: str) -> Any:
        """Return the value of a key of method, training or model; None if the model's own default is used."""
        if key in self.method.coefficients:
            return self.method.coefficients[key]
        if key in _field_names(self.training):
            return getattr(self.training, key)
        return self.model.options.get(key)


def load_config(overrides: Sequence[str]) -> Config:
    """Compose ``sweeps/config.yaml`` with the overrides and check it.

    Raises:
        ConfigError: anything that is wrong, in one line.
    """
    return parse_config(compose_config(overrides))


def storage_of(overrides: Sequence[str]) -> str:
    """Return the storage that overrides name, else ``MODA_STORAGE``, else the default of ``sweeps/config.yaml``.

    Hydra is loaded only where it is needed, since commands that look at results need nothing else of a configuration.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    return named_storage(overrides) or load_config(overrides).storage


def compose_config(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the configuration and return it as plain data. Relative paths are made absolute here, where they are
    typed.

    Raises:
        ConfigError: an override that cannot be read or applied.
    """
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from orchestrator.config.yaml_text import check_chosen_file

    for override in read_overrides(overrides):
        _check_group(override)
    for word in overrides:
        check_chosen_file(word)
    addable = [_addable(as_hydra(override)) for override in overrides]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("sweeps", version_base="1.3"):
            composed = compose("config", overrides=addable)
            plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        raise ConfigError(_one_line(error)) from error
    assert isinstance(plain, dict)
    _resolve_paths(plain)
    return {str(key): value for key, value in plain.items()}


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """Apply ``key=value``, ``+key=value`` or ``~key`` to a recorded configuration; a mapping is merged.

    Paths are those of this machine: a relative one is looked for as in a new configuration.

    Raises:
        ConfigError: an override that cannot be read or applied, or what comes of it is wrong.
    """
    if not overrides:
        return config
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    changed = OmegaConf.create(to_plain(config))
    try:
        for override in read_overrides(overrides):
            if override.is_delete():
                at, _, name = override.key_or_group.rpartition(".")
                section = OmegaConf.select(changed, at)
                if section is None or name not in section:
                    raise ConfigError(f"{override.input_line}: the sweep has no {override.key_or_group}; leave it out")
                del section[name]
            else:
                value = path_here(override.key_or_group, override.value())
                OmegaConf.update(changed, override.key_or_group, value, merge=True, force_add=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error)) from error
    plain: Any = OmegaConf.to_container(changed)
    return parse_config(plain)


def render_config(plain: Mapping[str, Any]) -> str:
    """Render plain data as YAML."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dict(plain)))


def parse_config(plain: Mapping[str, Any]) -> Config:
    """Check plain data and build the configuration from it."""
    sections = {field.name for field in dataclasses.fields(Config)}
    if unknown := sorted(set(plain) - sections - {"experiment"}):
        close = meant(unknown[0], [*sections, *known_keys()])
        raise ConfigError(f"unknown key {unknown[0]}{close}; top-level keys: {', '.join(sorted(sections))}")
    if absent := sorted(sections - set(plain)):
        raise ConfigError(f"keys {absent} are missing")
    search = dict(typed("search", plain["search"], dict))
    space = typed("search.space", search.get("space") or {}, dict)
    search["space"] = {key: build(Dimension, value, f"search.space.{key}") for key, value in space.items()}
    baselines = typed("search.baselines", search.get("baselines") or [], list)
    search["baselines"] = tuple(baselines)
    search["objectives"] = _objectives(search.get("objectives"))
    search["reference"] = search.get("reference") or {}
    evaluation = build(EvaluationConfig, _evaluation(plain["evaluation"]), "evaluation")
    return Config(
        model=_model(plain["model"]),
        data=build(DataConfig, plain["data"], "data"),
        method=_method(plain["method"]),
        training=build(TrainingConfig, plain["training"], "training"),
        evaluation=evaluation,
        search=build(SearchConfig, search, "search").completed({**METRICS, **evaluation.own_metrics}),
        sweep=build(SweepConfig, plain["sweep"], "sweep"),
        tracking=build(TrackingConfig, plain["tracking"], "tracking"),
        storage=typed("storage", plain["storage"], str),
    )


def check_space(config: Config) -> None:
    """Refuse a search space that can propose an invalid configuration, and a sweep whose reference point could never be
    known, before anything is trained.
    """
    if not config.search.space:
        raise ConfigError("search.space={}: name at least one coefficient to search")
    if not config.data.has_validation:
        raise ConfigError(
            "data.validation_fraction=0: a sweep chooses on validation images; set data.validation_fraction=0.2 (only"
            " moda train takes 0)"
        )
    hints = typing.get_type_hints(TrainingConfig)
    for key, dimension in config.search.space.items():
        if hints.get(key) is int and not dimension.integer and dimension.choices is None:
            raise ConfigError(f"search.space.{key} takes whole numbers: add integer: true")
    for coefficients in corners(dataclasses.replace(config.search, baselines=())):
        config.with_coefficients(coefficients)
    for baseline in config.search.baselines:
        for key, dimension in config.search.space.items():
            if isinstance(baseline.get(key, dimension.ends[0]), str) != dimension.is_text:
                raise ConfigError(
                    f"search.baselines: {key}={baseline[key]!r} must be"
                    f" {'text' if dimension.is_text else 'a number'}, as search.space.{key} has it"
                )
        config.with_coefficients(baseline)
    _check_reference(config)


def corners(search: SearchConfig) -> list[Coefficients]:
    """Return the corners of the search space: all lowest and all highest coefficients, the other choices and low ends
    beside zeros one at a time, and the baselines.
    """
    space = search.space.items()
    lows = {key: dimension.ends[0] for key, dimension in space}
    highs = {key: dimension.ends[1] for key, dimension in space}
    others = [{**lows, key: value} for key, dimension in space for value in dimension.between]
    return [lows, highs, *others, *({**lows, **baseline} for baseline in search.baselines)]


def to_plain(config: Config) -> dict[str, Any]:
    """Return the configuration as plain data that :func:`parse_config` can read."""
    plain: dict[str, Any] = as_plain(config)
    plain["model"] = {"name": config.model.name, **plain["model"]["options"]}
    plain["method"] = {"name": config.method.name, **plain["method"]["coefficients"]}
    return plain


def _check_reference(config: Config) -> None:
    """Refuse a sweep whose reference point could never be known: a value that follows from the first standard training,
    and no baseline that is one. A confirmation has the reference point of the sweep that it confirms.
    """
    search = config.search
    missing = [name for name in search.objectives if search.reference.get(name) is None]
    is_standard = any(config.with_coefficients(baseline).method.is_standard for baseline in search.baselines)
    if not missing or is_standard or config.method.is_standard or config.sweep.confirms:
        return
    standard = f"{{{', '.join(f'{name}: 0' for name in config.method.numbers)}}}"
    instead = "" if config.method.is_own else f", or add a standard training, {standard}, to search.baselines"
    raise ConfigError(
        f"search.reference.{missing[0]}=null: the worst value that still counts follows from the first standard"
        f" training, and none of search.baselines is known to be one; state it, search.reference.{missing[0]}=0.8,"
        f" such as what `moda train method=standard` reaches with the whole network, less {MARGIN:g}{instead}"
    )


def _as_type(hint: Any, key: str, value: Any) -> Any:
    """A coefficient as the type of the key that it is for: 30.0 epochs of a YAML list are 30."""
    if hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    return typed(f"search.space.{key}", value, hint)


def _means_whole(dimension: Dimension | None, usual: Any, value: Any) -> bool:
    """Whether a number of a YAML list is meant for a dimension of whole numbers, or for an option that has one."""
    choices = (usual,) if dimension is None else dimension.choices or ()
    is_integer = dimension is not None and dimension.integer
    is_integer |= any(isinstance(choice, int) and not isinstance(choice, bool) for choice in choices)
    return is_integer and isinstance(value, float) and value.is_integer()


def _model(value: Any) -> ModelConfig:
    options = dict(typed("model", value, dict))
    name = options.pop("name", None)
    check_model_name(name)
    accepted = model_options(name)
    if accepted is not None and (unknown := sorted(set(options) - set(accepted))):
        raise ConfigError(f"unknown key model.{unknown[0]} of {name}; known: {', '.join(sorted(accepted)) or 'none'}")
    return ModelConfig(name, options)


def _objectives(value: Any) -> dict[str, Objective]:
    """Objectives by metric: a direction alone, or a mapping with the scale."""
    stated = typed("search.objectives", value or {}, dict)
    return {
        name: build(
            Objective,
            objective if isinstance(objective, Mapping) else {"direction": objective},
            f"search.objectives.{name}",
        )
        for name, objective in stated.items()
    }


def _evaluation(value: Any) -> dict[str, Any]:
    """The section with a user's own rules and metrics by import path, whichever way they are stated: a list of paths
    or of mappings with a ``name``, or as they are recorded."""
    section = dict(typed("evaluation", value, dict))
    for key in ("rules", "metrics"):
        stated = section.get(key) or {}
        if isinstance(stated, list | tuple):
            items = [dict(part) if isinstance(part, Mapping) else {"name": part} for part in stated]
            section[key] = {part.pop("name", None): part for part in items}
        for path in typed(f"evaluation.{key}", section.get(key) or {}, dict):
            if not (isinstance(path, str) and IMPORT_PATH.fullmatch(path)):
                raise ConfigError(
                    f"evaluation.{key}: {path!r} is not an import path; name a class of your own as package.module:Name"
                )
        section[key] = section.get(key) or {}
    return section


def _field_names(section: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(section)]


def _method(value: Any) -> MethodConfig:
    options = dict(typed("method", value, dict))
    name = options.pop("name", None)
    if name in METHODS:
        return MethodConfig(name, as_plain(build(METHODS[name], options, "method")))
    if not (isinstance(name, str) and IMPORT_PATH.fullmatch(name)):
        raise ConfigError(
            f"method.name={name!r} is not known; known: {', '.join(sorted(METHODS))}; or package.module:Name for a"
            " class of your own"
        )
    return MethodConfig(name, options)


def _check_group(override: "Override") -> None:
    """Refuse a group that is set to anything but the name of one of its files."""
    folder = resources.files("sweeps") / override.key_or_group
    if override.is_delete() or "." in override.key_or_group or not folder.is_dir():
        return
    if not isinstance(override.value(), str):
        names = sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
        raise ConfigError(f"{override.input_line}: give the name of one file of the group: {', '.join(names)}")


def _addable(override: str) -> str:
    """``training.epoch=3`` as ``++training.epoch=3``: any key may be given plainly, and a wrong one is our error."""
    key = override.partition("=")[0]
    return f"++{override}" if "." in key and key[0] not in "+~" else override


def _resolve_paths(plain: Any) -> None:
    """Make relative paths absolute: trials run in other folders. A table's path stays as typed and its root becomes
    absolute, so that another machine can be told the root alone."""
    data, training = plain.get("data"), plain.get("training")
    if isinstance(data, dict) and (isinstance(data.get("root"), str) or data.get("name") != "digits"):
        data["root"] = _path("data.root", data.get("root") or "")  # digits come with scikit-learn
    if isinstance(training, dict) and isinstance(training.get("init_from"), str):
        training["init_from"] = _path("training.init_from", training["init_from"])


def path_here(key: str, value: Any) -> Any:
    """Resolve the value of a key that overrides a recorded configuration: a relative path as in a new configuration."""
    if not isinstance(value, str):
        return value
    if key in ("data.path", "data.test_path"):
        return _path(key, value, os.environ.get("MODA_DATA_DIR"))
    return _path(key, value) if key in ("data.root", "training.init_from") else value


def _path(key: str, value: str, base: str | None = None) -> str:
    """As :func:`absolute`; a URI would become a folder such as ``s3:`` in the working folder."""
    if "://" in value:
        raise ConfigError(f"{key}={value} is a URI; copy the file to this machine and give its path")
    return absolute(value, base)


def _why_not_merged(cause: BaseException) -> str:
    """Why an override does not fit the key that it is for, and what to write."""
    if "Cannot merge" in str(cause):
        return "the key is a mapping; give one, as {name: value}"
    return "the value cannot be read; write \\${ for a literal ${"


def _one_line(error: BaseException) -> str:
    """The message of an error, or of its cause where it has none, without Hydra's extra lines."""
    while not str(error).strip() and error.__cause__ is not None:
        error = error.__cause__
    noise = ("full_key", "object_type", "Set the env variable", "See https", "To append to your config")
    if str(error).startswith(MERGING) and error.__cause__ is not None:
        return f"{str(error).removeprefix(MERGING).lstrip('+')}: {_why_not_merged(error.__cause__)}"
    text = str(error).partition("Config search path")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = " ".join(line for line in lines if not line.startswith(noise))
    if "nterpolation" in line:
        line += "; write \\${ for a literal ${"
    if unknown := re.match(r"Could not override '([^']*)'", line):
        line = line.rstrip(".") + meant(unknown[1], [*DECLARED, *known_keys()])
        line += f"; top-level keys: {', '.join(field.name for field in dataclasses.fields(Config))}"
    return line
