"""What the module of all classes makes of each class, and what the class's own module costs.

Shapes: C classes, I images of the draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from moda_core import Decomposition, ReuseDraw, reuse_logits, spread_sizes
from moda_core.measuring import composed_sizes
from moda_core.units import UnitLayers
from orchestrator.config import Choice, EvaluationConfig
from orchestrator.training.batch_losses import computing
from orchestrator.training.calibration import with_stored_bias
from orchestrator.training.data import ImageSet
from orchestrator.training.decompose import Trained, choose


def measure_classes(
    trained: Trained,
    images: ImageSet,
    config: EvaluationConfig,
    *,
    split: str,
    class_names: Sequence[str],
    points: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return a row of the table ``classes`` for each point and class.

    Args:
        trained: the network.
        images: of the split that is measured; as many of them are drawn as reuse accuracy has pairs.
        config: of the evaluation.
        split: ``validation`` or ``test``.
        class_names: by class id.
        points: rows of the table ``points``, with the biases that are stored there.
    """
    if not points or not len(images):
        return []
    with computing(images.labels.device, trained.precision):
        draw = _draw(images.labels, len(class_names), config, split)
        labels_I, whole_I = draw.pair_label_P, _classes(trained.whole(), trained.layers, None, images, draw)
        rows = []
        for point in points:
            chosen = choose(trained, Choice.of_row(point), config)
            units = with_stored_bias(chosen.units, point["bias"])
            taken_I = _classes(trained.network, chosen.sites, units, images, draw)
            sizes_C = composed_sizes(chosen.graph, chosen.units, [[label] for label in range(len(class_names))])
            for label, name in enumerate(class_names):
                of_class_I = labels_I == label
                rows.append(
                    {
                        **Choice.of_row(point).columns,
                        "split": split,
                        "class_id": label,
                        "class_name": name,
                        "images": int(of_class_I.sum()),
                        "accuracy": _share(taken_I[of_class_I], label),
                        "whole_accuracy": _share(whole_I[of_class_I], label),
                        "taken_for": torch.bincount(taken_I[of_class_I], minlength=len(class_names)).tolist(),
                        "cut_size": float(sizes_C[label]),
                        "units": sum(int(mask_CN[label].sum()) for mask_CN in units.keep),
                        "full_units": sum(mask_CN.shape[1] for mask_CN in units.keep),
                    }
                )
    return rows


def _draw(labels: Tensor, num_classes: int, config: EvaluationConfig, split: str) -> ReuseDraw:
    """Images of all classes, of each equally many where there are so many, to be tested in the module of all."""
    prefix = "test_" if split == "test" else ""
    budget: int | None = getattr(config, f"{prefix}pairs")
    if budget is None:  # of sweeps from before there was one
        budget = getattr(config, f"{prefix}images_per_size") * len(spread_sizes(num_classes))
    generator = torch.Generator().manual_seed(config.seed)
    drawn = []
    for label in range(num_classes):
        of_class = (labels.cpu() == label).nonzero().flatten()
        order = torch.randperm(len(of_class), generator=generator)[: max(1, budget // num_classes)]
        drawn.append(of_class[order])
    index_I = torch.cat(drawn)
    subsets = torch.ones(1, num_classes, dtype=torch.bool)
    return ReuseDraw(subsets, index_I, torch.zeros_like(index_I), labels.cpu()[index_I])


def _classes(
    network: nn.Module, layers: UnitLayers, units: Decomposition | None, images: ImageSet, draw: ReuseDraw
) -> Tensor:
    """The class of the largest logit of each image; biases are added in float64, as where reuse accuracy is taken."""
    bias_C = None if units is None else units.bias_C
    if units is not None:
        units = replace(units, bias_C=None)
    logits_IC = reuse_logits(network, layers, units, images, draw)
    return (logits_IC if bias_C is None else logits_IC.double() + bias_C.double().cpu()).argmax(1)


def _share(taken: Tensor, label: int) -> float | None:
    return float((taken == label).double().mean()) if len(taken) else None
