"""The two distributions: their versions, and that what they need is pinned; the pages of their public names."""

import re
import tomllib
from pathlib import Path

import pytest

import moda_core
import orchestrator

ROOT = Path(__file__).parent.parent
PROJECTS = {
    name: tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    for name, folder in (("moda-orchestrator", "."), ("moda-core", "packages/moda-core"))
}


def normalized(requirement):
    """The name of a requirement as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_both_have_one_version_and_packages_tell_it():
    core, main = PROJECTS["moda-core"], PROJECTS["moda-orchestrator"]
    assert (core["name"], main["name"]) == ("moda-core", "moda-orchestrator")
    assert moda_core.__version__ == core["version"] == main["version"] == orchestrator.__version__
    assert f"moda-core=={main['version']}" in main["dependencies"]
    for package in (moda_core, orchestrator):
        with pytest.raises(AttributeError, match="absent"):
            package.absent  # noqa: B018


def test_constraints_pin_every_direct_dependency_and_name_no_place():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = [re.fullmatch(r"([\w.-]+)==[\w.]+( ; [^/@]+)?", line) for line in lines]
    assert None not in pins, "only name==version and markers: no index, URL or folder"
    pinned = {normalized(pin[1]) for pin in pins}
    wanted = {
        normalized(requirement)
        for project in PROJECTS.values()
        for group in (project["dependencies"], *project["optional-dependencies"].values())
        for requirement in group
    }
    assert wanted - pinned == set(PROJECTS)
    assert {"markupsafe", "omegaconf", "sympy"} <= pinned  # what nothing here names, but what is installed


def test_every_room_has_an_api_page():
    faces = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("orchestrator/**/__init__.pyi")}
    pages = "\n".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.rst"))
    shown = set(re.findall(r"automodule:: ([\w.]+)", pages))
    assert shown == faces | {"moda_core", "orchestrator", "orchestrator.errors"}
