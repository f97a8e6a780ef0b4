"""The rule of gates: the share, how it is lowered, and the unit that is kept where no share is small enough."""

import pytest
import torch

from moda_core.rules import GATE
from moda_core.rules.gate_rule import lowered_shares

SIZES = [20, 40]
# Of each class on how many images the gates of two sites are open, and the sums of these gates.
OPENS = [[[20, 18, 10, 0], [3, 1]], [[40, 36, 20, 1], [0, 0]]]
SUMS = [[[9.0, 8.0, 2.0, 0.0], [1.0, 0.5]], [[30.0, 9.0, 9.0, 0.1], [0.0, 0.0]]]


def counts():
    opens, sums = (torch.tensor([first + second for first, second in part]) for part in (OPENS, SUMS))
    return {
        "gate_opens": opens.int(),
        "gate_sums": sums.double(),
        "gate_sizes": torch.tensor(SIZES),
        "widths": torch.tensor([4, 2]),
    }


@pytest.mark.parametrize(
    ("share", "first", "second", "floored"),
    [
        (0.95, [[1, 0, 0, 0], [1, 0, 0, 0]], [[1, 0], [1, 0]], 2),
        (0.9, [[1, 1, 0, 0], [1, 1, 0, 0]], [[1, 0], [1, 0]], 2),
        (0.5, [[1, 1, 1, 0], [1, 1, 1, 0]], [[1, 0], [1, 0]], 2),
        (0.15, [[1, 1, 1, 0], [1, 1, 1, 0]], [[1, 0], [1, 0]], 1),
        (0.05, [[1, 1, 1, 0], [1, 1, 1, 0]], [[1, 1], [1, 0]], 1),
        (0.01, [[1, 1, 1, 0], [1, 1, 1, 1]], [[1, 1], [1, 0]], 1),
    ],
)
def test_a_class_keeps_units_whose_gates_are_open_often_enough(share, first, second, floored):
    found = GATE.choose(counts(), {"gate_share": share}, floor=0.9)
    assert [mask.int().tolist() for mask in found.keep] == [first, second]
    assert found.floored == floored
    assert found.is_plain


def test_the_largest_mean_is_kept_where_the_share_cannot_be_lowered_enough():
    rare = counts()
    rare["gate_opens"][0, 4:] = torch.tensor([1, 1])
    rare["gate_sizes"] = torch.tensor([200, 40])
    rare["gate_sums"][0, 4:] = torch.tensor([0.2, 0.7], dtype=torch.float64)
    assert GATE.choose(rare, {"gate_share": 0.9}).keep[1].tolist() == [[False, True], [True, False]]


def test_shares_are_lowered_as_published():
    assert lowered_shares(0.9) == pytest.approx([0.9 - 0.05 * step for step in range(18)])
    assert lowered_shares(0.03) == [0.03]


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(ValueError, match=rf"gate_share={share} must lie in \(0, 1\]"):
        GATE.choose(counts(), {"gate_share": share})
