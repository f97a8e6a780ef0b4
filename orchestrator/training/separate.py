"""Points of methods that publish a separate network for each class instead of one for all: beside the front, on the
subsets of later stages, and without a module set.
"""

from collections.abc import Sequence
from typing import Any

import torch

from moda_core import correct_pairs, draw_pairs, estimate_reuse, summarize_reuse
from moda_core.methods import Separate
from orchestrator.config import Choice, Config
from orchestrator.declarations import SEPARATE
from orchestrator.training.data import EVALUATION_BATCH, Data, ImageSet
from orchestrator.training.decompose import Trained, accuracy
from orchestrator.training.methods import make_method
from orchestrator.training.stages import Subset, mean_over_sizes, splits_of, stage_subsets

PUBLISHED = 0.0  # the score above which units are kept in the networks that the heads were trained on


def measure_separate(trained: Trained, data: Data, config: Config) -> list[dict[str, Any]]:
    """A row of the table ``points`` for each split, where the method publishes separate networks; else none.

    The networks of the classes of a subset compete by what each says of an image; its size is their sum.
    """
    example = data.train[torch.zeros(2, dtype=torch.long, device=data.train.labels.device)]
    separate = make_method(config.method).separate(trained.network, trained.parts(), example)
    if separate is None:
        return []
    subsets = stage_subsets(data.num_classes, config.evaluation.seed)
    return [_row(separate, trained, name, images, subsets) for name, images in splits_of(data)]


def _row(
    separate: Separate, trained: Trained, split: str, images: ImageSet, subsets: Sequence[Subset]
) -> dict[str, Any]:
    draw = draw_pairs(images.labels, subsets, num_classes=trained.graph.output.channels)
    index = torch.arange(len(images), device=images.labels.device)
    said_IC = torch.cat([separate.predict(images[index_B]).cpu() for index_B in index.split(EVALUATION_BATCH)])
    found = summarize_reuse(correct_pairs(said_IC[draw.pair_image_P], draw), draw)
    return {
        **Choice.score(PUBLISHED).columns,
        "stage": SEPARATE,
        "split": split,
        "accuracy": accuracy(trained.network, images),
        "reuse_baseline": estimate_reuse(trained.network, trained.layers, None, images, draw).mean,
        "reuse_subsets": len(subsets),
        "reuse_images": draw.images,
        "reuse_accuracy": found.mean,
        "reuse_accuracy_error": found.standard_error,
        "accuracy_by_size": {str(size): value for size, value in found.by_size.items()},
        "composed_size": mean_over_sizes({subset: float(separate.sizes_C[list(subset)].sum()) for subset in subsets}),
    }
