"""Counts and masks against a plain loop over samples."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moda_core import build_model, count_frequencies, floored, keep_masks, merge_masks, unit_layers, watch_units
from moda_core.choosing.frequency import Frequencies

THRESHOLDS = (0.0, 0.3, 1.0)


@pytest.fixture(scope="module")
def counted():
    torch.manual_seed(0)
    network = build_model("vgg", in_channels=1, image_size=8, num_classes=3, widths=[5, "M", 7], hidden=[6])
    images, labels = torch.randn(40, 1, 8, 8), torch.arange(40) % 3
    layers = unit_layers(network.eval(), images)
    batches = list(zip(images.split(16), labels.split(16), strict=True))
    found = count_frequencies(network, layers, batches, num_classes=3, thresholds=THRESHOLDS)
    return network, layers, images, labels, found


def test_counts_equal_a_plain_loop(counted):
    network, layers, images, labels, found = counted
    with torch.no_grad():
        _, units = watch_units(network.eval(), layers)(images)
    for threshold in THRESHOLDS:
        for layer, unit in enumerate(units):
            mean = unit.double().mean(0).float()
            for c in range(3):
                expected = (unit[labels == c] > threshold * mean).sum(0)
                assert torch.equal(found.counts(threshold)[layer][c].long(), expected)
    assert found.class_sizes_C.tolist() == [14, 13, 13]


def test_masks_keep_what_is_frequent_enough(counted):
    *_, found = counted
    for tau in (0.1, 0.5, 0.9, 1.0):
        acted = floored(found, tau, threshold=0.3)
        for rate, mask, floor in zip(found.rates(0.3), keep_masks(found, tau, threshold=0.3), acted, strict=True):
            assert torch.equal(mask[~floor], (rate >= tau)[~floor])
            assert (mask.sum(1) >= 1).all()


def made_up(counts_CN: list[list[int]], size: int) -> Frequencies:
    counts = torch.tensor([counts_CN], dtype=torch.int32)
    sizes = torch.full((len(counts_CN),), size)
    return Frequencies((0.0,), counts, sizes, torch.ones(counts.shape[2]), (counts.shape[2],))


def test_the_floor_takes_as_many_units_as_the_largest_mask_ties_to_the_lowest_index():
    found = made_up([[10, 9, 9, 0], [2, 3, 3, 3]], size=10)
    (mask,) = keep_masks(found, 0.9)
    assert mask.tolist() == [[True, True, True, False], [False, True, True, True]]
    assert floored(found, 0.9)[0].tolist() == [False, True]


def test_the_floor_without_any_mask_keeps_the_smallest_allowed_number():
    found = made_up([[1, 2, 2, 0], [0, 0, 0, 0]], size=10)
    (mask,) = keep_masks(found, 0.9, floor=0.5)
    assert mask.tolist() == [[False, True, True, False], [True, True, False, False]]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40))
def test_a_rate_equal_to_tau_is_kept(part, whole):
    part = min(part, whole)
    (mask,) = keep_masks(made_up([[part, 0]], size=whole), part / whole)
    assert mask.tolist() == [[True, False]]


def test_merging_is_the_union():
    masks = [torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.bool)]
    assert merge_masks(masks, [2, 0])[0].tolist() == [True, False, True]


@pytest.mark.parametrize(("ids", "message"), [([], "empty"), ([3], "0 to 2"), ([1, 1], "twice"), ([-1], "0 to 2")])
def test_bad_class_ids(ids, message):
    with pytest.raises(ValueError, match=message):
        merge_masks([torch.ones(3, 4, dtype=torch.bool)], ids)


@pytest.mark.parametrize("options", [{"tau": 0.0}, {"tau": 1.1}, {"tau": float("nan")}, {"tau": 0.5, "threshold": 0.2}])
def test_bad_tau_and_threshold(counted, options):
    with pytest.raises(ValueError, match=r"tau=|threshold="):
        keep_masks(counted[-1], **options)


def test_a_class_without_samples_is_refused(counted):
    network, layers, images, labels, _ = counted
    with pytest.raises(ValueError, match=r"classes \[3\] have no samples"):
        count_frequencies(network, layers, [(images, labels)], num_classes=4)


def test_batches_that_can_be_read_once_are_refused(counted):
    network, layers, images, labels, _ = counted
    with pytest.raises(ValueError, match="two passes"):
        count_frequencies(network, layers, iter([(images, labels)]), num_classes=3)


class Shuffling:
    """Other batches at each pass, as a loader that shuffles gives; sorted by class, so that labels tell nothing."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels
        self.generator = torch.Generator().manual_seed(0)

    def __iter__(self):
        for c in range(3):
            own = (self.labels == c).nonzero().flatten()
            own = own[torch.randperm(len(own), generator=self.generator)]
            for part in own.split(6):
                yield self.images[part], self.labels[part]


@pytest.mark.parametrize("room", [0, 2000, 10**6])
def test_counts_do_not_depend_on_how_much_of_the_first_pass_is_kept(counted, room, monkeypatch):
    network, layers, images, labels, expected = counted
    monkeypatch.setattr("moda_core.choosing.frequency.KEPT_BYTES", room)
    for batches in ([(images[:7], labels[:7]), (images[7:], labels[7:])], Shuffling(images, labels)):
        found = count_frequencies(network, layers, batches, num_classes=3, thresholds=THRESHOLDS)
        assert torch.equal(found.counts_TCN, expected.counts_TCN)


def test_what_is_kept_is_not_computed_again(counted):
    network, layers, images, labels, _ = counted
    calls = []
    hook = network.features[0].register_forward_hook(lambda *_: calls.append(1))
    count_frequencies(network, layers, [(images, labels)] * 3, num_classes=3)
    hook.remove()
    assert len(calls) == 3


def test_a_class_without_samples_has_rates_of_zero():
    counts = torch.tensor([[[4, 1], [0, 0]]], dtype=torch.int32)
    found = Frequencies((0.0,), counts, torch.tensor([4, 0]), torch.ones(2), (2,))
    assert found.rates(0.0)[0].tolist() == [[1.0, 0.25], [0.0, 0.0]]
    assert keep_masks(found, 0.9)[0].tolist() == [[True, False], [True, False]]
