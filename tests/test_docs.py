"""What the documentation tells people to type works."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from moda_core import open_modules
from orchestrator.cli.command_line import _parser, main
from orchestrator.config.config import check_space, load_config

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs").glob("examples/*/README.md")),
]
YAML = sorted((ROOT / "sweeps").rglob("*.yaml"))


def commands():
    """Every `moda ...` line of the pages' shell blocks and of the shipped files' first comments."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S):
            for line in block.splitlines():
                if match := re.search(r"(?:^moda|python -m orchestrator) (.*)", line):
                    yield page.name, match.group(1)
    for file in YAML:
        for line in file.read_text().splitlines():
            if match := re.match(r"# Command: .*?\bmoda (.*?)(?:\s+\(|$)", line):
                yield file.name, match.group(1)


@pytest.mark.parametrize(("page", "command"), list(commands()))
def test_commands_parse_and_compose(page, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = shlex.split(command, comments=True)
    options, more = _parser().parse_known_args(arguments)
    assert not [one for one in more if "=" not in one]
    overrides = [one.replace("=weights.safetensors", "=null") for one in [*options.overrides, *more]]
    config = load_config(overrides)
    if options.command == "sweep" and not config.method.is_own:  # its class says what is searched
        check_space(config)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readmes_python_runs(swept, tmp_path, monkeypatch):
    from tests.integration.sweeps import call_moda

    storage = swept[0]
    assert call_moda("pull", "tiny", "--to", str(tmp_path / "modules"), storage=storage).returncode == 0
    monkeypatch.chdir(tmp_path)
    known = {"images": torch.zeros(3, 1, 8, 8, dtype=torch.uint8), "storage": str(storage)}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(block.replace('"mine"', '"tiny"'), known)  # noqa: S102 - our own text
    assert known["logits"].shape == (3, 2)
    assert len(known["points"]) >= 4 * 28


def test_the_python_of_the_tables_page_runs(swept):
    known = {"storage": str(swept[0])}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tables.md").read_text(), re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(block.replace('"mine"', '"tiny"'), known)  # noqa: S102 - our own text
    assert 0 < len(known["curve"]) < known["before"].num_rows < known["points"].num_rows


def test_the_python_of_the_modules_page_runs(swept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = {"storage": str(swept[0]), "images": torch.zeros(3, 1, 8, 8, dtype=torch.uint8)}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "modules.md").read_text(), re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(block.replace("sweep:mine", "sweep:tiny").replace('["8"]', '["3"]'), known)  # noqa: S102 - our own text
    assert known["module"].class_names == ["3", "8"]
    assert known["eight"].class_names == open_modules("eight").manifest["class_names"] == ["3"]


def test_the_questions_of_the_tables_page_are_answered(swept, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = re.findall(r"^moda (query .*)", (ROOT / "docs" / "tables.md").read_text(), re.M)
    assert len(asked) == 6
    for line in asked:
        arguments = ["tiny" if one == "mine" else one for one in shlex.split(line) if not one.startswith("storage=")]
        assert main([*arguments, f"storage={swept[0]}"]) == 0, line
        assert len(capsys.readouterr().out.splitlines()) >= 2 or "--to" in arguments
    assert "reuse_accuracy" in (tmp_path / "points.csv").read_text()


def test_the_example_cluster_file_is_valid():
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((ROOT / "cluster" / "on-premise.yaml").read_text()))
    validate_config(config)  # raises
    assert config["available_node_types"]
