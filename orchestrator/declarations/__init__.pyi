from .metrics import COUNT, CUT_NAMES, METRICS, OBJECTIVES, Metric

__all__ = ["COUNT", "CUT_NAMES", "METRICS", "OBJECTIVES", "Metric"]
