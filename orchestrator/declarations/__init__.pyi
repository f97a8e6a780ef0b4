from .augmentations import AUGMENTATIONS, MIXING, Parameter
from .keys import Key
from .metrics import COUNT, CUT_NAMES, MARGIN, METRICS, NUMBER, OBJECTIVES, SHARE, STAGE_METRICS, Metric, percent
from .normalisations import NORMALISATIONS
from .options import METHOD_KEYS, MODEL_KEYS, OWN_OPTION
from .stages import CUT, REFIT, SEPARATE, STAGE_SIZES, STAGE_SUBSETS, STAGES, TUNED

__all__ = [
    "AUGMENTATIONS",
    "COUNT",
    "CUT",
    "CUT_NAMES",
    "MARGIN",
    "METHOD_KEYS",
    "METRICS",
    "MIXING",
    "MODEL_KEYS",
    "NORMALISATIONS",
    "NUMBER",
    "OBJECTIVES",
    "OWN_OPTION",
    "REFIT",
    "SEPARATE",
    "SHARE",
    "STAGES",
    "STAGE_METRICS",
    "STAGE_SIZES",
    "STAGE_SUBSETS",
    "TUNED",
    "Key",
    "Metric",
    "Parameter",
    "percent",
]
