"""The bias of each class, against SciPy and the properties that define it."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from moda_core import fit_bias


def random_problem(seed, *, pairs=400, classes=6, scale=2.0):
    """Logits, subsets and labels of pairs; one class has logits that are too low."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, pairs)
    subsets = rng.random((pairs, classes)) < 0.5
    subsets[np.arange(pairs), labels] = True
    logits = rng.normal(size=(pairs, classes)) * scale
    logits[np.arange(pairs), labels] += 1.5
    logits[:, 0] -= 3.0
    return torch.from_numpy(logits), torch.from_numpy(subsets), torch.from_numpy(labels)


def by_scipy(logits, subsets, labels, ridge):
    logits, subsets, labels = logits.numpy(), subsets.numpy(), labels.numpy()
    rows = np.arange(len(labels))

    def loss(bias):
        biased = np.where(subsets, logits + bias, -np.inf)
        return np.mean(logsumexp(biased, axis=1) - biased[rows, labels]) + ridge / 2 * bias @ bias

    return minimize(loss, np.zeros(logits.shape[1]), method="BFGS", options={"gtol": 1e-9}).x


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_it_is_the_minimum_that_scipy_finds(seed, ridge):
    problem = random_problem(seed)
    found = fit_bias(*problem, ridge=ridge)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, by_scipy(*problem, ridge), atol=2e-6)
    assert found[0] == found.max() > 0.7  # the class whose logits were too low
    assert float(found.sum()) == pytest.approx(0.0, abs=1e-6)


def test_it_is_the_same_from_wherever_it_starts_and_each_time():
    problem = random_problem(3)
    found = fit_bias(*problem)
    assert torch.equal(fit_bias(*problem), found)
    start = torch.tensor([30.0, -20.0, 5.0, 0.0, 0.0, -40.0])
    torch.testing.assert_close(fit_bias(*problem, start_C=start), found, atol=1e-7, rtol=0)


def test_a_constant_on_all_logits_of_a_pair_changes_nothing():
    logits, subsets, labels = random_problem(4)
    shifted = logits + torch.linspace(-50, 50, len(labels), dtype=torch.float64)[:, None]
    torch.testing.assert_close(fit_bias(shifted, subsets, labels), fit_bias(logits, subsets, labels), atol=1e-7, rtol=0)


def test_logits_outside_the_subset_do_not_matter():
    logits, subsets, labels = random_problem(5)
    other = torch.where(subsets, logits, torch.full_like(logits, torch.nan))
    assert torch.equal(fit_bias(other, subsets, labels), fit_bias(logits, subsets, labels))


def test_a_bias_on_the_logits_is_taken_back():
    logits, subsets, labels = random_problem(6, pairs=3000)
    added = torch.tensor([2.0, -1.0, 0.5, 0.0, -1.5, 0.0], dtype=torch.float64)
    before, after = fit_bias(logits, subsets, labels, ridge=1e-9), fit_bias(logits + added, subsets, labels, ridge=1e-9)
    torch.testing.assert_close(before - after, added, atol=1e-5, rtol=0)


def test_a_class_that_never_competes_stays_at_zero():
    logits, subsets, labels = random_problem(7, classes=5)
    keep = labels != 3
    subsets[:, 3] = False
    found = fit_bias(logits[keep], subsets[keep], labels[keep])
    assert found[3] == 0.0
    assert (found[[0, 1, 2, 4]] != 0).all()


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_perfectly_separated_logits_give_a_bounded_bias(scale):
    """Every image of class 0 would be told from the others by any large bias of it."""
    labels = torch.tensor([0, 1] * 50)
    logits = torch.zeros(100, 2)
    logits[labels == 0] = scale * torch.tensor([5.0, 0.0])
    logits[labels == 1] = scale * torch.tensor([0.0, 0.5])
    found = fit_bias(logits, torch.ones(100, 2, dtype=torch.bool), labels)
    assert found.isfinite().all()
    assert found.abs().max() < 10 * scale
    assert float(found.sum()) == pytest.approx(0.0, abs=1e-9)
    alone = fit_bias(logits[labels == 0], torch.ones(50, 2, dtype=torch.bool), labels[labels == 0])
    assert 0 <= alone[0] < 10  # nothing speaks for class 1, and the ridge ends it


def test_what_cannot_be_fitted_is_refused():
    logits, subsets, labels = random_problem(8)
    with pytest.raises(ValueError, match="no \\(image, subset\\) pair"):
        fit_bias(logits[:0], subsets[:0], labels[:0])
    outside = subsets.clone()
    outside[3, labels[3]] = False
    with pytest.raises(ValueError, match="not in its subset"):
        fit_bias(logits, outside, labels)
    logits[2, labels[2]] = torch.inf
    with pytest.raises(ValueError, match="not finite"):
        fit_bias(logits, subsets, labels)
