"""The rule of methods that train a score for each class and unit: a class keeps the units whose score is high enough.

This file loads no torch: what there is to choose is known before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from moda_core.choosing import DEFAULT_FLOOR, Parameter, check_parameters
from moda_core.errors import NetworkError
from moda_core.rules.at_activations import AtActivations, pack_empty, unpack_empty

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch import Tensor, nn

    from moda_core.choosing import Decomposition
    from moda_core.units import UnitLayers

    Batches = Iterable[tuple[Tensor, Tensor]]


class ScoreRule(AtActivations):
    """The rule by which a class keeps the units whose trained score lies above a value; 0 as GradSplitter publishes it.

    Where a class would keep no unit of a layer it keeps the one with the largest score, unless tokens pass beside the
    layer.
    """

    name: ClassVar[str] = "score"
    parameters: ClassVar[tuple[Parameter, ...]] = (Parameter("score", "score", -1e6, 1e6, grid=(0.0,)),)

    def count(
        self,
        network: nn.Module,
        sites: UnitLayers,
        batches: Batches,
        *,
        num_classes: int,
        grid: Mapping[str, Sequence[float]],
        group: dist.ProcessGroup | None = None,
    ) -> dict[str, Tensor]:
        """Refuse, since scores are trained and not counted: :meth:`pack` takes them.

        Raises:
            NetworkError: always.
        """
        raise NetworkError("scores of units are trained by a method such as gradsplitter, which this network was not")

    def pack(self, scores: Sequence[Tensor], may_be_empty: Sequence[bool] = ()) -> dict[str, Tensor]:
        """Return trained scores as counts by name.

        Args:
            scores: L tensors of (C, N_l).
            may_be_empty: of each layer, whether a class may keep none of its units; () if there is no such layer.
        """
        packed = {f"scores_{layer}": scores_CN.float().cpu() for layer, scores_CN in enumerate(scores)}
        return {**packed, **pack_empty(may_be_empty)}

    def choose(
        self, counts: Mapping[str, Tensor], parameters: Mapping[str, float], *, floor: float = DEFAULT_FLOOR
    ) -> Decomposition:
        """Keep the units above the score. The floor is one unit of each site that may not be empty, whatever ``floor``
        is; ``floored`` says in how many (class, site) pairs it acted."""
        from moda_core.choosing import Decomposition, keep_some_unit

        check_parameters(self, parameters)
        keep, floored = [], 0
        may_be_empty = unpack_empty(counts)
        for layer in range(sum(name.startswith("scores_") for name in counts)):
            scores_CN = counts[f"scores_{layer}"]
            mask_CN = scores_CN > parameters["score"]
            if may_be_empty and may_be_empty[layer]:
                keep.append(mask_CN)
                continue
            floored += int((~mask_CN.any(1)).sum())
            keep.append(keep_some_unit(mask_CN, scores_CN))
        return Decomposition(keep, floored=floored)
