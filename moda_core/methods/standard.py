"""Standard training: cross-entropy alone, the baseline of every front."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from moda_core.methods.method import Method, Objective, Workers

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Standard(Method):
    """Standard training: cross-entropy alone, without coefficients or terms, on the network itself."""

    standard_at_zero: ClassVar[tuple[str, ...] | None] = ()

    def objective(self, output: Any, labels: "Tensor", *, num_classes: int, size: int, workers: Workers) -> Objective:
        """Compute the cross-entropy."""
        from moda_core.methods.sharing import cross_entropy

        entropy = cross_entropy(output, labels, size=size, workers=workers)
        return Objective(entropy, entropy, {}, output)
