from .built_in import ACTIVITY, CONTRIBUTION, RULES, SIZE, ActivityRule, ContributionRule, SizeRule, reaches

__all__ = [
    "ACTIVITY",
    "CONTRIBUTION",
    "RULES",
    "SIZE",
    "ActivityRule",
    "ContributionRule",
    "SizeRule",
    "reaches",
]
