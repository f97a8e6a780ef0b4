"""The help of every command: what it does, what it takes, and an example."""

import pytest

from orchestrator.cli.command_line import main
from orchestrator.cli.command_table import COMMANDS


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as ending:
        main([*arguments, "--help"])
    assert ending.value.code == 0
    return capsys.readouterr().out


def test_every_command_is_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    listed = help_of(capsys)
    for command in COMMANDS.values():
        assert f"\n  {command.name:<11}" in listed
        assert " ".join(command.summary.split()) in " ".join(listed.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    command, text = COMMANDS[name], help_of(capsys, name)
    assert command.summary[1:] + "." in text
    assert command.overrides in text
    for argument in command.arguments:
        assert argument.settings["help"] in text
    assert f"\nExamples:\n  moda {name} " in text or f"\nExamples:\n  moda {name}\n" in text


def test_paragraphs_are_filled_and_examples_stay_on_their_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "62")
    lines = help_of(capsys, "query").splitlines()
    assert max(len(line) for line in lines if not line.startswith("  moda ")) <= 60
    assert '  moda query mine "select point, reuse_accuracy, test_reuse_accuracy, cut_size from front"' in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "x", "--to", "y.pt2", "data.seed=1"], "data.seed=1: this command takes no overrides\n"),
        (
            ["gc", "data.seed=1"],
            "data.seed=1: this command takes storage= only; a sweep is judged as it was recorded\n",
        ),
        (
            ["replace", "x", "y", "--class", "z", "storage=s"],
            "storage=s: this command takes data=, data.key=, training.gpus_per_worker= only\n",
        ),
    ],
)
def test_overrides_that_a_command_does_not_take_are_refused(arguments, message, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"moda {arguments[0]}: {message}"
