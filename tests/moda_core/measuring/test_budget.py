"""Draws of a stated number of pairs: evenly spread, without bias, and nested."""

import itertools
import math
from collections import Counter

import pytest
import torch

from moda_core import all_subsets, draw_budget, draw_pairs, spread_sizes

UNEVEN = torch.tensor([0] * 40 + [1] * 10 + [2] * 25 + [3] * 5 + [4] * 20)
EVEN = torch.arange(500) % 10


def size_of_pairs(draw):
    return draw.pair_subset_PC.sum(1)


@pytest.mark.parametrize(("classes", "expected"), [(2, [2]), (10, list(range(2, 11))), (11, list(range(2, 12)))])
def test_few_classes_have_all_sizes(classes, expected):
    assert spread_sizes(classes) == expected


def test_many_classes_have_ten_sizes_from_two_to_all():
    sizes = spread_sizes(100)
    assert (len(sizes), sizes[0], sizes[-1]) == (10, 2, 100)
    steps = [after - before for before, after in itertools.pairwise(sizes)]
    assert max(steps) - min(steps) <= 1


@pytest.mark.parametrize(("labels", "classes", "pairs"), [(EVEN, 10, 900), (EVEN, 10, 903), (UNEVEN, 5, 80)])
def test_every_size_and_every_subset_of_a_size_is_tested_equally_often(labels, classes, pairs):
    draw = draw_budget(labels, pairs, num_classes=classes, seed=0)
    by_size = Counter(size_of_pairs(draw).tolist())
    assert set(by_size.values()) == {pairs // (classes - 1)}
    for size in range(2, classes + 1):
        counts = Counter(draw.pair_subset_P[size_of_pairs(draw) == size].tolist())
        assert len(counts) == min(pairs // (classes - 1), math.comb(classes, size))
        assert max(counts.values()) - min(counts.values()) <= 1
    assert len({tuple(row) for row in draw.subsets_SC.tolist()}) == len(draw.subsets_SC)


def test_pairs_are_right_and_none_is_there_twice():
    draw = draw_budget(UNEVEN, 4000, num_classes=5, seed=0)
    assert torch.equal(draw.pair_label_P, UNEVEN[draw.pair_image_P])
    assert bool(draw.pair_subset_PC.gather(1, draw.pair_label_P[:, None]).all())
    pairs = list(zip(draw.pair_image_P.tolist(), draw.pair_subset_P.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)


def test_a_budget_beyond_all_pairs_is_all_pairs():
    draw, every = draw_budget(UNEVEN, 10**5, num_classes=5, seed=0), draw_pairs(UNEVEN, all_subsets(5), num_classes=5)

    def pairs(one):
        return {
            (image, tuple(row))
            for image, row in zip(one.pair_image_P.tolist(), one.pair_subset_PC.tolist(), strict=True)
        }

    assert pairs(draw) == pairs(every)


def test_images_are_used_before_any_is_used_again():
    draw = draw_budget(EVEN, 270, num_classes=10, seed=0)
    assert draw.images > 0.85 * 270  # drawn at random it would be 209 of 500


def test_the_first_pairs_are_a_draw_of_their_own():
    draw = draw_budget(EVEN, 900, num_classes=10, seed=0)
    first = draw.first(270)
    assert torch.equal(first.pair_image_P, draw.pair_image_P[:270])
    assert set(Counter(size_of_pairs(first).tolist()).values()) == {30}
    nine = first.pair_subset_P[size_of_pairs(first) == 9]
    assert set(Counter(nine.tolist()).values()) == {3}
    assert float(first.weight_P.sum()) == pytest.approx(1.0)


def test_it_is_the_same_for_a_seed_and_another_for_another_one():
    one, same, other = (draw_budget(EVEN, 90, num_classes=10, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.pair_image_P, same.pair_image_P)
    assert torch.equal(one.subsets_SC, same.subsets_SC)
    assert not torch.equal(one.pair_image_P, other.pair_image_P)


def test_the_mean_over_seeds_is_that_of_all_pairs_though_classes_are_uneven():
    """A value of each pair that depends on image, class and subset."""

    def value(draw):
        return (draw.pair_image_P % 7 + 3 * draw.pair_label_P * (draw.pair_subset_PC[:, 1] + 1)).double()

    every = draw_pairs(UNEVEN, all_subsets(5), num_classes=5)
    expected = every.mean(value(every))[0]
    draws = [draw_budget(UNEVEN, 60, num_classes=5, seed=seed) for seed in range(400)]
    found = torch.tensor([draw.mean(value(draw))[0] for draw in draws])
    assert abs(float(found.mean()) - expected) < 3 * float(found.std()) / 20


def test_its_standard_error_is_the_spread_over_draws():
    labels = torch.arange(5000) % 10
    draws = [draw_budget(labels, 180, num_classes=10, seed=seed) for seed in range(200)]
    values = (torch.arange(5000) // 10 * 7919 % 100 < 80).double()
    found = [draw.mean(values[draw.pair_image_P]) for draw in draws]
    spread = float(torch.tensor([mean for mean, _ in found]).std())
    assert spread == pytest.approx(sum(error for _, error in found) / 200, rel=0.25)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="two classes or more"):
        draw_budget(torch.zeros(5, dtype=torch.long), 10, num_classes=1, seed=0)
    with pytest.raises(ValueError, match="no image of the class 2"):
        draw_budget(torch.tensor([0, 1, 0, 1]), 10, num_classes=3, seed=0)
