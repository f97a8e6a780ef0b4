"""Draws by class: exact in number, every class in them, or refused with the numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from orchestrator.config.data_section import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data import shipped
from orchestrator.training.data.splits import check_classes, hold_out, limit_images

NAMES = ["cat", "dog", "eel", "fox"]
counts = st.lists(st.integers(2, 12), min_size=2, max_size=4)


def split(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.arange(len(labels)), labels


@given(counts, st.integers(0, 3), st.data())
def test_a_limit_draws_that_many_of_different_images(counts, seed, data):
    images, labels = split(counts)
    limit = data.draw(st.integers(len(counts), len(labels) + 2))
    chosen, chosen_labels = limit_images((images, labels), limit, seed, "data.limit", NAMES)
    assert len(set(chosen.tolist())) == len(chosen) == min(limit, len(labels))
    assert np.array_equal(labels[chosen], chosen_labels)
    left = np.bincount(labels, minlength=len(counts)) - np.bincount(chosen_labels, minlength=len(counts))
    share = np.array(counts) * (1 - len(chosen) / len(labels))
    assert np.abs(left - share).max() <= 1
    again, _ = limit_images((images, labels), limit, seed, "data.limit", NAMES)
    assert np.array_equal(chosen, again)


@given(counts, st.integers(0, 3), st.data())
def test_limits_that_leave_a_part_draw_as_ever(counts, seed, data):
    images, labels = split(counts)
    limit = data.draw(st.integers(len(counts), max(len(counts), len(labels) - len(counts))))
    if len(labels) - limit >= len(counts):
        chosen, _ = limit_images((images, labels), limit, seed, "data.limit", NAMES)
        wanted, _ = train_test_split(np.arange(len(labels)), train_size=limit, stratify=labels, random_state=seed)
        assert np.array_equal(chosen, wanted)


@given(st.lists(st.integers(2, 40), min_size=2, max_size=6), st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_what_is_held_out_is_what_scikit_learn_draws(counts, seed, fraction):
    labels = np.random.default_rng(0).permutation([f"class {index}" for index in np.repeat(range(len(counts)), counts)])
    images = np.arange(len(labels))
    for share in (fraction, math.ceil(fraction * len(labels))):
        try:
            wanted = train_test_split(images, test_size=share, stratify=labels, random_state=seed)
        except ValueError:
            with pytest.raises(ConfigError, match="a part cannot be held out"):
                hold_out((images, labels), share, seed, "a part", "more")
        else:
            (kept, _), (held, _) = hold_out((images, labels), share, seed, "a part", "more")
            assert np.array_equal(kept, wanted[0])
            assert np.array_equal(held, wanted[1])


def test_digits_are_those_of_scikit_learn():
    images, labels = load_digits(return_X_y=True)
    wanted = train_test_split(images, labels, test_size=397, stratify=labels, random_state=0)
    train, test, names, _ = shipped.load_digits(DataConfig("digits"))
    for (read, read_labels), pixels, classes in zip((train, test), wanted[:2], wanted[2:], strict=True):
        assert np.array_equal(read, np.rint(pixels.reshape(-1, 1, 8, 8) * 255 / 16))
        assert np.array_equal(read_labels, classes)
        assert (read.dtype, read_labels.dtype) == (np.uint8, np.int64)
    assert names == list("0123456789")


@pytest.mark.parametrize(
    ("counts", "limit", "message"),
    [
        ([20, 20, 20], 2, "data.limit=2 cannot be drawn by class: 60 images of 3 classes.* to 3 or more"),
        ([20, 20, 1], 30, "41 images of 3 classes, of class 'eel' only 1.*two images or more"),
    ],
)
def test_limits_that_cannot_be_drawn(counts, limit, message):
    with pytest.raises(ConfigError, match=message):
        limit_images(split(counts), limit, 0, "data.limit", NAMES)


def test_three_images_of_a_class_are_too_few_to_hold_some_out():
    with pytest.raises(ConfigError, match="a fifth cannot be held out: 9 images of 3 classes, of class 0 only 3; more"):
        hold_out(split([3, 3, 3]), 0.2, 0, "a fifth", "more")
    with pytest.raises(ConfigError, match="of class 'cat' only 1; more"):
        hold_out(split([1, 30]), 0.2, 0, "a fifth", "more", NAMES)


def test_a_class_without_images_is_named():
    with pytest.raises(ConfigError, match=r"\['dog', 'fox'\] have no test samples, 2 of 4 classes among 3 images"):
        check_classes(np.array([0, 2, 2]), NAMES, "test")
