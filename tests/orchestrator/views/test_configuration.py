"""What is declared of every key: complete, true, and what docs/configuration.md and ``moda config`` are made of.

``python -m tests.orchestrator.views.test_configuration`` writes the page again.
"""

import dataclasses
import re
from pathlib import Path

import pytest

from moda_core.methods import METHODS
from moda_core.models import MODEL_OPTIONS
from orchestrator.cli import main
from orchestrator.config import GROUPS, choices_of, compose_config, entry_keys, list_keys, network_keys, parse_config
from orchestrator.config.composing import chosen_files, load_config
from orchestrator.config.groups import config_dir_word
from orchestrator.config.identities import identity
from orchestrator.config.overrides import DECLARED
from orchestrator.declarations import METHOD_KEYS, MODEL_KEYS
from orchestrator.errors import ConfigError
from orchestrator.views import config_yaml, configuration_page

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
HIDDEN = {
    *(f"evaluation.{draw}" for draw in ("subsets_per_size", "images_per_size")),
    *(f"evaluation.test_{draw}" for draw in ("subsets_per_size", "images_per_size")),
    *("sweep.confirms", "sweep.chosen", "model.options"),
}


def page():
    """docs/configuration.md, whatever the environment of the test names."""
    plain = compose_config(["storage=~/moda-results", "data.root=null"])
    plain["data"]["root"] = None
    keys = list_keys(plain, plain)
    choices = {group: choices_of(group) for group in GROUPS}
    methods = {name: own_keys(name) for name in choices["method"] if name != "own"}
    return configuration_page(keys, entry_keys(), network_keys(), methods, choices)


def own_keys(method):
    """The keys of a method, at the values of its file."""
    plain = compose_config([f"method={method}"])
    return [key for key in list_keys(plain, plain) if key.section == "method" and key.name != "method.name"]


def test_the_page_is_made_of_the_declarations():
    assert PAGE.read_text() == page(), "python -m tests.orchestrator.views.test_configuration writes it again"


def test_every_key_is_declared():
    plain = compose_config([])
    listed = {key.name for key in list_keys(plain, plain)}
    sections = {name: kind for name, kind in DECLARED.items() if dataclasses.is_dataclass(kind)}
    fields = {f"{name}.{field.name}" for name, kind in sections.items() for field in dataclasses.fields(kind)}
    assert fields - HIDDEN <= listed
    assert listed & HIDDEN == set()
    assert all(key.declared.meaning for key in list_keys(plain, plain))
    assert set(METHOD_KEYS) == set(METHODS)
    for name, method in METHODS.items():
        assert set(METHOD_KEYS[name]) == {field.name for field in dataclasses.fields(method)}
    assert set(MODEL_KEYS) == {option for options in MODEL_OPTIONS.values() for option in options}


def outside(key):
    """A value just outside each end of a key's declared range."""
    text = key.declared.values.partition(";")[0]
    step = 1 if "whole" in key.type else 1e-6
    ends = {"at least": -step, "above": 0, "at most": step, "below": 0}
    for words, beyond in ends.items():
        if match := re.search(rf"{words} (\d+)", text):
            yield (int if step == 1 else float)(match[1]) + beyond


NUMBERS = [
    (key.name, value)
    for key in list_keys(compose_config([]), compose_config([]))
    if key.type.startswith(("whole number", "number"))
    for value in outside(key)
]


def test_most_numbers_have_a_range():
    assert len({name for name, _ in NUMBERS}) >= 35


@pytest.mark.parametrize(("name", "value"), NUMBERS, ids=str)
def test_a_declared_range_is_the_one_that_is_checked(name, value):
    section, _, field = name.partition(".")
    plain = compose_config([])
    plain[section][field] = value
    with pytest.raises(ConfigError, match=field):
        parse_config(plain)


def test_declared_choices_are_those_that_are_taken():
    plain = compose_config([])
    for key in list_keys(plain, plain):
        if key.declared.choices and key.type == "text" and not key.name.startswith("model."):
            section, _, field = key.name.partition(".")
            wrong = {**plain, section: {**plain[section], field: "nonsense"}}
            with pytest.raises(ConfigError, match="nonsense") as raised:
                parse_config(wrong)
            assert all(choice in str(raised.value) for choice in key.declared.choices)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["experiment=fashion_mnist", "training.epochs=3", "search.space.momentum={low: 0.8, high: 0.95}"],
        ["method=mwt", "model=vit_small", "model.depth=3", "search.constraints=[accuracy >= 0.5]"],
    ],
    ids=str,
)
def test_what_is_printed_is_an_experiment_of_the_same_configuration(words, tmp_path):
    plain, files = compose_config(words), chosen_files(words)
    keys = list_keys(plain, compose_config([f"{group}={name}" for group, name in files.items()]))
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(config_yaml(keys, files))
    again = load_config([config_dir_word(str(tmp_path)), "experiment=mine"])
    before = load_config(words)
    assert dataclasses.replace(again, model=before.model) == before
    assert identity(again) == identity(before)


def test_a_part_is_printed_and_a_change_says_the_default(capsys):
    assert main(["config", "training.epochs", "sweep", "training.epochs=3"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "training:",
        "  # length of the training (epochs; at least 1; 0 with init_from) (default: 30)",
        "  epochs: 3",
    ]
    assert main(["config", "trainin"]) == 2
    assert "trainin is not a key (did you mean training?)" in capsys.readouterr().err


def test_an_incomplete_configuration_is_printed_and_said_to_be_one(capsys):
    assert main(["config", "data=folder"]) == 2
    printed = capsys.readouterr()
    assert "  path: null" in printed.out
    assert "data.path=null: name the folder of images" in printed.err


def test_files_of_ones_own_are_found_beside_the_shipped_ones(tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text("name: vgg\nwidths: [4, M, 8]\nhidden: [8]\n")
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: tiny\ntraining:\n  epochs: 7\n"
    )
    assert main(["sweep", "--config-dir", str(tmp_path), "experiment=mine", "--cfg"]) == 0
    printed = capsys.readouterr().out
    assert "  widths: [4, M, 8]\n" in printed
    assert "  epochs: 7\n" in printed
    assert main(["sweep", "--config-dir", str(tmp_path), "model=tinny", "--cfg"]) == 2
    assert "model=tinny is not known (did you mean model=tiny?)" in capsys.readouterr().err
    assert main(["sweep", "--config-dir", str(tmp_path / "x"), "--cfg"]) == 2
    assert "there is no such folder" in capsys.readouterr().err


if __name__ == "__main__":
    PAGE.write_text(page())
