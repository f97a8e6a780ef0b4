"""What the documentation tells people to type works."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from moda_core import open_modules
from orchestrator.cli.command_line import main, parse_arguments
from orchestrator.cli.command_table import COMMANDS, DETAILS
from orchestrator.config.composing import load_config
from orchestrator.config.space import check_space
from orchestrator.training.data import torchvision_models
from tests.integration.sweeps import TINY, call_moda

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs").glob("examples/*/README.md")),
]
YAML = sorted((ROOT / "sweeps").rglob("*.yaml"))


def commands():
    """Every `moda ...` line of the help texts, the pages' shell blocks and the shipped files' first comments."""
    for name, details in [("moda", DETAILS), *((command.name, command.details) for command in COMMANDS.values())]:
        for line in re.findall(r"^  moda (.*)", details, re.M):
            yield f"help of {name}", line
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
    options = parse_arguments(arguments)
    overrides = [override.replace("=weights.safetensors", "=null") for override in options.overrides]
    if options.command == "reproduce":
        overrides.insert(0, f"experiment={options.recipe}")
    config = load_config(overrides)
    if options.command == "sweep" and not config.method.is_own:  # its class says what is searched
        check_space(config)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readmes_python_runs(swept, tmp_path, monkeypatch):
    storage = swept[0]
    assert call_moda("pull", "tiny", "--to", str(tmp_path / "modules"), storage=storage).returncode == 0
    monkeypatch.chdir(tmp_path)
    known = {"images": torch.zeros(3, 1, 8, 8, dtype=torch.uint8), "storage": str(storage)}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) == 3
    for block in blocks:
        exec(block.replace('"mine"', '"tiny"'), known)  # noqa: S102 - our own text
    assert known["logits"].shape == (3, 2)
    assert set(known["front"]["point"]) == set(known["sweep"].front()["point"].to_pylist())
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


def test_the_python_of_the_python_page_runs(swept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torchvision_models()  # lightning imports torchvision, whose operators do not load everywhere
    known = {"storage": str(swept[0]), "TINY": TINY}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
    assert len(blocks) == 7
    for block in blocks:
        text = block.replace('"mine"', '"tiny"').replace("sweep:mine", "sweep:tiny")
        exec(text.replace('experiment="digits"', "*TINY"), known)  # noqa: S102 - our own text
    assert known["sweep"].sweep_id == "tiny"
    assert known["front"]["role"].str.contains("best").sum() == 1
    assert known["best_of_each"].num_rows == 4
    assert known["page"] == tmp_path / "mine.html"
    assert known["page"].exists()
    assert known["pulled"].class_names == ["3", "8"]
    assert list(known["by_flops"].config.search.objectives)[-1] == "flops"
    assert known["module"].class_names == ["3"]
    assert known["three_or_eight"](known["images"]).shape == (64, 2)
    assert open_modules("modules").manifest["class_names"] == [str(digit) for digit in range(10)]
    assert known["trainer"].global_step == 2 * 2
    assert {"affinity", "dispersion", "compactness"} <= set(known["trainer"].callback_metrics)
    assert not known["model"].network.training


def test_a_loop_of_ones_own_makes_a_module_set(tmp_path):
    example = ROOT / "docs" / "examples" / "own_loop.py"
    command = [sys.executable, str(example), str(tmp_path / "modules"), "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"^epoch \d: loss ([\d.]+)", done.stdout, re.M)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    (right,) = re.findall(r"^3 or 8: (\d+) of 79 test images right", done.stdout, re.M)
    assert int(right) > 60
    assert open_modules(tmp_path / "modules").manifest["class_names"] == [str(digit) for digit in range(10)]


def test_the_questions_of_the_tables_page_are_answered(swept, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = re.findall(r"^moda (query .*)", (ROOT / "docs" / "tables.md").read_text(), re.M)
    assert len(asked) == 8
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
