"""Rules of a user's own: named by import path, and completed with the values of their parameters.

Only what trains, measures or publishes imports them. Their parameters' values are recorded with the sweep.
"""

from collections.abc import Mapping, Sequence

from moda_core.choosing import Rule
from moda_core.rules import RULES
from orchestrator.config import Config, parse_config, short_name, to_plain
from orchestrator.errors import ConfigError, listed
from orchestrator.training.importing import import_named

NEEDED = ("name", "parameters", "sites", "check", "count", "choose")


def with_own_rules(config: Config) -> Config:
    """Fill in the values of the parameters of a user's own rules, where none are set. A configuration without own
    rules, or a complete one, is returned unchanged.

    Raises:
        ConfigError: a path that cannot be imported, what is not a rule, or values that it does not take.
    """
    grids = config.evaluation.rules
    if not grids:
        return config
    if len({short_name(path) for path in grids}) < len(grids):
        raise ConfigError(f"evaluation.rules: {listed(grids)} do not differ behind the colon; rename one")
    if taken := sorted(RULES.keys() & {short_name(path) for path in grids}):
        raise ConfigError(f"evaluation.rules: {taken[0]} is a built-in rule; rename yours")
    complete = to_plain(config)
    complete["evaluation"]["rules"] = {path: _whole_grid(path, grid) for path, grid in grids.items()}
    return parse_config(complete)


def make_own_rule(path: str) -> Rule:
    """The rule of an import path: an object, or a class that is made without arguments."""
    found, here = import_named("evaluation.rules", path), f"evaluation.rules: {path!r}"
    if missing := [name for name in NEEDED if not hasattr(found, name)]:
        raise ConfigError(f"{here} has no {missing[0]}; a rule has {', '.join(NEEDED)} (moda_core.Rule)")
    rule: Rule = found() if isinstance(found, type) else found
    if not rule.parameters:
        raise ConfigError(f"{here} has no parameters; a rule has at least one")
    return rule


def _whole_grid(path: str, stated: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The values of each parameter of a rule, in its order."""
    rule = make_own_rule(path)
    names = [parameter.name for parameter in rule.parameters]
    if unknown := sorted(set(stated) - set(names)):
        raise ConfigError(f"evaluation.rules: {path} has no parameter {unknown[0]}; known: {', '.join(names)}")
    grid = {parameter.name: list(stated.get(parameter.name) or parameter.grid) for parameter in rule.parameters}
    for parameter in rule.parameters:
        if not grid[parameter.name]:
            raise ConfigError(
                f"evaluation.rules: {path} has no values of {parameter.name} by itself; state them,"
                f" evaluation.rules=[{{name: {path}, {parameter.name}: [0.1, 0.2]}}]"
            )
        for value in grid[parameter.name]:
            try:
                parameter.check(value)
            except ValueError as error:
                raise ConfigError(f"evaluation.rules: {path}: {error}") from error
    return grid
