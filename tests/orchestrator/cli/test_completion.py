"""What the shell is told to complete."""

import argparse
import os
import subprocess
import sys

from orchestrator.cli import main
from orchestrator.cli.completers import (
    complete_key,
    complete_override,
    complete_point,
    complete_reference,
    complete_sweep,
    complete_trial,
)
from tests.older_storage import unpack_older_storage


def options(**named):
    return argparse.Namespace(overrides=[], **named)


def test_groups_keys_and_values_are_completed(tmp_path):
    assert {"model=", "training.epochs=", "method.alpha=", "storage="} <= set(complete_override("", options()))
    assert {"model=vgg16", "model=own"} <= set(complete_override("model=v", options()))
    assert complete_override("training.optimizer=", options()) == ["training.optimizer=adamw", "training.optimizer=sgd"]
    assert complete_override("data.flip=", options()) == ["data.flip=true", "data.flip=false"]
    assert complete_override("training.epochs=", options()) == []
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text("name: vgg\n")
    assert "model=tiny" in complete_override("model=", options(config_dir=str(tmp_path)))
    assert {"training", "training.epochs"} <= set(complete_key("", options()))


def test_sweeps_trials_and_points_are_those_of_the_storage(tmp_path, monkeypatch):
    unpack_older_storage(tmp_path, monkeypatch)
    assert {"first", "own"} <= set(complete_sweep("", options()))
    assert complete_trial("first/", options()) == [f"first/{number}" for number in range(5)]
    assert "first/" in complete_trial("f", options())
    assert "sweep:first/" in complete_reference("sw", options())
    assert {"sweep:first/best", "sweep:first/1/0.9/0.1"} <= set(complete_reference("sweep:first/", options()))
    assert {"front", "best", "knee"} <= set(complete_point("", options(sweep="first")))
    elsewhere = argparse.Namespace(overrides=[f"storage={tmp_path}/nothing"])
    assert complete_sweep("", elsewhere) == []


def test_a_shell_is_answered(tmp_path):
    answer = tmp_path / "answer"
    line = "moda sweep model=resnet1"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n"}
    command = "import sys; sys.argv = ['moda']; from orchestrator.cli import main; main()"
    subprocess.run([sys.executable, "-c", command], env=os.environ | asked, check=False, capture_output=True)
    assert answer.read_text().strip() == "model=resnet18"


def test_each_shell_is_given_a_script(capsys):
    for shell, word in {"bash": "complete ", "zsh": "compdef", "fish": "complete --command moda"}.items():
        assert main(["completion", shell]) == 0
        assert word in capsys.readouterr().out
