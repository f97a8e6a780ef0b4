from .metrics import COUNT, CUT_NAMES, MARGIN, METRICS, NUMBER, OBJECTIVES, Metric
from .normalisations import NORMALISATIONS

__all__ = ["COUNT", "CUT_NAMES", "MARGIN", "METRICS", "NORMALISATIONS", "NUMBER", "OBJECTIVES", "Metric"]
