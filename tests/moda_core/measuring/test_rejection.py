"""Least logits of classes, and what modules accept by them."""

import pytest
import torch

from moda_core import accepted_share, draw_outside, draw_pairs, draw_subsets, least_logits

LABELS = torch.arange(4).repeat_interleave(25)


@pytest.fixture
def draw():
    subsets = draw_subsets(4, 3, seed=0, sizes=[1, 2, 3])
    return draw_pairs(LABELS, subsets, num_classes=4, images_per_size=60, seed=0)


def test_a_share_of_the_own_images_of_a_class_reaches_its_least_logit(draw):
    logits_PC = torch.randn(len(draw.pair_label_P), 4, generator=torch.Generator().manual_seed(0)) + torch.arange(4.0)
    least_C = least_logits(logits_PC, draw, accepted=0.8)
    for class_id in range(4):
        own = logits_PC[draw.pair_label_P == class_id, class_id].double()
        reached = (own >= least_C[class_id]).double().mean()
        assert 0.8 <= reached < 0.8 + 2 / len(own)
        assert least_C[class_id] in own  # a logit that was seen


def test_a_class_without_images_has_the_least_of_the_others():
    draw = draw_pairs(LABELS[:50], [(0, 2), (1, 3)], num_classes=4)
    logits_PC = torch.zeros(len(draw.pair_label_P), 4)
    logits_PC[:, 1] = -3
    assert least_logits(logits_PC, draw).tolist() == [0, -3, -3, -3]
    with pytest.raises(ValueError, match="no images"):
        least_logits(logits_PC[:0], draw.first(0))


def test_images_of_other_classes_are_drawn_for_the_same_subsets(draw):
    outside = draw_outside(LABELS, draw, num_classes=4, images_per_size=60, seed=0)
    assert torch.equal(outside.subsets_SC, draw.subsets_SC)
    assert not outside.pair_subset_PC.gather(1, outside.pair_label_P[:, None]).any()
    assert torch.equal(LABELS[outside.pair_image_P], outside.pair_label_P)


def test_the_share_is_that_of_pairs_whose_largest_logit_is_not_rejected():
    draw = draw_pairs(torch.tensor([0, 1, 2]), [(0, 1), (2, 3)], num_classes=4)
    logits_PC = torch.tensor([[1.0, 0, 9, 9], [0, 1.0, 9, 9], [9, 9, 1, 0.5]])
    weights = draw.weight_P / draw.weight_P.sum()
    for least, accepted in (([1.0, 1.5, 0.0, 2.0], [0, 2]), ([2.0, 0, 2.0, 0], [1])):
        expected = float(weights[accepted].sum())
        assert accepted_share(logits_PC, draw, torch.tensor(least)) == pytest.approx(expected)
