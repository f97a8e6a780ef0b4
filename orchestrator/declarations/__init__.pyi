from .metrics import COUNT, CUT_NAMES, MARGIN, METRICS, NUMBER, OBJECTIVES, SHARE, STAGE_METRICS, Metric
from .normalisations import NORMALISATIONS
from .stages import CUT, REFIT, SEPARATE, STAGE_SIZES, STAGE_SUBSETS, STAGES, TUNED

__all__ = [
    "COUNT",
    "CUT",
    "CUT_NAMES",
    "MARGIN",
    "METRICS",
    "NORMALISATIONS",
    "NUMBER",
    "OBJECTIVES",
    "REFIT",
    "SEPARATE",
    "SHARE",
    "STAGES",
    "STAGE_METRICS",
    "STAGE_SIZES",
    "STAGE_SUBSETS",
    "TUNED",
    "Metric",
]
