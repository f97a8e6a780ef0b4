from .built_in import (
    ACTIVITY,
    CONTRIBUTION,
    MAGNITUDE,
    RULES,
    SIZE,
    ActivityRule,
    ContributionRule,
    SizeRule,
    reaches,
)
from .magnitude import MagnitudeRule

__all__ = [
    "ACTIVITY",
    "CONTRIBUTION",
    "MAGNITUDE",
    "RULES",
    "SIZE",
    "ActivityRule",
    "ContributionRule",
    "MagnitudeRule",
    "SizeRule",
    "reaches",
]
