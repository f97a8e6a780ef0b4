from .built_in import (
    ACTIVITY,
    CONTRIBUTION,
    MAGNITUDE,
    RULES,
    SCORE,
    SIZE,
    ActivityRule,
    ContributionRule,
    SizeRule,
    reaches,
)
from .magnitude import MagnitudeRule
from .score_rule import ScoreRule

__all__ = [
    "ACTIVITY",
    "CONTRIBUTION",
    "MAGNITUDE",
    "RULES",
    "SCORE",
    "SIZE",
    "ActivityRule",
    "ContributionRule",
    "MagnitudeRule",
    "ScoreRule",
    "SizeRule",
    "reaches",
]
