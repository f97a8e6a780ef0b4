"""Your own metric as an objective: the largest module, where the default objective is the mean over classes.

    export PYTHONPATH=docs/examples
    moda sweep 'evaluation.metrics=[own_metric:LargestModule]' \\
        'search.objectives={calibrated_reuse_accuracy: max, largest_module: min}'
"""

from typing import ClassVar

import torch

from orchestrator.declarations import Metric
from orchestrator.training import Measured


class LargestModule:
    """The share of all units that the class with the largest module keeps."""

    declaration: ClassVar[Metric] = Metric(
        "largest_module", "largest module", direction="min", short="largest", unit="share of units", reference=1.0
    )

    def measure(self, point: Measured) -> float:
        """The masks of a point are one boolean tensor (classes, units) for each layer."""
        kept_C = torch.stack([mask_CN.sum(1) for mask_CN in point.masks]).sum(0)
        return float(kept_C.max()) / sum(mask_CN.shape[1] for mask_CN in point.masks)
