"""What is chosen after training, in words, columns and order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.choice import ACTIVITY, CONTRIBUTION, GATE, MAGNITUDE, SCORE, SIZE, Choice

NUMBERS = st.floats(0, 2)
OWN = "somebody.rules:Share"
BUILT_IN = (
    st.builds(Choice.activity, NUMBERS, NUMBERS)
    | st.builds(Choice.contribution, NUMBERS)
    | st.builds(Choice.size, NUMBERS)
    | st.builds(Choice.magnitude, NUMBERS)
    | st.builds(Choice.score, NUMBERS)
    | st.builds(Choice.gate, NUMBERS)
)
CHOICES = BUILT_IN | st.builds(lambda share: Choice(OWN, (("share", share),)), NUMBERS)


def test_how_it_reads():
    assert str(Choice.activity(0.9, 0.1)) == "tau 0.9, threshold 0.1"
    assert str(Choice.contribution(0.1)) == "level 0.1"
    assert str(Choice.size(0.02)) == "size target 0.02"
    assert str(Choice.magnitude(0.02)) == "magnitude target 0.02"
    assert str(Choice.score(0.0)) == "score 0"
    assert str(Choice.gate(0.9)) == "gate share 0.9"
    assert str(Choice(OWN, (("share", 0.25), ("power", 2.0)))) == "Share share 0.25, power 2"


def test_its_columns():
    assert Choice.contribution(0.1).columns == {
        "rule": "contribution",
        "rule_parameters": '{"level": 0.1}',
        "tau": None,
        "threshold": None,
        "level": 0.1,
        "target": None,
        "magnitude_target": None,
        "score": None,
        "gate_share": None,
    }
    assert Choice.size(0.02).columns == {
        "rule": "size",
        "rule_parameters": '{"target": 0.02}',
        "tau": None,
        "threshold": None,
        "level": None,
        "target": 0.02,
        "magnitude_target": None,
        "score": None,
        "gate_share": None,
    }
    assert (Choice.gate(0.9).columns["gate_share"], Choice.gate(0.9).columns["target"]) == (0.9, None)
    own = Choice(OWN, (("tau", 0.25),))  # a parameter of its own, whatever its name
    assert own.columns == {
        "rule": OWN,
        "rule_parameters": '{"tau": 0.25}',
        "tau": None,
        "threshold": None,
        "level": None,
        "target": None,
        "magnitude_target": None,
        "score": None,
        "gate_share": None,
    }
    assert (own.free, own.prefix) == ({"Share.tau": 0.25}, ("Share",))
    assert Choice.activity(0.9, 0.1).free == {"tau": 0.9, "threshold": 0.1}
    assert (Choice.size(0.02).free, Choice.size(0.02).prefix) == ({"target": 0.02}, ("size",))
    assert (Choice.magnitude(0.02).free, Choice.magnitude(0.02).name) == ({"magnitude_target": 0.02}, "magnitude/0.02")
    assert (Choice.gate(0.9).free, Choice.gate(0.9).prefix) == ({"gate_share": 0.9}, ("gate",))


def test_whether_a_target_is_reached():
    assert not Choice.magnitude(0.02).reaches_target(0.0179)
    assert [Choice.size(0.02).reaches_target(size) for size in (0.0179, 0.0181, 0.0219, 0.0221)] == [
        *(False, True, True, False)
    ]
    assert Choice.contribution(0.1).reaches_target(0.5)


@pytest.mark.parametrize(
    ("rule", "names", "wanted"),
    [
        (ACTIVITY, ("tau",), "tau and threshold"),
        (ACTIVITY, ("threshold", "tau"), "tau and threshold"),
        (CONTRIBUTION, ("tau",), "level"),
        (SIZE, ("level",), "target"),
        (GATE, ("tau",), "gate_share"),
        (OWN, (), "at least one parameter"),
    ],
)
def test_a_rule_has_its_own_parameters(rule, names, wanted):
    with pytest.raises(ValueError, match=f"must give {wanted}"):
        Choice(rule, tuple((name, 0.5) for name in names))


@given(st.lists(CHOICES, unique=True))
def test_any_two_have_different_places_and_a_row_says_which_it_is(choices):
    ordered = sorted(choices, key=lambda choice: choice.place)
    assert len({choice.place for choice in choices}) == len(choices)
    rules = [choice.rule for choice in ordered]
    assert rules == sorted(rules, key=[ACTIVITY, CONTRIBUTION, SIZE, MAGNITUDE, SCORE, GATE, OWN].index)
    assert all(Choice.of_row(choice.columns) == choice for choice in choices)
