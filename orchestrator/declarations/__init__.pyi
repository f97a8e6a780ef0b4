from .metrics import COUNT, METRICS, OBJECTIVES, Metric

__all__ = ["COUNT", "METRICS", "OBJECTIVES", "Metric"]
