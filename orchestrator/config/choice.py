"""What is chosen after training, at no cost: which units a class keeps of a trained network."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moda_core.rules import RULES, reaches

ACTIVITY, CONTRIBUTION, SIZE, MAGNITUDE, SCORE, GATE = tuple(RULES)  # of this package, in the order of lists
PARAMETERS = {name: tuple(parameter.name for parameter in rule.parameters) for name, rule in RULES.items()}
SIZED = {SIZE: "target", MAGNITUDE: "magnitude_target"}  # the rules that ask for a size, and by which parameter
UNNAMED = (ACTIVITY, CONTRIBUTION)  # which points do not name: `3/0.9/0.1` and `3/0.1`
TARGETS = {"cut_size": SIZED[SIZE]}  # metrics that a parameter is a target for
COLUMNS = tuple(name for names in PARAMETERS.values() for name in names)  # each has a column of its own in the tables


@dataclass(frozen=True)
class Choice:
    """A rule for the units that a class keeps, with a value for each of its parameters.

    Attributes:
        rule: ``activity`` (tau and threshold: how often a unit is active), ``contribution`` (level: what it contributes
            to the class's logit), ``size`` (target: how large modules should be), ``magnitude`` (the same, by weights
            alone), ``score`` (by scores that the method has trained), ``gate`` (gate_share: how often a unit's gate is
            above 0), or the import path of a user's own rule.
        parameters: names and values, in the order of the rule.

    Raises:
        ValueError: parameters that are not those of a rule of this package, or none.
    """

    rule: str
    parameters: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        names = tuple(name for name, _ in self.parameters)
        if names != PARAMETERS.get(self.rule, names) or not names:
            wanted = " and ".join(PARAMETERS.get(self.rule, ("at least one parameter",)))
            raise ValueError(f"{self.rule}: {dict(self.parameters)} must give {wanted}")

    @classmethod
    def activity(cls, tau: float, threshold: float) -> "Choice":
        """A class keeps the units that are active on a share ``tau`` of its images, above ``threshold``."""
        return cls(ACTIVITY, (("tau", tau), ("threshold", threshold)))

    @classmethod
    def contribution(cls, level: float) -> "Choice":
        """A class keeps the units whose mean contribution to its logit reaches ``level``."""
        return cls(CONTRIBUTION, (("level", level),))

    @classmethod
    def size(cls, target: float) -> "Choice":
        """A class keeps the units of the largest contributions, so that modules have the size ``target`` on average."""
        return cls(SIZE, (("target", target),))

    @classmethod
    def gate(cls, share: float) -> "Choice":
        """A class keeps the units whose gate is above 0 on a share of its images."""
        return cls(GATE, (("gate_share", share),))

    @classmethod
    def magnitude(cls, target: float) -> "Choice":
        """Every class keeps the units of the largest filters, so that modules have the size ``target`` on average."""
        return cls(MAGNITUDE, (("magnitude_target", target),))

    @classmethod
    def score(cls, value: float) -> "Choice":
        """A class keeps the units whose trained score lies above ``value``."""
        return cls(SCORE, (("score", value),))

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Choice":
        """The choice that a row of the tables states; :attr:`columns` the other way round."""
        return _choice(row["rule"], row["rule_parameters"])

    @property
    def columns(self) -> dict[str, Any]:
        """As columns of the tables: the rule, its parameters as JSON, and those of this package's rules one by one."""
        values = self.values
        named = {name: values.get(name) if self.rule in PARAMETERS else None for name in COLUMNS}
        return {"rule": self.rule, "rule_parameters": json.dumps(values), **named}

    @property
    def values(self) -> dict[str, float]:
        """The values by name."""
        return dict(self.parameters)

    @property
    def free(self) -> dict[str, float]:
        """The values by the names that a search knows them by."""
        return {free_name(self.rule, name): value for name, value in self.parameters}

    @property
    def is_own(self) -> bool:
        """Whether the rule is a user's own."""
        return self.rule not in PARAMETERS

    @property
    def prefix(self) -> tuple[str, ...]:
        """What names the rule where a point is named: nothing for activity and contribution."""
        return () if self.rule in UNNAMED else (short_name(self.rule),)

    @property
    def name(self) -> str:
        """What names it where a point is named: ``0.9/0.1``, ``0.1`` or ``size/0.02``."""
        return "/".join([*self.prefix, *(f"{value:.12g}" for value in self.values.values())])

    @property
    def place(self) -> tuple[int, str, tuple[float, ...]]:
        """Its place in lists: by rule, then by the last parameter first, as threshold and tau."""
        rank = list(PARAMETERS).index(self.rule) if self.rule in PARAMETERS else len(PARAMETERS)
        return rank, self.rule, tuple(value for _, value in reversed(self.parameters))

    def reaches_target(self, size: float) -> bool:
        """Whether modules of this size are as large as they should be; True where no size was asked for."""
        return self.rule not in SIZED or reaches(self.values[SIZED[self.rule]], size)

    def __str__(self) -> str:
        """As people read it: ``tau 0.9, threshold 0.1``, ``level 0.1``, ``size target 0.02`` or ``gate share 0.9``."""
        texts = (f"{name.removeprefix(self.rule).strip('_')} {value:.12g}".strip() for name, value in self.parameters)
        return " ".join([*self.prefix, ", ".join(texts)])


def short_name(rule: str) -> str:
    """Return a rule's name without the module of an import path."""
    return rule.rpartition(":")[2]


def free_name(rule: str, parameter: str) -> str:
    """Return the name of a rule's parameter among all free parameters; for a user's own rule it includes the rule's
    name.
    """
    return parameter if rule in PARAMETERS else f"{short_name(rule)}.{parameter}"


@functools.lru_cache(maxsize=4096)
def _choice(rule: str, rule_parameters: str) -> Choice:
    """The choice that a row states; points of the same choice share one, of which a sweep has thousands."""
    values = json.loads(rule_parameters)
    names = PARAMETERS.get(rule, tuple(values))
    return Choice(rule, tuple((name, values[name]) for name in names))
