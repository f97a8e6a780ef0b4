"""The built-in rules by name, in the order of lists. Importing them loads no torch."""

from moda_core.choosing import Rule
from moda_core.rules.built_in import ACTIVITY, CONTRIBUTION, MAGNITUDE, SCORE, SIZE
from moda_core.rules.gate_rule import GATE

RULES: dict[str, Rule] = {rule.name: rule for rule in (ACTIVITY, CONTRIBUTION, SIZE, MAGNITUDE, SCORE, GATE)}
