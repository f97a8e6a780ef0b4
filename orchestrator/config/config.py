"""The configuration of a command: plain data becomes frozen dataclasses, checked.

Whatever is wrong becomes a :class:`ConfigError` of one line that names the key, the value and what would be right.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moda_core.methods import METHODS
from orchestrator.config.checks import SEEDS
from orchestrator.config.data_section import DataConfig
from orchestrator.config.evaluation_section import EvaluationConfig
from orchestrator.config.model_names import IMPORT_PATH, check_model_name, model_options
from orchestrator.config.overrides import (
    known_keys,
    meant,
)
from orchestrator.config.parsing import as_plain, build, typed
from orchestrator.config.search_section import Dimension, Objective, SearchConfig
from orchestrator.config.sections import MethodConfig, ModelConfig, SweepConfig, TrackingConfig
from orchestrator.config.training_section import TrainingConfig
from orchestrator.declarations import METRICS, Metric
from orchestrator.errors import ConfigError

# The chosen experiment, and the numbers of a paper that it may state (orchestrator/config/published.py).
NOT_CONFIGURED = {"experiment", "published"}


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
        if self.evaluation.augmented and not self.data.is_augmented:
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


def parse_config(plain: Mapping[str, Any]) -> Config:
    """Check plain data and build the configuration from it."""
    sections = {field.name for field in dataclasses.fields(Config)}
    if unknown := sorted(set(plain) - sections - NOT_CONFIGURED):
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
        data=build(DataConfig, plain["data"], "data").completed(),
        method=_method(plain["method"]),
        training=build(TrainingConfig, plain["training"], "training"),
        evaluation=evaluation,
        search=build(SearchConfig, search, "search").completed({**METRICS, **evaluation.own_metrics}),
        sweep=build(SweepConfig, plain["sweep"], "sweep"),
        tracking=build(TrackingConfig, plain["tracking"], "tracking"),
        storage=typed("storage", plain["storage"], str),
    )


def to_plain(config: Config) -> dict[str, Any]:
    """Return the configuration as plain data that :func:`parse_config` can read."""
    plain: dict[str, Any] = as_plain(config)
    plain["model"] = {"name": config.model.name, **plain["model"]["options"]}
    plain["method"] = {"name": config.method.name, **plain["method"]["coefficients"]}
    return plain


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
