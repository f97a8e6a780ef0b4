from .built_in import (
    ACTIVITY,
    BY_CONTRIBUTION,
    CONTRIBUTION,
    MAGNITUDE,
    RANKINGS,
    SCORE,
    SIZE,
    WORTH,
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
    "BY_CONTRIBUTION",
    "CONTRIBUTION",
    "GATE",
    "MAGNITUDE",
    "RANKINGS",
    "RULES",
    "SCORE",
    "SIZE",
    "WORTH",
    "ActivityRule",
    "ContributionRule",
    "GateRule",
    "MagnitudeRule",
    "ScoreRule",
    "SizeRule",
    "dead_sites",
    "reaches",
]
