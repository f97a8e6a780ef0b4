"""What a rule decides: which units each class keeps, by how much it scales them, and a bias for its logit.

A module of several classes merges what they decided: the union of the units, the mean scale, and each class's own bias.

Shapes: C classes, T target classes, L sites, N_l units of site l.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moda_core.choosing.class_ids import check_class_ids

LARGEST_SCALE = 1e6  # of a mean scale and of a bias, so that float32 computes with them


@dataclass(frozen=True, eq=False)
class Scales:
    """The factors on the units of each class, stored as sums and counts, which can be added over classes.

    The scale of a unit in the module of T is (sum over T of its sums) / (sum over T of the counts), and 1 where the
    counts are 0.

    Attributes:
        sums: L floating-point tensors of (C, N_l).
        counts_C: how many observations are in a class's sums; where it is 0, so are the sums.

    Raises:
        ValueError: other shapes or types, counts below 0, or a mean scale that is not within +- 1e6.
    """

    sums: tuple[Tensor, ...]
    counts_C: Tensor

    def __post_init__(self) -> None:
        if self.counts_C.ndim != 1 or self.counts_C.dtype == torch.bool or self.counts_C.is_complex():
            raise ValueError(f"scale counts: {_shown(self.counts_C)}; expected one number for each class")
        counts_C1 = self.counts_C.double()[:, None]
        if not bool(((counts_C1 >= 0) & (counts_C1 < float("inf"))).all()):
            raise ValueError("scale counts must be finite numbers of at least 0")
        for index, sums_CN in enumerate(self.sums):
            if sums_CN.ndim != 2 or len(sums_CN) != len(counts_C1) or not sums_CN.is_floating_point():
                raise ValueError(
                    f"scale sums of site {index}: {_shown(sums_CN)}; expected floats of ({len(counts_C1)}, units)"
                )
            if not bool((sums_CN.double().abs() <= LARGEST_SCALE * counts_C1).all()):  # refuses NaN too
                raise ValueError(f"scale sums of site {index}: sum / count must lie within +- {LARGEST_SCALE:g}")

    def merge(self, class_ids: Sequence[int]) -> list[Tensor]:
        """Return the scales in the module of these classes: L float64 tensors of (N_l,)."""
        ids = list(class_ids)
        count = self.counts_C[ids].double().sum()
        return [self._mean(sums_CN[ids].double().sum(0), count) for sums_CN in self.sums]

    def of_subsets(self, subsets_SC: Tensor) -> list[Tensor]:
        """Return the scales in the modules of many subsets of the classes: L float64 tensors of (S, N_l)."""
        subsets_SC = subsets_SC.double()
        count_S1 = subsets_SC @ self.counts_C.to(subsets_SC)[:, None]
        return [self._mean(subsets_SC @ sums_CN.to(subsets_SC), count_S1) for sums_CN in self.sums]

    def select(self, class_ids: Sequence[int]) -> "Scales":
        """Return the scales of these classes alone, in this order."""
        ids = list(class_ids)
        return Scales(tuple(sums_CN[ids] for sums_CN in self.sums), self.counts_C[ids])

    @staticmethod
    def _mean(sums: Tensor, counts: Tensor) -> Tensor:
        return torch.where(counts > 0, sums / torch.where(counts > 0, counts, 1.0), 1.0)


@dataclass(frozen=True, eq=False)
class MergedUnits:
    """The units and scales that make up the module of some target classes.

    Attributes:
        keep: L boolean tensors of (N_l,), the units it keeps.
        scales: L float64 tensors of (N_l,) that kept units are multiplied by; None for 1.
        bias_T: floating point, added to the logits, in the order of the target classes; None for 0.
    """

    keep: Sequence[Tensor]
    scales: Sequence[Tensor] | None = None
    bias_T: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Decomposition:
    """The decision of a rule for every class. A class's module multiplies each site's output by ``keep`` and the scale.

    Attributes:
        keep: L boolean tensors of (C, N_l), the units that each class keeps.
        scales: by how much kept units are multiplied; None for 1.
        bias_C: floating point, a number for each class that is added to its logit; None for 0.
        floored: in how many (class, site) pairs a floor added units, for the points table.

    Raises:
        ValueError: tensors of other shapes or types, or a bias that is not within +- 1e6.
    """

    keep: Sequence[Tensor]
    scales: Scales | None = None
    bias_C: Tensor | None = None
    floored: int = 0

    def __post_init__(self) -> None:
        if not self.keep:
            raise ValueError("a decomposition of no site; give one mask for each")
        classes = len(self.keep[0])
        for index, mask_CN in enumerate(self.keep):
            if mask_CN.dtype != torch.bool or mask_CN.ndim != 2 or len(mask_CN) != classes:
                raise ValueError(f"mask of site {index}: {_shown(mask_CN)}; expected bool ({classes}, units)")
        if self.scales is not None:
            shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (self.scales.sums, self.keep)]
            if shapes[0] != shapes[1]:
                raise ValueError(f"scale sums are of shapes {shapes[0]}; expected those of the masks, {shapes[1]}")
        if self.bias_C is not None:
            if not self.bias_C.is_floating_point() or tuple(self.bias_C.shape) != (classes,):
                raise ValueError(f"bias: {_shown(self.bias_C)}; expected floats of ({classes},)")
            if not bool((self.bias_C.abs() <= LARGEST_SCALE).all()):
                raise ValueError(f"bias: each number must lie within +- {LARGEST_SCALE:g}")

    @property
    def classes(self) -> int:
        """The number of classes, C."""
        return len(self.keep[0])

    @property
    def is_plain(self) -> bool:
        """Whether it consists of masks alone, without scales and bias."""
        return self.scales is None and self.bias_C is None

    def merge(self, class_ids: Sequence[int]) -> MergedUnits:
        """Return what the module of these classes is made of: the union of their units, the mean scales, and their
        bias.

        Raises:
            ValueError: no class, a class twice, or an id out of range.
        """
        check_class_ids(class_ids, self.classes)
        ids = list(class_ids)
        return MergedUnits(
            [mask_CN[ids].any(0) for mask_CN in self.keep],
            None if self.scales is None else self.scales.merge(ids),
            None if self.bias_C is None else self.bias_C[ids],
        )

    def select(self, class_ids: Sequence[int]) -> "Decomposition":
        """Return the decomposition of these classes alone, in this order.

        Raises:
            ValueError: as :meth:`merge`.
        """
        check_class_ids(class_ids, self.classes)
        ids = list(class_ids)
        return Decomposition(
            [mask_CN[ids] for mask_CN in self.keep],
            None if self.scales is None else self.scales.select(ids),
            None if self.bias_C is None else self.bias_C[ids],
        )

    def share(self, class_ids: Sequence[int]) -> "Decomposition":
        """Return the decomposition in which every class keeps and scales the units that the module of these classes
        does, without a bias: its module of all classes has their units and all logits.

        Raises:
            ValueError: as :meth:`merge`.
        """
        merged, rows = self.merge(class_ids), self.classes
        scales = None
        if merged.scales is not None:
            ones_C = torch.ones(rows, dtype=torch.float64, device=merged.scales[0].device)
            scales = Scales(tuple(scale_N.expand(rows, -1) for scale_N in merged.scales), ones_C)
        return Decomposition([keep_N.expand(rows, -1) for keep_N in merged.keep], scales)


Masks = Sequence[Tensor] | Decomposition
"""L boolean tensors of (C, N_l), or a decomposition, which may have scales and a bias too."""


def as_decomposition(masks: Masks) -> Decomposition:
    """Return plain masks as a decomposition without scales and bias, and a decomposition unchanged."""
    return masks if isinstance(masks, Decomposition) else Decomposition(list(masks))


def merged_units(keep: Masks, class_ids: Sequence[int]) -> MergedUnits:
    """Return what a module is made of, from masks (N_l,) that are already merged or from a decomposition."""
    return keep.merge(class_ids) if isinstance(keep, Decomposition) else MergedUnits(keep)


def _shown(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"
