"""Hashes of tables: the same images and labels have the same one, however they are stored."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.training.data.content import encoded_hash, pixel_hash

VALUES = st.lists(st.none() | st.binary(max_size=5), min_size=1, max_size=12)
TYPES = st.sampled_from([pa.binary(), pa.large_binary()])


def chunked(values, ends, kind):
    """The values in chunks that begin at ``ends``, each a slice of a longer array."""
    bounds = [0, *sorted(end % (len(values) + 1) for end in ends), len(values)]
    chunks = [
        pa.array([b"before", *values[first:last], b"after"], kind).slice(1, last - first)
        for first, last in pairwise(bounds)
    ]
    return pa.chunked_array(chunks, kind)


@settings(deadline=None)
@given(VALUES, st.lists(st.integers(0, 20), max_size=4), TYPES)
def test_neither_chunks_nor_the_width_of_offsets_count(values, ends, kind):
    labels = np.arange(len(values))
    whole = encoded_hash([pa.array(values, pa.binary())], labels)
    assert encoded_hash(chunked(values, ends, kind).chunks, labels) == whole


@settings(deadline=None)
@given(VALUES, VALUES)
def test_other_values_have_another_hash(values, others):
    assume(values != others)
    hashes = {encoded_hash([pa.array(one, pa.binary())], np.zeros(0, np.int64)) for one in (values, others)}
    assert len(hashes) == 2


def test_labels_count_with_their_order_and_kind_and_not_their_width():
    images = [pa.array([b"a", b"b"])]
    different = [np.array([0, 1]), np.array([1, 0]), np.array(["0", "1"]), np.array(["01", ""])]
    assert len({encoded_hash(images, labels) for labels in different}) == 4
    assert encoded_hash(images, np.array([0, 1], np.uint8)) == encoded_hash(images, np.array([0, 1], np.int64))


def test_pixels_count_with_their_shape():
    pixels, labels = np.arange(24, dtype=np.uint8), np.zeros(2, np.int64)
    shapes = [(2, 3, 2, 2), (2, 1, 4, 3)]
    assert len({pixel_hash(pixels.reshape(shape), labels) for shape in shapes}) == 2
    assert pixel_hash(pixels.reshape(shapes[0])[:, ::-1], labels) != pixel_hash(pixels.reshape(shapes[0]), labels)
