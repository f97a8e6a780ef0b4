"""What a person sees of work that takes long."""

import io

import pytest
from rich.console import Console

from orchestrator.training.data.reporting import reported


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, 0), (1.0, 10), (0.01, 7)])
def test_a_log_has_a_line_for_every_tenth_after_some_seconds(seconds, lines):
    now = [0.0]

    def items():
        for item in range(1000):
            now[0] += seconds
            yield item

    shown = io.StringIO()
    found = list(reported(items(), 1000, "decoding", console=Console(file=shown, width=40), clock=lambda: now[0]))
    assert found == list(range(1000))
    printed = shown.getvalue().splitlines()
    assert len(printed) == lines
    if lines:
        assert printed[-1] == "decoding: 1000 of 1000"
        assert printed[0] == f"decoding: {1000 - 100 * (lines - 1)} of 1000"


def test_a_terminal_has_a_bar_that_goes_away(capsys):
    shown, now = io.StringIO(), [0.0]

    def clock():
        now[0] += 1
        return now[0]

    console = Console(file=shown, width=60, force_terminal=True)
    assert list(reported("abcdefgh", 8, "decoding", console=console, clock=clock)) == list("abcdefgh")
    assert "decoding" in shown.getvalue()
    assert capsys.readouterr() == ("", "")


def test_an_error_on_the_way_is_raised():
    def items():
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(reported(items(), 2, "decoding", console=Console(file=io.StringIO())))
