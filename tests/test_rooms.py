"""The rooms: each is imported from its face alone, and a face gives what it names. Their order: `make lint`."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FACES = sorted(path for package in ("moda_core", "orchestrator") for path in ROOT.glob(f"{package}/**/__init__.pyi"))
FILES = sorted(path for package in ("moda_core", "orchestrator") for path in ROOT.glob(f"{package}/**/*.py"))


def dotted(path):
    """The dotted name of a file or folder of the project."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


ROOMS = {dotted(path) for path in FACES}


def room_of(module):
    """The innermost room that a module lies in."""
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len, default=module)


@pytest.mark.parametrize("face", FACES, ids=dotted)
def test_a_face_gives_what_it_names(face):
    package = importlib.import_module(dotted(face))
    assert "May import" in package.__doc__ or "Imports" in package.__doc__ or dotted(face) == "moda_core"
    beside = {path.stem for path in face.parent.iterdir()}
    for name in package.__all__:
        assert not isinstance(getattr(package, name), type(ast)), f"{name} is a module"
        assert name not in beside, f"{name} is the name of a file too, which would hide it"


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_other_rooms_are_imported_from_their_faces(path):
    here = room_of(dotted(path))
    imported = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    inside = [node.module for node in imported if node.module and room_of(node.module) not in (here, node.module)]
    single = {dotted(file) for file in FILES if file.parent.name in ("moda_core", "orchestrator")}  # no rooms
    assert [module for module in inside if module not in single] == []
