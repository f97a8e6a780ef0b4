from .metrics import COUNT, CUT_NAMES, MARGIN, METRICS, NUMBER, OBJECTIVES, Metric

__all__ = ["COUNT", "CUT_NAMES", "MARGIN", "METRICS", "NUMBER", "OBJECTIVES", "Metric"]
