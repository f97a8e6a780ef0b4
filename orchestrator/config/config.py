"""The configuration of a command: plain data becomes frozen dataclasses, checked.

Whatever is wrong becomes a :class:`ConfigError` of one line that names the key, the value and what would be right.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moda_core.methods import METHODS
from orchestrator.config.checks import SEEDS, one_of
from orchestrator.config.data_section import DataConfig
from orchestrator.config.evaluation_section import EvaluationConfig
from orchestrator.config.mixed import (
    METHOD,
    MethodSettings,
    dimension_name,
    flat_space,
    method_and_key,
    nested_space,
)
from orchestrator.config.model_names import IMPORT_PATH, check_model_name, model_options
from orchestrator.config.overrides import (
    all_keys,
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
                "evaluation.augmented=true: training images are not augmented; set data.crop, data.flip or"
                " data.augmentations, or evaluation.augmented=false"
            )
        if all(self.evaluation.metrics.values()):  # else not all that may be an objective is known yet
            self.search.check_metrics(self.evaluation.own_metrics)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of its points: those of this package and a user's own, by name."""
        return {**METRICS, **self.evaluation.own_metrics}

    @property
    def methods(self) -> list[MethodConfig]:
        """The method, or all methods of a sweep of several."""
        return [settings.method for settings in self.search.methods.values()] or [self.method]

    def of_method(self, coefficients: Mapping[str, Any]) -> "Config":
        """Return this configuration with the method that coefficients name, and what it brings along; of a sweep of one
        method this configuration.

        Raises:
            ConfigError: no method of the sweep.
        """
        if not self.search.methods:
            return self
        name = coefficients.get(METHOD, self.method.choice)
        one_of(METHOD, name, list(self.search.methods))
        settings = self.search.methods[str(name)]
        evaluation = {**as_plain(self.evaluation), **settings.evaluation}
        return dataclasses.replace(
            self,
            method=dataclasses.replace(settings.method, choice=str(name)),
            training=build(TrainingConfig, {**as_plain(self.training), **settings.training}, "training"),
            evaluation=build(EvaluationConfig, evaluation, "evaluation"),
        )

    def with_coefficients(self, coefficients: Mapping[str, Any]) -> "Config":
        """Return this configuration with a trial's coefficients, which are keys of method, training or model.

        In a sweep of several methods they also say which one it is, and have its own as ``method.<name>.<key>``.

        Raises:
            ConfigError: keys of none of them, or of another method; values that these do not take.
        """
        if self.search.methods:
            return self.of_method(coefficients)._with_own(coefficients)
        return self._with(coefficients)

    def _with_own(self, coefficients: Mapping[str, Any]) -> "Config":
        """With the coefficients of a sweep of several methods, the method in place."""
        own = {}
        for name, value in coefficients.items():
            method, key = method_and_key(name)
            if method not in (None, self.method.choice):
                raise ConfigError(f"{name}={value}: the method is {self.method.choice}; leave it out")
            if name != METHOD:
                own[key] = value
        return self._with(own)

    def _with(self, coefficients: Mapping[str, Any]) -> "Config":
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
                options[key] = int(value) if _means_whole(self._dimension(key), usual, value) else value
            else:
                keys = [*method, *_field_names(self.training), *accepted]
                raise ConfigError(
                    f"unknown key search.space.{key}; known keys of method, training and model:"
                    f" {', '.join(sorted(keys))}"
                )
        return dataclasses.replace(
            self,
            method=dataclasses.replace(self.method, coefficients=method),
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
        """Return the value of a dimension of the space, or of a key of method, training or model; None if the model's
        own default is used, and for a dimension of another method.
        """
        if key == METHOD and self.method.choice is not None:
            return self.method.choice
        method, key = method_and_key(key)
        if method not in (None, self.method.choice):
            return None
        if key in self.method.coefficients:
            return self.method.coefficients[key]
        if key in _field_names(self.training):
            return getattr(self.training, key)
        return self.model.options.get(key)

    def _dimension(self, key: str) -> Dimension | None:
        """The dimension of a key, shared or the method's own."""
        return self.search.space.get(dimension_name(self.method.choice or "", key), self.search.space.get(key))


def parse_config(plain: Mapping[str, Any]) -> Config:
    """Check plain data and build the configuration from it."""
    sections = {field.name for field in dataclasses.fields(Config)}
    if unknown := sorted(set(plain) - sections - NOT_CONFIGURED):
        close = meant(unknown[0], all_keys())
        raise ConfigError(f"unknown key {unknown[0]}{close}; top-level keys: {', '.join(sorted(sections))}")
    if absent := sorted(sections - set(plain)):
        raise ConfigError(f"keys {absent} are missing")
    search = dict(typed("search", plain["search"], dict))
    methods = typed("search.methods", search.get("methods") or {}, dict)
    search["methods"] = {name: _settings(value, f"search.methods.{name}") for name, value in methods.items()}
    space = typed("search.space", search.get("space") or {}, dict)
    if methods:
        space = flat_space(space, methods)
    search["space"] = {key: build(Dimension, value, f"search.space.{key}") for key, value in space.items()}
    baselines = typed("search.baselines", search.get("baselines") or [], list)
    search["baselines"] = tuple(_baseline(baseline, search["methods"], space) for baseline in baselines)
    search["objectives"] = _objectives(search.get("objectives"))
    search["reference"] = search.get("reference") or {}
    evaluation = build(EvaluationConfig, _evaluation(plain["evaluation"]), "evaluation")
    return Config(
        model=_model(plain["model"]),
        data=build(DataConfig, plain["data"], "data").completed(),
        method=dataclasses.replace(_method(plain["method"]), choice=next(iter(methods), None)),
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
    plain["method"] = _plain_method(config.method)
    if not config.search.methods:
        del plain["search"]["methods"]
        return plain
    plain["search"]["space"] = nested_space(plain["search"]["space"])
    for name, settings in config.search.methods.items():
        plain["search"]["methods"][name][METHOD] = _plain_method(settings.method)
    return plain


def _plain_method(method: MethodConfig) -> dict[str, Any]:
    return {"name": method.name, **as_plain(method.coefficients)}


def _settings(value: Any, where: str) -> MethodSettings:
    """What one method of several brings along."""
    stated = typed(where, value, dict)
    try:
        settings: MethodSettings = build(MethodSettings, {**stated, METHOD: _method(stated.get(METHOD))}, where)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return settings


def _baseline(baseline: Any, methods: Mapping[str, MethodSettings], space: Mapping[str, Any]) -> Any:
    """A baseline of several methods with its own method's coefficients and dimensions by their names."""
    if not isinstance(baseline, Mapping) or baseline.get(METHOD) not in methods:
        return baseline
    method = str(baseline[METHOD])

    def name_of(key: str) -> str:
        name = dimension_name(method, key)
        return name if key in methods[method].method.coefficients or name in space else key

    return {key if key == METHOD else name_of(key): value for key, value in baseline.items()}


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
