from .metrics import COUNT, CUT_NAMES, METRICS, OBJECTIVES, Metric
from .normalisations import NORMALISATIONS

__all__ = ["COUNT", "CUT_NAMES", "METRICS", "NORMALISATIONS", "OBJECTIVES", "Metric"]
