"""The three losses against a plain pairwise computation written from the formulas of docs/method.md."""

import itertools

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moda_core import modular_losses
from moda_core.methods.losses import _layers_of, _SumOverWorkers, _UnitSums
from moda_core.methods.moda import Moda


def pairwise(units: list[Tensor], labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The published definition, pair by pair."""
    zero = torch.zeros((), dtype=torch.float64)
    same, different, compact = [], [], []
    pairs = list(itertools.combinations(range(len(labels)), 2))
    for unit in units:
        normal = [row / max(row.norm(), torch.tensor(1e-12, dtype=torch.float64)) for row in unit]
        cosines = [(p, q, normal[p] @ normal[q]) for p, q in pairs]
        alike = [s for p, q, s in cosines if labels[p] == labels[q]]
        unlike = [s for p, q, s in cosines if labels[p] != labels[q]]
        same.append(torch.stack(alike).mean() if alike else None)
        different.append(torch.stack(unlike).mean() if unlike else None)
        compact.append(unit.abs().mean() if len(unit) else zero)
    affinity = zero if same[0] is None else 1 - torch.stack(same).mean()
    dispersion = zero if different[0] is None else torch.stack(different).mean()
    return affinity, dispersion, torch.stack(compact).mean()


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    labels=st.lists(st.integers(0, 3), max_size=9),
    widths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    dead=st.booleans(),
)
def test_losses_and_gradients_equal_the_pairwise_definition(seed, labels, widths, dead):
    generator = torch.Generator().manual_seed(seed)
    units = [torch.randn(len(labels), n, generator=generator, dtype=torch.float64).relu() for n in widths]
    if dead:
        units[0][:1] = 0  # a sample with no active unit
        units[-1][:, 0] = 0  # a unit that is never active
    units = [unit.requires_grad_() for unit in units]
    target = torch.tensor(labels, dtype=torch.long)
    expected = pairwise(units, target)
    found = modular_losses(units, target, num_classes=4)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    # Gradients where the norm has one: a zero sample sits on its clamp.
    weights = (1.3, 0.7, 0.2)
    alive = [unit for unit in units if bool((unit.norm(dim=1) > 0).all())]
    if alive and labels:
        ours = torch.autograd.grad(sum(w * t for w, t in zip(weights, found, strict=True)), alive, allow_unused=True)
        loss = sum(w * t for w, t in zip(weights, expected, strict=True))
        theirs = torch.autograd.grad(loss, alive, allow_unused=True)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize(
    "labels", [[2, 2, 2], [0, 1, 2], [1], []], ids=["one class", "all different", "one sample", "no sample"]
)
def test_a_term_without_pairs_is_zero(labels, width):
    units = [torch.rand(len(labels), width, dtype=torch.float64, requires_grad=True)]
    found = modular_losses(units, torch.tensor(labels, dtype=torch.long), num_classes=3)
    assert all(torch.isfinite(term) for term in found)
    (gradient,) = torch.autograd.grad(sum(found), units)
    assert gradient.isfinite().all()
    assert found.compactness > 0 or not labels
    assert found.affinity == 0 or labels == [2, 2, 2]
    assert found.dispersion == 0 or labels == [0, 1, 2]


def test_all_units_dead_gives_finite_gradients():
    units = [torch.zeros(4, 3, requires_grad=True)]
    sum(modular_losses(units, torch.tensor([0, 0, 1, 1]), num_classes=2)).backward()
    assert torch.isfinite(units[0].grad).all()


def test_identical_samples_have_no_affinity_loss_and_full_dispersion():
    units = [torch.ones(4, 3, dtype=torch.float64)]
    found = modular_losses(units, torch.tensor([0, 0, 1, 1]), num_classes=2)
    assert float(found.affinity) == pytest.approx(0, abs=1e-12)
    assert float(found.dispersion) == pytest.approx(1, abs=1e-12)
    assert float(found.compactness) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_coefficients_must_be_finite_and_not_negative(value):
    with pytest.raises(ValueError, match=r"method\.beta="):
        Moda(beta=value)


def test_the_gradient_of_the_sum_over_workers_is_that_of_the_own_part(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        part = torch.randn(7, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: _SumOverWorkers.apply(x, dist.group.WORLD), part)
    finally:
        dist.destroy_process_group()


def test_the_gradient_of_the_layers_sums():
    one_hot = torch.eye(3, dtype=torch.float64)[[0, 1, 1, 0, 2]]
    unit = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit[3, :4] *= 1e-3  # a short vector, whose derivative is large
    of_layer = _layers_of((4, 2), unit.device, unit.dtype)
    assert torch.autograd.gradcheck(
        lambda x: _UnitSums.apply(x, one_hot, of_layer), unit.requires_grad_(), eps=1e-8, atol=1e-4
    )
