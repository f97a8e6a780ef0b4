"""The trainings at the ends of a sweep's space, tried before anything is trained."""

from orchestrator.config import Config, corners
from orchestrator.training import check_trainable, distinct
from orchestrator.training.data import Data


def tried_corners(config: Config, data: Data) -> list[Config]:
    """Return the different trainings at the ends of a sweep's space, each tried on a few images.

    Args:
        config: of the sweep.
        data: its images.

    Raises:
        ConfigError: one that would fail.
    """
    tried = distinct(map(config.with_coefficients, corners(config.search)))
    for corner in tried:
        check_trainable(corner, data)
    return tried
