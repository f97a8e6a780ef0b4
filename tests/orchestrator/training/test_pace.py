"""What is done seldom takes as little of the time as it should, whatever it costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.training.pace import SHARE, Pace


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@given(st.lists(st.tuples(st.floats(1e-3, 10), st.floats(1e-3, 10)), min_size=20, max_size=60))
def test_it_takes_no_more_than_its_share_of_the_time(epochs):
    """Epochs, and what it costs after each of them, of any lengths."""
    clock = Clock()
    pace, costs = Pace(clock), []
    for seconds, cost in epochs:
        clock.now += seconds
        if pace.is_due:
            assert sum(costs) <= SHARE * (clock.now - 100) * (1 + 1e-9)
            with pace.timed():
                clock.now += cost
            costs.append(cost)
    assert costs


@pytest.mark.parametrize(("seconds", "cost", "every"), [(0.05, 0.01, 10), (0.4, 0.01, 2), (1.0, 0.01, 1), (60, 1, 1)])
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
