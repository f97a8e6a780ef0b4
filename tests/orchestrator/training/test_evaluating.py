"""How many pairs a choice is tested on, and which choices get a second look."""

import dataclasses

import pytest
import torch

from moda_core import Decomposition, ReuseDraw, build_model, draw_budget, estimate_reuse, unit_layers
from orchestrator.config import Choice
from orchestrator.config.composing import load_config
from orchestrator.training.calibration import CrossFitting, second_half
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import Chosen
from orchestrator.training.evaluating import draw_pairs_of, evaluate_reuse, near_front

LABELS = torch.arange(400) % 10
EVALUATION = load_config([]).evaluation
EARLIER = {"subsets_per_size": 3, "images_per_size": 60, "test_subsets_per_size": 10, "test_images_per_size": 90}
RECORDED = dataclasses.replace(EVALUATION, pairs=None, test_pairs=None, **EARLIER)
COUNTS = (45, 120, 210, 252, 210, 120, 45, 10, 1)  # of subsets of 2 to 10 classes


def test_all_choices_are_tested_on_a_quarter_and_some_on_all():
    first, whole = draw_pairs_of(LABELS, 10, EVALUATION, "validation")
    assert (len(first.pair_label_P), len(whole.pair_label_P)) == (9 * 27, 9 * 111)
    assert torch.equal(whole.pair_image_P[: 9 * 27], first.pair_image_P)
    (test,) = draw_pairs_of(LABELS, 10, EVALUATION, "test")
    available = [40 * size * count for size, count in zip(range(2, 11), COUNTS, strict=True)]
    assert len(test.pair_label_P) == sum(min(5000 // 9, pairs) for pairs in available)


def test_recorded_sweeps_keep_the_draw_of_their_time():
    (draw,) = draw_pairs_of(LABELS, 10, RECORDED, "validation")
    sizes = draw.pair_subset_PC.sum(1)
    assert [int((sizes == size).sum()) for size in range(2, 11)] == [60] * 9
    assert [int((draw.subsets_SC.sum(1) == size).sum()) for size in range(2, 11)] == [3] * 8 + [1]
    (test,) = draw_pairs_of(LABELS, 10, RECORDED, "test")
    assert len(test.pair_label_P) == 9 * 90


def one_subset_draw(pairs):
    zeros = torch.zeros(pairs, dtype=torch.long)
    return ReuseDraw(torch.ones(1, 2, dtype=torch.bool), torch.arange(pairs), zeros, zeros)


@pytest.mark.parametrize(
    ("wrong", "sizes", "expected"),
    [
        ((0, 40), (0.1, 0.2), [True, False]),  # larger and worse
        ((40, 0), (0.1, 0.2), [True, True]),  # larger and better
        ((0, 40), (0.2, 0.1), [True, True]),  # smaller and worse
        ((0, 3), (0.1, 0.2), [True, True]),  # 3 more of 100 are wrong: 1.75 standard errors
        ((0, 5), (0.1, 0.2), [True, False]),  # 2.3
        ((10, 10), (0.1, 0.2), [True, False]),  # larger for nothing
    ],
)
def test_a_choice_is_near_the_front_within_two_errors_of_the_difference(wrong, sizes, expected):
    correct = [torch.arange(100) >= count for count in wrong]
    assert near_front(correct, sizes, one_subset_draw(100)) == expected


def test_points_have_what_the_whole_draw_or_its_first_part_gives():
    """One choice keeps everything, the other (larger, as it says) a unit of each layer and is far from the front."""
    torch.manual_seed(0)
    data = load_data(load_config([]).data)
    network = build_model("vgg", in_channels=1, image_size=8, num_classes=10, widths=[8, "M", 8], hidden=[16])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(data.train[:]), data.train.labels).backward()
        optimizer.step()
    network.eval()
    layers = unit_layers(network, data.train[:2])
    one = [torch.arange(width).expand(10, -1) < 1 for width in layers.widths]
    units = [Decomposition([torch.ones_like(mask) for mask in one]), Decomposition(one), Decomposition(one)]
    choices = [Choice.contribution(level) for level in (0.1, 0.2, 0.3)]
    draws = draw_pairs_of(data.validation.labels, 10, EVALUATION, "validation")
    rows = evaluate_reuse(
        network,
        choices,
        [Chosen(layers, None, of_choice) for of_choice in units],
        [0.5, 0.6, 0.6],
        data.validation,
        draws,
        CrossFitting(second_half(data.validation.labels, 0)),
    )
    assert draws[1].pair_image_P.equal(
        draw_budget(data.validation.labels, EVALUATION.pairs, num_classes=10, seed=EVALUATION.seed).pair_image_P
    )
    for row, of_choice, draw in zip(rows, units, (draws[1], draws[0], draws[0]), strict=True):
        expected = estimate_reuse(network, layers, of_choice, data.validation, draw)
        assert (row["reuse_accuracy"], row["reuse_accuracy_error"]) == (expected.mean, expected.standard_error)
        assert (row["reuse_images"], row["reuse_subsets"]) == (draw.images, len(draw.pair_subset_P.unique()))
    assert rows[0]["reuse_accuracy"] > 0.9 > 0.6 > rows[1]["reuse_accuracy"]
    assert rows[0]["reuse_images"] > rows[1]["reuse_images"]
    assert rows[1] == rows[2]
