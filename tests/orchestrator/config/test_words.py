"""Values of Python as overrides: the configuration holds what was given."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.composing import load_config
from orchestrator.config.overrides import read_overrides
from orchestrator.config.words import override_words, text_word
from orchestrator.errors import ConfigError

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda t: "${" not in t
)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.from_regex(r"[a-z][a-z_0-9]{0,6}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, min_size=1, max_size=3),
    max_leaves=6,
)


def nested(words):
    """What overrides of keys that nothing declares set, as a nested mapping."""
    plain = {}
    for override in read_overrides(words):
        *path, last = override.key_or_group.split(".")
        place = plain
        for name in path:
            place = place.setdefault(name, {})
        place[last] = override.value()
    return plain


@settings(max_examples=60, deadline=None)
@given(TEXT)
def test_any_text_is_taken_as_given(text):
    for key in ("tracking.entity", "storage", "model.anything"):
        (override,) = read_overrides([text_word(key, text)])
        assert override.value() == text


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=3))
def test_any_values_are_taken_as_given(options):
    assert nested(override_words({"model": options})) == {"model": options}


def test_choices_come_first_and_both_make_a_configuration():
    words = override_words(
        {
            "training": {"epochs": 3, "learning_rate": 1e-05, "init_from": Path("/a, b=c")},
            "model": "vgg16",
            "search": {
                "space": {"learning_rate": {"low": 0.01, "high": np.float64(0.3), "log": True}},
                "baselines": [{"alpha": 0.0, "optimizer": "sgd"}],
                "constraints": ("accuracy >= 0.9",),
            },
            "data": {"classes": [3, "8"], "limit": np.int64(100)},
            "sweep": {"name": None},
        }
    )
    assert words[0] == "model=vgg16"
    config = load_config(words)
    assert config.model.name == "vgg16"
    assert (config.training.epochs, config.training.learning_rate) == (3, 1e-05)
    assert config.training.init_from == "/a, b=c"
    assert config.search.space["learning_rate"].high == 0.3
    assert list(config.search.baselines) == [{"alpha": 0.0, "optimizer": "sgd"}]
    assert config.search.constraints == ("accuracy >= 0.9",)
    assert (config.data.classes, config.data.limit, config.sweep.name) == (("3", "8"), 100, None)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"training": 3}, "training=3 must be text or a mapping"),
        ({"training": None}, "training=None must be text or a mapping"),
        ({"training": {1: 3}}, "training.1 cannot be a key"),
        ({"training": {"a=b": 3}}, "training.'a=b' cannot be a key"),
        ({"training": {"epochs": {1, 2}}}, r"training.epochs=\{1, 2\} must be a number, text"),
        ({"search": {"baselines": [{"a b": 1}]}}, "search.baselines.'a b' cannot be a key"),
    ],
)
def test_what_no_configuration_can_hold_is_refused_by_name(sections, message):
    with pytest.raises(ConfigError, match=message):
        override_words(sections)
