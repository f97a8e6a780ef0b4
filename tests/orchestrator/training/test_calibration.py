"""Biases that are fitted on one half of the images and judged on the other, and biases that are stored."""

import dataclasses

import pytest
import torch

from moda_core import Decomposition, correct_pairs, draw_pairs, draw_subsets, fit_bias, summarize_reuse
from orchestrator.config import Choice
from orchestrator.training.calibration import CrossFitting, StoredBiases, second_half, with_stored_bias

CHOICE = Choice.contribution(0.1)
UNITS = Decomposition([torch.ones(5, 4, dtype=torch.bool)])
LABELS = torch.arange(200) % 5
DRAW = draw_pairs(LABELS, draw_subsets(5, 4, seed=0), num_classes=5, images_per_size=150, seed=0)


def logits(added=(0.0,) * 5, *, signal=2.0):
    """Logits of the draw's pairs that are right about the classes but for ``added``."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(len(DRAW.pair_label_P), 5, generator=generator)
    values[torch.arange(len(values)), DRAW.pair_label_P] += signal
    return values + torch.tensor(added)


def accuracy(calibrated):
    return summarize_reuse(calibrated.correct_P, DRAW).mean


def fitting(seed=0):
    return CrossFitting(second_half(LABELS, seed))


@pytest.mark.parametrize("counts", [(10, 10, 10), (7, 5, 3, 1, 4), (1, 1, 1, 1), (3,)])
def test_halves_are_stratified_fixed_and_equal(counts):
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(5))]
    half = second_half(labels, 3)
    assert torch.equal(half, second_half(labels, 3))
    assert abs(2 * int(half.sum()) - len(labels)) <= 1
    for label, count in enumerate(counts):
        assert int(half[labels == label].sum()) in (count // 2, -(-count // 2))


def test_another_seed_cuts_other_halves():
    assert not torch.equal(second_half(LABELS, 0), second_half(LABELS, 1))


def test_a_bias_that_helps_is_kept_and_judged_on_the_half_that_did_not_fit_it():
    values = logits((-4.0, 0.0, 1.0, 0.0, 0.0))
    found = fitting()(CHOICE, UNITS, values, DRAW)
    second_P = second_half(LABELS, 0)[DRAW.pair_image_P]
    biases = [
        fit_bias(values[part], DRAW.pair_subset_PC[part], DRAW.pair_label_P[part]) for part in (~second_P, second_P)
    ]
    crossed = correct_pairs(values, DRAW, torch.where(second_P[:, None], *biases))
    assert torch.equal(found.correct_P, crossed)
    assert accuracy(found) > summarize_reuse(correct_pairs(values, DRAW), DRAW).mean + 0.1
    whole = fit_bias(values, DRAW.pair_subset_PC, DRAW.pair_label_P)
    torch.testing.assert_close(found.bias_C, whole, atol=1e-6, rtol=0)
    assert found.bias_C.argmax() == 0


def test_a_bias_that_does_not_help_is_not_kept_and_the_reuse_accuracy_stays():
    values = logits(signal=6.0)
    found = fitting()(CHOICE, UNITS, values, DRAW)
    assert found.bias_C is None
    assert torch.equal(found.correct_P, correct_pairs(values, DRAW))


def test_it_is_kept_where_the_gain_is_larger_than_its_standard_error():
    kept = 0
    for added in torch.linspace(0, 4, 16).tolist():
        values = logits((-added, 0.0, 0.0, 0.0, 0.0), signal=1.5)
        found = fitting()(CHOICE, UNITS, values, DRAW)
        plain = correct_pairs(values, DRAW)
        assert accuracy(found) >= summarize_reuse(plain, DRAW).mean
        if found.bias_C is not None:
            kept += 1
            assert accuracy(found) > summarize_reuse(plain, DRAW).mean
    assert 0 < kept < 16


def test_a_bias_of_a_rule_is_kept_and_none_is_fitted():
    units = dataclasses.replace(UNITS, bias_C=torch.zeros(5))
    values = logits((-4.0, 0.0, 1.0, 0.0, 0.0))
    found = fitting()(CHOICE, units, values, DRAW)
    assert found.bias_C is None
    assert torch.equal(found.correct_P, correct_pairs(values, DRAW))


def test_logits_that_are_not_finite_have_no_bias():
    values = logits((-4.0, 0.0, 1.0, 0.0, 0.0))
    values[0, 0] = torch.inf
    assert fitting()(CHOICE, UNITS, values, DRAW).bias_C is None


def test_a_stored_bias_is_used_as_it_is():
    stored = [0.5, -0.5, 0.0, 3.0, -3.0]
    other = Choice.contribution(0.2)
    rows = [
        {**CHOICE.columns, "split": "validation", "bias": stored},
        {**CHOICE.columns, "split": "test", "bias": [9.0] * 5},
        {**other.columns, "split": "validation", "bias": None},
    ]
    biases, values = StoredBiases.of_rows(rows), logits()
    found = biases(CHOICE, UNITS, values, DRAW)
    assert found.bias_C.tolist() == stored
    assert torch.equal(found.correct_P, correct_pairs(values, DRAW, torch.tensor(stored)))
    assert not torch.equal(found.correct_P, correct_pairs(values, DRAW))
    without = biases(other, UNITS, values, DRAW)
    assert without.bias_C is None
    assert torch.equal(without.correct_P, correct_pairs(values, DRAW))


def test_units_take_the_stored_bias():
    assert with_stored_bias(UNITS, None) is UNITS
    assert with_stored_bias(UNITS, (1.0, -1.0, 0.0, 0.5, -0.5)).bias_C.tolist() == [1.0, -1.0, 0.0, 0.5, -0.5]
