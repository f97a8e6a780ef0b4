from .built_in import (
    ACTIVITY,
    CONTRIBUTION,
    MAGNITUDE,
    SCORE,
    SIZE,
    ActivityRule,
    ContributionRule,
    SizeRule,
    reaches,
)
from .by_name import RULES
from .gate_counts import dead_sites
from .gate_rule import GATE, GateRule
from .magnitude import MagnitudeRule
from .score_rule import ScoreRule

__all__ = [
    "ACTIVITY",
    "CONTRIBUTION",
    "GATE",
    "MAGNITUDE",
    "RULES",
    "SCORE",
    "SIZE",
    "ActivityRule",
    "ContributionRule",
    "GateRule",
    "MagnitudeRule",
    "ScoreRule",
    "SizeRule",
    "dead_sites",
    "reaches",
]
