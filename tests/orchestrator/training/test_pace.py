"""What is done seldom takes as little of the time as it should, whatever it costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.training.pace import LONGEST, SHARE, Pace
from tests.clock import Clock


@given(st.lists(st.tuples(st.floats(1e-3, 10), st.floats(1e-3, 10)), min_size=20, max_size=60))
def test_it_takes_no_more_than_its_share_of_the_time_or_is_a_minute_ago(epochs):
    """Epochs, and what it costs after each of them, of any lengths."""
    clock = Clock()
    pace, ended, cost = Pace(clock), None, 0.0
    for seconds, following in epochs:
        clock.now += seconds
        if ended is not None:
            without, least = clock.now - ended, min(cost / SHARE - cost, LONGEST)
            assert without > least - 1e-6 if pace.is_due else without < least + 1e-6
        if pace.is_due:
            with pace.timed():
                clock.now += following
            ended, cost = clock.now, following


@pytest.mark.parametrize(
    ("seconds", "cost", "every"),
    [(0.05, 0.01, 20), (0.4, 0.01, 3), (1.0, 0.01, 1), (150, 1, 1), (10, 1, 6), (10, 30, 6)],
)
def test_it_is_due_first_at_once_and_then_as_often_as_the_share_allows(seconds, cost, every):
    clock = Clock()
    pace, due = Pace(clock), []
    for epoch in range(30):
        clock.now += seconds
        if pace.is_due:
            with pace.timed():
                clock.now += cost
            due.append(epoch)
    assert due == list(range(0, 30, every))
