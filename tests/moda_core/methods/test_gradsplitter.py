"""GradSplitter against its training written out class by class, and its separate networks against cut ones."""

import dataclasses
import functools
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import build_model, cut_network, unit_layers
from moda_core.methods import GradSplitter
from moda_core.methods.split_modules import SplitModules
from moda_core.rules import SCORE
from tests.moda_core.methods.steps_after import Images, Kept, Workers, check_two_workers, state_of

CLASSES = 3
SHORT = GradSplitter(0.5, first_epochs=1, rounds=2, mask_epochs=2, head_epochs=1, mask_rate=0.3, batch_size=20)
GENERATOR_SEED = 7


def data(count=50):
    generator = torch.Generator().manual_seed(3)
    return Images(torch.randn(count, 1, 8, 8, generator=generator), torch.arange(count) % CLASSES)


def make():
    """A frozen network and fresh parts."""
    torch.manual_seed(0)
    options = {"in_channels": 1, "image_size": 8, "num_classes": CLASSES, "widths": [6, "M", 5], "hidden": [7]}
    network = build_model("vgg", **options).eval()
    parts = SHORT.prepare(network, data(2).pixels).parts
    return network, parts


def trained(checkpoint=None, workers=None, method=SHORT):
    network, parts = make()
    torch.manual_seed(GENERATOR_SEED)
    shared = {"num_classes": CLASSES, "workers": workers or Workers(), "checkpoint": checkpoint or Kept()}
    method.after(network, parts, data(), **shared)
    return network, parts


def written_out():
    """The same training, with masks as plain tensors whose gradients are clipped and given to the scores."""
    network, parts = make()
    images = data()
    torch.manual_seed(GENERATOR_SEED)
    seed = int(torch.randint(2**31, ()))
    convolutions = list(parts.scores)[:2]

    def logits(pixels, first_N, second_N):
        layers = list(network.features)
        ends = [place for place, layer in enumerate(layers) if isinstance(layer, nn.ReLU)]
        out = pixels
        for place, layer in enumerate(layers):
            out = layer(out.clone())
            if place in ends:
                out = out * (first_N, second_N)[ends.index(place)][:, None, None]
        return network.head(network.classifier(out.flatten(1)))

    number, phase = 0, [(False, 1, 0.01), *[(True, 2, 0.001), (False, 1, 0.001)] * 2]
    for with_masks, epochs, rate in phase:
        heads = torch.optim.Adam(parts.heads.parameters(), lr=rate)
        masks = torch.optim.Adam(convolutions, lr=0.3)
        for _ in range(epochs):
            order = torch.randperm(50, generator=torch.Generator().manual_seed(seed + number))
            number += 1
            for index in order.split(20):
                kept = [(scores > 0).float().requires_grad_() for scores in convolutions]
                sigmoids = torch.cat(
                    [head(logits(images[index], kept[0][c], kept[1][c])) for c, head in enumerate(parts.heads)], 1
                )
                loss = F.cross_entropy(sigmoids, images.labels[index])
                share = torch.cat(kept, 1).sum() / (CLASSES * 11)
                heads.zero_grad()
                (loss + (0.5 * share if with_masks else 0)).backward()
                heads.step()
                if with_masks:
                    for scores, mask in zip(convolutions, kept, strict=True):
                        scores.grad = mask.grad.clamp(-1, 1)
                    masks.step()
    return parts


def test_the_training_is_the_one_that_is_written_out():
    network, parts = trained()
    expected = state_of(written_out())
    for name, tensor in state_of(parts).items():
        assert torch.allclose(tensor, expected[name], atol=1e-4), name
    dropped = [int((scores <= 0).sum()) for scores in parts.scores]
    assert dropped[0] > 0 < dropped[1]
    fresh, _ = make()
    assert all(torch.equal(one, other) for one, other in zip(network.parameters(), fresh.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_units_of_linear_layers_have_no_mask():
    _, parts = trained()
    assert parts.is_masked == [True, True, False]
    assert bool(torch.isinf(parts.scores[2]).all())
    chosen = SCORE.choose(SCORE.pack(SHORT.unit_scores(parts)), {"score": 100.0})
    assert bool(chosen.keep[2].all())


@pytest.mark.parametrize("epochs", range(1, 7))
def test_a_step_that_was_killed_after_any_epoch_ends_as_one_that_was_not(epochs):
    whole = state_of(trained()[1])
    killed = Kept(most=epochs)
    with pytest.raises(KeyboardInterrupt):
        trained(killed)
    again = state_of(trained(Kept(state=killed.state))[1])
    assert killed.state["done"] == epochs
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


def test_separate_networks_are_cut_networks_with_heads():
    network, parts = make()
    with torch.no_grad():
        for scores_CN in parts.scores[:2]:
            scores_CN.normal_(generator=torch.Generator().manual_seed(4))
    images = data(12).pixels
    separate = SHORT.separate(network, parts, images)
    layers = unit_layers(network, images)
    chosen = SCORE.choose(SCORE.pack(SHORT.unit_scores(parts)), {"score": 0.0})
    assert chosen.floored == 0  # else the cut networks below would keep more than the masks do
    assert sum(int((~mask_CN).sum()) for mask_CN in chosen.keep) > 0
    whole = sum(parameter.numel() for parameter in network.parameters())
    for class_id in range(CLASSES):
        keep = [mask_CN[class_id] for mask_CN in chosen.keep]
        cut = cut_network(network, layers, keep, range(CLASSES), images)
        expected = parts.heads[class_id](cut(images))[:, 0]
        assert torch.allclose(separate.predict(images)[:, class_id], expected, atol=1e-5)
        size = sum(one.numel() for net in (cut, parts.heads[class_id]) for one in net.parameters())
        assert float(separate.sizes_C[class_id]) == pytest.approx(size / whole)


def test_a_class_that_would_keep_nothing_keeps_its_largest_score():
    scores = [torch.tensor([[-1.0, -0.5, -2.0], [0.5, 0.0, 0.25]])]
    chosen = SCORE.choose(SCORE.pack(scores), {"score": 0.0})
    assert chosen.keep[0].tolist() == [[False, True, False], [True, False, True]]
    assert chosen.floored == 1
    assert SCORE.choose(SCORE.pack(scores), {"score": 0.3}).keep[0].tolist() == [
        [False, True, False],
        [True, False, False],
    ]


def test_the_published_schedule_has_145_epochs():
    published = GradSplitter(first_epochs=5, rounds=20, mask_epochs=5, head_epochs=2, mask_rate=0.001)
    epochs = list(published.schedule())
    assert len(epochs) == 145
    assert sum(epoch.trains_masks for epoch in epochs) == 100
    assert len(list(GradSplitter().schedule())) == 14
    phases = [(len(list(group)), key) for key, group in itertools.groupby(epoch.phase for epoch in epochs)]
    assert phases[:4] == [(5, 0), (5, 1), (2, 2), (5, 3)]


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [({"weight": -1.0}, "method.weight=-1.0 must be"), ({"rounds": 0}, "method.rounds=0 must be a whole number of at")],
)
def test_wrong_coefficients_are_refused(coefficients, message):
    with pytest.raises(ValueError, match=message):
        GradSplitter(**coefficients)


@pytest.mark.slow
def test_two_workers_train_what_one_trains(tmp_path):
    # 50 images in batches of 49: the last batch of an epoch leaves a worker without any
    method = dataclasses.replace(SHORT, batch_size=49)
    check_two_workers(functools.partial(trained, method=method), tmp_path, atol=1e-4)


def test_a_network_without_feature_maps_has_no_masks():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, CLASSES))
    parts = SplitModules.of_network(network, unit_layers(network, data(2).pixels), data(2).pixels)
    assert parts.is_masked == [False]
    assert float(parts.mean_mask()) == 0


def test_heads_and_hidden_units_of_a_transformer_have_masks():
    sizes = {"width": 6, "heads": 3, "depth": 1, "patch": 4}
    network = build_model("vit_small", in_channels=1, image_size=8, num_classes=CLASSES, **sizes)
    images = torch.zeros(2, 1, 8, 8)
    parts = SplitModules.of_network(network, unit_layers(network, images), images)
    assert parts.is_masked == [True, True]
    assert [tuple(mask.shape) for mask in parts.masks()] == [(CLASSES, 3), (CLASSES, 24)]
