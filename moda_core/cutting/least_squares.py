"""Sums of a least-squares problem, gathered batch by batch, and its solution in closed form.

Shapes: G independent problems side by side, R rows (observations), F features, K outputs.
"""

import torch
from torch import Tensor

SMALLEST = 1e-3  # singular value of A, relative to the largest, that still counts


class LeastSquares:
    """Minimises ||A D - R||^2 over D for each of G problems, from the sums A'A and A'R in float64.

    Nothing but these sums is kept, so that any number of rows fits into memory.
    """

    def __init__(self, problems: int, features: int, outputs: int, device: torch.device) -> None:
        self.gram_GFF = torch.zeros(problems, features, features, dtype=torch.float64, device=device)
        self.cross_GFK = torch.zeros(problems, features, outputs, dtype=torch.float64, device=device)

    def add(self, features_GFR: Tensor, wanted_GKR: Tensor) -> None:
        """Add rows: A and R, each with the rows last."""
        wide_GFR = features_GFR.double()
        self.gram_GFF += wide_GFR @ wide_GFR.mT
        self.cross_GFK += wide_GFR @ wanted_GKR.double().mT

    def solve(self) -> Tensor:
        """Return D, float64 (G, F, K): of all solutions the one of least norm, as ``numpy.linalg.lstsq`` with
        ``rcond=1e-3`` gives it.

        Directions in which the rows hardly differ count as undetermined: fitted to them, weights grow so large that
        other images are far off.

        Raises:
            ValueError: rows with NaN, or numbers that are too large.
        """
        if not (self.gram_GFF.isfinite().all() and self.cross_GFK.isfinite().all()):
            raise ValueError("a least-squares fit of NaN or infinite numbers; the network gives such on these images")
        values_GF, vectors_GFF = torch.linalg.eigh(self.gram_GFF)
        counts_GF = values_GF > SMALLEST**2 * values_GF[:, -1:]
        inverse_GF = torch.where(counts_GF, 1 / torch.where(counts_GF, values_GF, 1.0), 0.0)
        solution_GFK: Tensor = vectors_GFF @ (inverse_GF[:, :, None] * (vectors_GFF.mT @ self.cross_GFK))
        return solution_GFK
