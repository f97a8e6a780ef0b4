from .built_in import ACTIVITY, CONTRIBUTION, SIZE, ActivityRule, ContributionRule, SizeRule, reaches
from .by_name import RULES
from .gate_counts import dead_sites
from .gate_rule import GATE, GateRule

__all__ = [
    "ACTIVITY",
    "CONTRIBUTION",
    "GATE",
    "RULES",
    "SIZE",
    "ActivityRule",
    "ContributionRule",
    "GateRule",
    "SizeRule",
    "dead_sites",
    "reaches",
]
