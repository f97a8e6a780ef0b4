"""Text in YAML files: what would be read as another number is refused, everything else is left as it is."""

from importlib import resources
from pathlib import Path

import pytest
import yaml

from orchestrator.config.yaml_text import check_chosen_file, check_yaml_text
from orchestrator.errors import ConfigError


@pytest.mark.parametrize("text", ["2024_01_15", "007", "0x10", "1:30", "+12", "0b1", "1_0"])
def test_text_that_yaml_reads_as_another_number_is_refused(text):
    assert str(yaml.safe_load(text)) != text
    head = "# @package _global_\n"
    for lines in (f"sweep: {{name: {text}}}", f"data:\n  classes: [cat, {text}]", f"storage: {text}"):
        with pytest.raises(ConfigError, match="which YAML reads as another number; put it in quotes"):
            check_yaml_text(head + lines, "experiment", "mine.yaml")
    with pytest.raises(ConfigError, match=r"mine.yaml: data.class_names is "):
        check_yaml_text(f"class_names: [{text}, b]", "data", "mine.yaml")
    check_yaml_text(f"{head}sweep: {{name: '{text}'}}\ntraining: {{epochs: {text}}}", "experiment", "mine.yaml")


@pytest.mark.parametrize("text", ["2024-01-15", "3", "120", "cat", "a_1", "0"])
def test_text_that_stays_as_it_is_written_needs_no_quotes(text):
    check_yaml_text(f"class_names: [{text}]", "data", "mine.yaml")
    check_yaml_text("", "data", "empty.yaml")


def test_every_shipped_file_is_right():
    sweeps = Path(str(resources.files("sweeps")))
    files = sorted(sweeps.glob("*/*.yaml"))
    assert len(files) > 10
    for file in files:
        check_chosen_file(f"{file.parent.name}={file.stem}")


def test_a_file_that_is_no_yaml_is_one_line():
    with pytest.raises(ConfigError, match=r"mine.yaml is not YAML: .*line 1") as refused:
        check_yaml_text("a: [b", "data", "mine.yaml")
    assert len(str(refused.value).splitlines()) == 1
