"""When a point's modules say that an image is of none of their classes, and how often they err in that."""

from typing import Any

from torch import Tensor, nn

from moda_core import (
    Decomposition,
    ReuseDraw,
    UnitLayers,
    accepted_share,
    draw_outside,
    draw_pairs,
    draw_subsets,
    least_logits,
    reuse_logits,
)
from moda_core.measuring import ACCEPTED
from orchestrator.training.data import Data, ImageSet

SUBSETS = 10  # modules of a number of classes, at most
LEAST_PAIRS, PAIRS_OF_CLASS = 250, 25  # (image, module) pairs of a number of classes


def rejection_of(
    network: nn.Module, sites: UnitLayers, units: Decomposition, data: Data, *, seed: int
) -> dict[str, Any] | None:
    """The least logits of a set's classes, which 95 % of a class's images reach on the split by which points are
    chosen, and what modules of some numbers of classes accept on test by them.

    Args:
        network: of the trial.
        sites: where the point's units are.
        units: what each class keeps, with the bias of the set.
        data: of the trial.
        seed: of the modules and images that are drawn.

    Returns:
        ``accepted``, ``least_logits`` and under ``test`` for each number of classes the shares of images that are
        accepted: of the module's own classes (``own``) and of other ones (``others``). None for a network whose logits
        are not finite.
    """
    classes = data.num_classes
    sizes = sorted({1, 2, classes // 2, classes})
    pairs = max(LEAST_PAIRS, PAIRS_OF_CLASS * classes)

    def draw(images: ImageSet, sizes: list[int]) -> ReuseDraw:
        subsets = draw_subsets(classes, SUBSETS, seed=seed, sizes=sizes)
        return draw_pairs(images.labels, subsets, num_classes=classes, images_per_size=pairs, seed=seed)

    def logits(images: ImageSet, draw: ReuseDraw) -> Tensor:
        return reuse_logits(network, sites, units, images, draw)

    _, judged = data.judged
    drawn = draw(judged, sizes)
    logits_PC = logits(judged, drawn)
    if not bool(logits_PC.isfinite().all()):
        return None
    least_C = least_logits(logits_PC, drawn)
    test = {}
    for size in sizes[:-1]:
        own = draw(data.test, [size])
        outside = draw_outside(data.test.labels, own, num_classes=classes, images_per_size=pairs, seed=seed)
        test[str(size)] = {
            name: accepted_share(logits(data.test, pairs_of), pairs_of, least_C)
            for name, pairs_of in (("own", own), ("others", outside))
        }
    return {"accepted": ACCEPTED, "least_logits": least_C.float().tolist(), "test": test}
