"""Least squares from sums of batches against numpy.linalg.lstsq on all rows at once."""

import numpy as np
import pytest
import torch

from moda_core.cutting.least_squares import SMALLEST, LeastSquares


def problem(singular, seed, rows=40, outputs=3):
    """Features of known singular values, and what they should give."""
    generator = np.random.default_rng(seed)
    left, _ = np.linalg.qr(generator.normal(size=(rows, len(singular))))
    right, _ = np.linalg.qr(generator.normal(size=(len(singular), len(singular))))
    return left @ np.diag(singular) @ right, generator.normal(size=(rows, outputs))


@pytest.mark.parametrize(
    "singular",
    [
        [3.0, 1.0, 0.5, 0.1],
        [1.0, 0.5, 2 * SMALLEST, SMALLEST / 2, 1e-9],  # the last two count as 0
        [1.0, 0.5, 0.0, 0.0, 0.0],
    ],
)
def test_several_problems_are_solved_as_numpy_solves_each(singular):
    pairs = [problem(singular, seed) for seed in range(2)]
    fit = LeastSquares(2, len(singular), 3, torch.device("cpu"))
    for part in (slice(0, 7), slice(7, 40)):
        features, wanted = (torch.stack([torch.tensor(one[place][part].T) for one in pairs]) for place in range(2))
        fit.add(features, wanted)
    found = fit.solve()
    for index, (features, wanted) in enumerate(pairs):
        expected = np.linalg.lstsq(features, wanted, rcond=SMALLEST)[0]
        assert np.allclose(found[index].numpy(), expected, rtol=1e-6, atol=1e-8)


def test_numbers_that_are_not_finite_are_refused():
    fit = LeastSquares(1, 2, 1, torch.device("cpu"))
    fit.add(torch.full((1, 2, 4), torch.inf), torch.zeros(1, 1, 4))
    with pytest.raises(ValueError, match="a least-squares fit of NaN or infinite numbers"):
        fit.solve()
