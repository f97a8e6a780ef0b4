"""Where commands write: a URI is not a path on this machine, and nothing is made in the working folder for it."""

import pytest

from orchestrator.cli.command_line import main
from tests.older_storage import SMALL, unpack_older_storage

URI = "s3://bucket/moda"


@pytest.mark.parametrize(
    "arguments",
    [
        ["pull", "sweep:first/best", "--to", URI],
        ["pull", "s3://bucket/set", "--to", URI],
        ["pull", "team/project/first:best", "--to", URI],
        ["export", "code", "--to", f"{URI}.onnx"],
        ["report", "first", "--to", URI],
        ["query", "first", "from front", "--to", URI],
    ],
    ids=" ".join,
)
def test_a_uri_is_no_place_for_a_file(tmp_path, monkeypatch, capfd, arguments):
    unpack_older_storage(tmp_path, monkeypatch)
    before = sorted(tmp_path.iterdir())
    assert main(arguments) == 2
    assert capfd.readouterr().err == (
        f"moda {arguments[0]}: --to {arguments[-1]} is a URI; name a path on this machine, and copy it from there\n"
    )
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("key", ["data.root", "training.init_from"])
def test_a_uri_is_no_place_of_data_or_weights(tmp_path, monkeypatch, capfd, key):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, f"{key}={URI}", f"storage={tmp_path}/storage"]) == 2
    assert capfd.readouterr().err == (
        f"moda train: {key}={URI} is a URI; copy the file to this machine and give its path\n"
    )
    assert list(tmp_path.iterdir()) == []
