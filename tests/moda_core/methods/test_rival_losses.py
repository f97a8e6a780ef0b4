"""The losses of MwT and NeMo: against numbers that the published functions gave, and pair by pair in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from moda_core.methods import Mwt, Nemo, contrastive_loss
from orchestrator.training.batches import Workers

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 1])
WIDTHS = (6, 10, 16)


def golden_masks():
    image = torch.arange(12, dtype=torch.float64)[:, None]
    unit = [torch.arange(width, dtype=torch.float64) for width in WIDTHS]
    return [
        (torch.sin(0.7 * image + 0.3 * k * layer) + 0.2 * torch.cos(1.3 * image * k) + 0.5).tanh().clamp(min=0)
        for layer, k in enumerate(unit, 1)
    ]


def one_unit_a_class():
    return [F.one_hot(LABELS, width).double() for width in WIDTHS]


def with_layer(place, change):
    masks = golden_masks()
    masks[place] = change(masks[place])
    return masks


def without_row(mask):
    return torch.where(torch.arange(12)[:, None] == 3, 0.0, mask)


CASES = {
    "formula": golden_masks,
    "layer 1 all zero": lambda: with_layer(1, torch.zeros_like),
    "row 3 of layer 0 zero": lambda: with_layer(0, without_row),
    "all ones": lambda: [torch.ones_like(mask) for mask in golden_masks()],
    "all zero": lambda: [torch.zeros_like(mask) for mask in golden_masks()],
    "one unit a class": one_unit_a_class,
}
# 1 - mean same, mean different, 0.5 and 1.5 of them with the norm of the gradient; contrast at 0.2 with its norm.
GOLDEN = {
    "formula": (0.458679056403, 0.612091560262, 1.147476868595, 9.222212939071, 0.863661607298, 14.413360576607),
    "layer 1 all zero": (
        0.630313514105,
        0.412995197528,
        0.934649553344,
        9.222064277552,
        0.805764775931,
        14.413228768326,
    ),
    "row 3 of layer 0 zero": (0.506233747934, 0.577218708597, 1.118944936862, None, 0.854390643229, None),
    "all ones": (0, 1, 1.5, 0, 1.070894598422, 0),
    "all zero": (1, 0, 0.5, 0, 0.693147180143, 0),
    "one unit a class": (0, 0, 0, 0.361075803159, 0.019723715993, 0.015575077402),
}


def objective(method, masks, labels=LABELS):
    """The loss of a batch whose logits all are 0, without its cross-entropy, and its terms."""
    logits = torch.zeros(len(labels), 3, dtype=torch.float64)
    found = method.objective((logits, masks), labels, num_classes=3, size=len(labels), workers=Workers())
    assert found.cross_entropy.item() == pytest.approx(math.log(3))
    return found.loss - found.cross_entropy, {name: term.item() for name, term in found.terms.items()}


def gradient_norm(loss, masks):
    return float(torch.cat([one.flatten() for one in torch.autograd.grad(loss, masks)]).norm())


@pytest.mark.parametrize("case", CASES)
def test_both_give_what_the_published_functions_gave(case):
    affinity, dispersion, both, both_norm, contrast, contrast_norm = GOLDEN[case]
    masks = [mask.requires_grad_() for mask in CASES[case]()]
    loss, terms = objective(Mwt(), masks)
    assert terms == {
        "affinity": pytest.approx(affinity, abs=1e-11),
        "dispersion": pytest.approx(dispersion, abs=1e-11),
    }
    assert loss.item() == pytest.approx(both, abs=1e-11)
    if both_norm is not None:
        assert gradient_norm(loss, masks) == pytest.approx(both_norm, rel=1e-10, abs=1e-11)
    loss, terms = objective(Nemo(alpha=1.0), masks)
    assert (loss.item(), terms["contrast"]) == (pytest.approx(contrast, abs=1e-11),) * 2
    if contrast_norm is not None:
        assert gradient_norm(loss, masks) == pytest.approx(contrast_norm, rel=1e-10, abs=1e-10)


def test_first_masks_that_count_as_ones_give_what_the_published_functions_gave():
    masks = [mask.requires_grad_() for mask in golden_masks()]
    ones = [torch.ones_like(masks[0]), *masks[1:]]
    loss, terms = objective(Nemo(alpha=1.0, published=True), ones)
    assert terms["contrast"] == pytest.approx(0.928198125791, abs=1e-11)
    found = torch.autograd.grad(loss, masks[1:])
    assert torch.cat([one.flatten() for one in found]).norm().item() == pytest.approx(0.078293905331, rel=1e-10)
    found, _ = objective(Mwt(), ones)
    assert found.item() == pytest.approx(1.252608350997, abs=1e-11)


def test_the_contrast_of_each_layer_and_temperature():
    masks = golden_masks()
    layers = [float(contrastive_loss([mask], LABELS, temperature=0.2)) for mask in masks]
    assert layers == pytest.approx([0.8772850429428, 0.8668376742455, 0.8468621047065], abs=1e-12)
    found = [float(contrastive_loss(masks, LABELS, temperature=t)) for t in (0.1, 0.3, 0.5)]
    assert found == pytest.approx([0.648097676852, 0.901658839921, 0.860023182694], abs=1e-11)


def pairwise(masks, labels, temperature):
    """The published definition, pair by pair."""
    layers = []
    for mask in masks:
        rows = []
        unit = [row / max(row.norm(), torch.tensor(1e-12, dtype=torch.float64)) for row in mask]
        for i, own in enumerate(unit):
            positive = negative = torch.zeros((), dtype=torch.float64)
            for j, other in enumerate(unit):
                same, cosine = float(labels[i] == labels[j]), own @ other
                positive = positive + (same * cosine / temperature).exp()
                negative = negative + ((1 - same) * cosine / temperature).exp()
            rows.append(-((positive + 1e-8) / (positive + negative + 1e-8)).log())
        layers.append(torch.stack(rows).mean())
    return torch.stack(layers).mean()


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=7),
    widths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    temperature=st.floats(0.05, 2),
)
def test_contrast_and_gradient_equal_the_pairwise_definition(seed, labels, widths, temperature):
    generator = torch.Generator().manual_seed(seed)
    masks = [torch.rand(len(labels), n, generator=generator, dtype=torch.float64).requires_grad_() for n in widths]
    target = torch.tensor(labels)
    found = contrastive_loss(masks, target, temperature=temperature)
    expected = pairwise(masks, target, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    ours, theirs = (torch.autograd.grad(loss, masks) for loss in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("labels", [[1], [2, 2, 2], [0, 1, 2]], ids=["one", "alike", "all different"])
@pytest.mark.parametrize("method", [Mwt(), Nemo()])
def test_a_batch_without_pairs_of_a_kind_is_finite(method, labels):
    masks = [torch.rand(len(labels), n, dtype=torch.float64, requires_grad=True) for n in (3, 4)]
    loss, _ = objective(method, masks, torch.tensor(labels, dtype=torch.long))
    loss.backward()
    assert loss.isfinite()
    assert masks[1].grad.isfinite().all()


def test_dead_masks_have_finite_gradients():
    masks = [torch.zeros(4, 3, requires_grad=True)]
    loss = contrastive_loss(masks, torch.tensor([0, 0, 1, 1]), temperature=0.2)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert masks[0].grad.isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mwt(alpha=-1.0), r"method\.alpha=-1\.0 must be a finite number of at least 0"),
        (lambda: Mwt(beta=math.nan), r"method\.beta=nan must be"),
        (lambda: Nemo(temperature=0.0), r"method\.temperature=0\.0 must be a finite number above 0"),
    ],
)
def test_wrong_coefficients_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
