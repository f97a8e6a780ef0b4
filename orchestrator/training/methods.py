"""Which training method a configuration names: one that is shipped, or a user's own by import path.

Only what trains imports a user's own: a command that looks at a sweep has its name and coefficients from the record.
"""

import dataclasses
import inspect
from typing import Any, cast

from moda_core.methods import GATE_RULES, METHODS, Method
from orchestrator.config import METHOD, Config, MethodConfig, as_plain, build, method_and_key, parse_config, to_plain
from orchestrator.errors import ConfigError, listed
from orchestrator.storage import TABLES, TERM_COLUMNS
from orchestrator.training.importing import import_named

KEYS = {
    "contribution": "levels",
    "size": "targets",
    "magnitude": "magnitude_targets",
    "gate": "gate_shares",
}  # of the rules that a method may not offer
NEEDED = ("prepare", "objective", "gates", "after")
RESERVED = ("name", "source")  # what a method's section of the configuration and of the identity holds besides


def make_method(config: MethodConfig) -> Method:
    """Make the method with its coefficients.

    Raises:
        ConfigError: a path that cannot be imported, what is not a method, or coefficients that it does not take.
    """
    kind = METHODS[config.name] if not config.is_own else _own_class(config.name)
    return cast(Method, build(kind, config.coefficients, "method"))


def with_method_defaults(config: Config) -> Config:
    """Fill in the defaults of a user's own method: its coefficients, and its search space if none is set. A complete
    configuration is returned unchanged. Of several methods it is done for each.

    Raises:
        ConfigError: as :func:`make_method`; or epochs of a method that has none.
    """
    if not config.search.methods:
        return _with_defaults(config)
    for name in config.search.methods:
        config = _with_defaults_of(config, name)
    return config


def _with_defaults_of(config: Config, name: str) -> Config:
    """With what the class of one method of several says, where it is a user's own."""
    of_method = config.of_method({METHOD: name})
    if not of_method.method.is_own:
        _with_defaults(of_method)
        return config
    dimensions = {method_and_key(key): dimension for key, dimension in config.search.space.items()}
    search = dataclasses.replace(
        config.search,
        methods={},
        space={key: dimension for (method, key), dimension in dimensions.items() if method == name},
        baselines=tuple(baseline for baseline in config.search.baselines if baseline[METHOD] == name),
    )
    own, complete = to_plain(_with_defaults(dataclasses.replace(of_method, search=search))), to_plain(config)
    settings, space = complete["search"]["methods"][name], complete["search"]["space"]
    settings["method"] = own["method"]
    settings["evaluation"].update({key: [] for key in KEYS.values() if not own["evaluation"][key]})
    space[METHOD][name] = {key: dimension for key, dimension in own["search"]["space"].items() if key not in space}
    others = [baseline for baseline in complete["search"]["baselines"] if baseline[METHOD] != name]
    stated = [{**baseline, METHOD: name} for baseline in own["search"]["baselines"]]
    complete["search"]["baselines"] = [*others, *stated]
    if config.method.choice == name:
        complete["method"] = own["method"]
    return parse_config(complete)


def _with_defaults(config: Config) -> Config:
    method = make_method(config.method)
    kind = type(method)
    if not method.needs_training and config.training.epochs > 0:
        raise ConfigError(
            f"training.epochs={config.training.epochs}: method.name={config.method.name} takes a trained network; set"
            " training.epochs=0 and training.init_from=..."
        )
    if not config.method.is_own:
        _check_gates(config, kind)
        return config
    complete = to_plain(config)
    complete["method"] = {"name": config.method.name, **as_plain(method)}
    if not config.search.space:
        complete["search"]["space"] = {key: dict(dimension) for key, dimension in kind.space.items()}
        complete["search"]["baselines"] = [*config.search.baselines] or [dict(baseline) for baseline in kind.baselines]
    for rule, key in KEYS.items():
        if rule not in kind.rules:
            complete["evaluation"][key] = []
    return parse_config(complete)


def _check_gates(config: Config, kind: type[Method]) -> None:
    """Refuse shares of open gates with a method whose networks have none, and gates that are not trained."""
    name, has_gates = config.method.name, "gate" in kind.rules
    if config.evaluation.gate_shares and not has_gates:
        gated = ", ".join(name for name, other in METHODS.items() if "gate" in other.rules)
        raise ConfigError(
            f"evaluation.gate_shares={list(config.evaluation.gate_shares)}: method.name={name} trains no gates; leave"
            f" it out, or choose a method that does: {gated}"
        )
    if has_gates and config.training.epochs == 0:
        raise ConfigError(
            f"training.epochs=0: the mask generators of method.name={name} are not among weights from elsewhere and"
            " would not be trained; set training.epochs=1 or more, or another method"
        )


def _own_class(path: str) -> type[Method]:
    """The class of an import path, if it is a method."""
    kind: Any = import_named("method.name", path)
    here = f"method.name={path!r}"
    if not inspect.isclass(kind) or not hasattr(kind, "__dataclass_fields__"):
        raise ConfigError(f"{here} is not a dataclass; a method is a frozen dataclass of its coefficients")
    if missing := [name for name in (*NEEDED, *Method.__annotations__) if not hasattr(kind, name)]:
        raise ConfigError(f"{here} has no {missing[0]}; derive it from moda_core.methods.Method")
    if taken := [field.name for field in dataclasses.fields(kind) if field.name in RESERVED]:
        raise ConfigError(f"{here}: a coefficient must not be called {taken[0]}")
    _check_terms(here, kind.terms)
    if unknown := sorted(set(kind.rules) - set(GATE_RULES)):
        raise ConfigError(f"{here}: rules names {listed(unknown)}; known: {', '.join(GATE_RULES)}")
    if "activity" not in kind.rules:
        raise ConfigError(f"{here}: rules={listed(kind.rules)} must name activity, by which every trial is decomposed")
    return cast(type[Method], kind)


def _check_terms(here: str, terms: tuple[str, ...]) -> None:
    """Refuse names of terms that stand for something else beside them."""
    columns = [name for name in TABLES["epochs"].columns if name not in TERM_COLUMNS]
    for name in terms:
        if not name.isidentifier() or name in columns or list(terms).count(name) > 1:
            raise ConfigError(
                f"{here}: terms names {name!r}; use different names of letters, digits and _, and none of"
                f" {', '.join(columns)}"
            )
