"""What is chosen after training, in words, columns and order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.choice import Choice

NUMBERS = st.floats(0, 2)
CHOICES = st.builds(Choice, tau=NUMBERS, threshold=NUMBERS) | st.builds(Choice, level=NUMBERS)


def test_how_it_reads():
    assert str(Choice(0.9, 0.1)) == "tau 0.9, threshold 0.1"
    assert str(Choice(level=0.1)) == "level 0.1"
    assert Choice(level=0.1).columns == {"tau": None, "threshold": None, "level": 0.1}


@pytest.mark.parametrize("given", [(), (0.9,), (None, 0.1), (0.9, 0.1, 0.1), (0.9, None, 0.1)])
def test_it_is_one_way_or_the_other(given):
    with pytest.raises(ValueError, match="give tau and threshold, or level"):
        Choice(*given)


@given(st.lists(CHOICES, unique=True))
def test_any_two_have_different_places_and_levels_come_last(choices):
    ordered = sorted(choices, key=lambda one: one.place)
    assert len({one.place for one in choices}) == len(choices)
    assert [one.level is not None for one in ordered] == sorted(one.level is not None for one in ordered)
    assert all(Choice(**one.columns) == one for one in choices)
