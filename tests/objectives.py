"""Objectives and reference points whose hypervolumes can be computed by hand."""

from orchestrator.config.search_section import Objective

# The configuration of a sweep with linear scales and a reference point of reuse accuracy 0.5 and module size 1.
LINEAR = (
    "search.objectives.cut_size={direction: min, scale: linear}",
    "search.reference.calibrated_reuse_accuracy=0.5",
)


def linear(**directions: str) -> dict[str, Objective]:
    """Objectives on linear scales, by metric: ``accuracy="max"``."""
    return {name: Objective(direction, "linear") for name, direction in directions.items()}
