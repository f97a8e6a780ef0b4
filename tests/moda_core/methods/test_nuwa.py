"""Scores of units that are trained on a frozen network: shares, unions of random subsets, and the step as a whole."""

import dataclasses
import functools

import pytest
import torch
from torch.nn import functional as F

from moda_core import build_model, mask_network, unit_layers
from moda_core.methods import Nuwa
from moda_core.methods.class_scores import ClassScores
from moda_core.methods.score_training import draw_members, share_at
from moda_core.rules import SCORE
from tests.moda_core.methods.steps_after import Images, Kept, Workers, check_two_workers, state_of

CLASSES = 3
SHORT = Nuwa(0.2, score_epochs=3, score_rate=0.1, batch_size=20)


def data(count=60):
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(count) % CLASSES
    patterns = torch.randn(CLASSES, 1, 8, 8, generator=generator)
    return Images(patterns[labels] + 0.3 * torch.randn(count, 1, 8, 8, generator=generator), labels)


def make():
    """A network that is trained a little, and fresh parts."""
    torch.manual_seed(0)
    sizes = {"width": 6, "heads": 3, "depth": 2, "patch": 4}
    network = build_model("vit_small", in_channels=1, image_size=8, num_classes=CLASSES, **sizes)
    images, optimizer = data(), torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(network(images.pixels), images.labels).backward()
        optimizer.step()
    network.zero_grad()
    return network.eval(), SHORT.prepare(network, images.pixels[:2]).parts


def trained(checkpoint=None, workers=None, method=SHORT):
    network, parts = make()
    torch.manual_seed(7)
    shared = {"num_classes": CLASSES, "workers": workers or Workers(), "checkpoint": checkpoint or Kept()}
    method.after(network, parts, data(), **shared)
    return network, parts


def with_scores(scores, costs, may_be_empty):
    parts = ClassScores(len(scores[0]), costs, [len(rows[0]) for rows in scores], may_be_empty)
    for parameter, values in zip(parts.scores, scores, strict=True):
        parameter.data = torch.tensor(values)
    return parts


SCORES = [[[0.9, 0.1], [0.2, 0.2]], [[0.5, 0.7, 0.3], [1.0, 0.0, 2.0]]]


def test_shares_add_up_the_parameters_of_the_units_with_the_largest_scores():
    parts = with_scores(SCORES, [5.0, 10.0], [False, True])  # 40 together
    first, second = parts.shares()
    assert (40 * first).tolist() == [pytest.approx([5, 40]), pytest.approx([25, 30])]
    assert (40 * second).tolist() == [pytest.approx([25, 15, 35]), pytest.approx([20, 40, 10])]
    assert [mask.tolist() for mask in parts.keep(0.4)] == [
        [[True, False], [True, False]],  # the second class would keep none of a layer that may not be empty
        [[False, True, False], [False, False, True]],
    ]
    assert [mask.tolist() for mask in parts.keep(0.1)][1] == [[False] * 3] * 2
    scores = Nuwa().unit_scores(parts)
    chosen = SCORE.choose(SCORE.pack(scores, (False, True)), {"score": 0.59})
    assert [mask.tolist() for mask in chosen.keep] == [mask.tolist() for mask in parts.keep(0.4)]
    assert chosen.floored == 1


def test_factors_are_unions_whose_gradient_goes_to_the_scores_of_all_members():
    parts = with_scores(SCORES, [5.0, 10.0], [False, True]).requires_grad_()
    members = torch.tensor([[True, False], [False, True], [True, True]])
    first, second = parts.factors(0.4, members)
    assert first.tolist() == [[1, 0], [1, 0], [1, 0]]
    assert second.tolist() == [[0, 1, 0], [0, 0, 1], [0, 1, 1]]
    slopes = torch.tensor([[1.0, 2, 3], [10, 20, 30], [100, 200, 300]])
    (second * slopes).sum().backward()
    assert parts.scores[1].grad.tolist() == [[101, 202, 303], [110, 220, 330]]


def test_members_are_random_subsets_with_the_class_of_the_image():
    labels = torch.arange(4000) % 5
    members = draw_members(labels, 5, torch.Generator().manual_seed(0))
    assert members[torch.arange(4000), labels].all()
    shares = torch.bincount(members.sum(1), minlength=6)[2:] / 4000
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.03)
    others = members[labels == 0].double().mean(0)[1:]
    assert others.tolist() == pytest.approx([0.625] * 4, abs=0.05)  # (1 + 2 + 3 + 4) / 4 of four others


def test_the_share_falls_by_equal_factors_until_half_of_the_training():
    assert [share_at(0.04, done) for done in (0, 0.25, 0.5, 0.9)] == pytest.approx([1, 0.2, 0.04, 0.04])


def test_modules_of_trained_scores_are_better_and_the_network_stays_as_it_is():
    before, fresh = make()
    network, parts = trained()
    assert all(torch.equal(tensor, before.state_dict()[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(parameter.requires_grad for parameter in parts.parameters())
    images = data()
    layers = unit_layers(network, images.pixels)

    def loss(scores):
        chosen = SCORE.choose(SCORE.pack(scores, layers.may_be_empty), {"score": 0.8})
        values = []
        for subset in ([0, 1], [0, 2], [1, 2], [0, 1, 2]):
            own = torch.isin(images.labels, torch.tensor(subset))
            logits = mask_network(network, layers, chosen, subset)(images.pixels[own])
            target = torch.searchsorted(torch.tensor(subset), images.labels[own])
            values.append(F.cross_entropy(logits, target).item())
        return sum(values) / 4

    assert loss(SHORT.unit_scores(parts)) < loss(SHORT.unit_scores(fresh)) - 0.1


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_step_that_was_killed_after_any_epoch_ends_as_one_that_was_not(epochs):
    whole = state_of(trained()[1])
    killed = Kept(epochs)
    with pytest.raises(KeyboardInterrupt):
        trained(killed)
    again = state_of(trained(Kept(state=killed.state))[1])
    assert killed.state["done"] == epochs
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


@pytest.mark.slow
def test_two_workers_train_what_one_trains(tmp_path):
    # 60 images in batches of 59: the last batch of an epoch leaves a worker without any
    method = dataclasses.replace(SHORT, batch_size=59)
    check_two_workers(functools.partial(trained, method=method), tmp_path, atol=1e-3)


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ({"share": 0.0}, r"method\.share=0\.0 must be a number above 0"),
        ({"share": 1.5}, r"method\.share=1\.5 must"),
        ({"score_rate": float("nan")}, r"method\.score_rate=nan must be a finite number above 0"),
        ({"score_epochs": 0}, r"method\.score_epochs=0 must be a whole number of at least 1"),
    ],
)
def test_wrong_coefficients_are_refused(coefficients, message):
    with pytest.raises(ValueError, match=message):
        Nuwa(**coefficients)
