"""Storage on S3: the store's contract, files, and a whole sweep."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from moda_core import load_modules
from orchestrator.cli.command_line import main
from orchestrator.modules.publishing import name_of
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.storage.files import Files
from tests.integration.s3 import KEYS
from tests.integration.sweeps import run_moda
from tests.integration.waiting import PATIENCE
from tests.orchestrator.storage.store_contract import StoreContract


class TestDeltaStoreOnS3(StoreContract):
    make = DeltaStore

    @pytest.fixture
    def root(self, s3, tmp_path):
        return f"{s3}/{tmp_path.name}"

    @pytest.mark.slow
    def test_writers_at_once_lose_nothing_and_double_nothing(self, store, root, tmp_path):
        super().test_writers_at_once_lose_nothing_and_double_nothing(store, root, tmp_path)

    def test_files_are_compacted_and_old_versions_stay(self, store):
        for number in range(3):
            store.append("epochs", [{"sweep_id": "s", "trial_id": "s-0", "epoch": number}])
        before = store.version("epochs")
        assert store.compact("epochs") == 3
        assert store.read("epochs").num_rows == store.read("epochs", version=before).num_rows == 3


def test_files_are_written_read_and_deleted(s3):
    files = Files(f"{s3}/files/")
    assert files.local is None
    files.check_writable()
    assert not files.exists("a/b.bin")
    for data in (b"one", b"two" * 4_000_000):
        files.write("a/b.bin", data)
        assert files.read("a/b.bin") == data
    (listed,) = files.under("a")
    assert (listed.name, listed.bytes) == ("a/b.bin", len(data))
    assert abs(datetime.now(UTC) - listed.modified) < timedelta(minutes=5)
    files.drop_folder("a")
    files.delete("a/b.bin")
    files.delete("a/b.bin")
    assert not files.exists("a/b.bin")
    assert files.under("a") == files.under("nowhere") == []
    with pytest.raises(FileNotFoundError):
        files.read("a/b.bin")


def test_keys_may_come_from_a_profile(s3, tmp_path, monkeypatch):
    """Files and tables find them alike, in a process that knows of no other keys."""
    for name in KEYS:
        monkeypatch.delenv(name)
    profile = "[lab]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
    (tmp_path / "credentials").write_text(profile)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    code = f"""
from orchestrator.storage import DeltaStore, Files
Files("{s3}/profile").write("a", b"one")
store = DeltaStore("{s3}/profile")
store.append("epochs", [dict(sweep_id="s", trial_id="s-0", epoch=1)])
print(Files("{s3}/profile").read("a"), store.read("epochs").num_rows)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout.strip()) == (0, "b'one' 1"), done.stderr


@pytest.mark.slow
def test_a_sweep_its_front_and_its_modules(s3, tmp_path, capsys, monkeypatch):
    """Everything that a sweep leaves is in the bucket and nothing beside it; the same command again adds nothing."""
    storage = f"{s3}/moda"
    asked = ["experiment=digits", "sweep.name=tiny", "sweep.trials=2", "training.epochs=1", "tracking=none"]
    home = {"HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    for _ in range(2):
        done = run_moda("sweep", *asked, storage=storage, **home)
        assert done.returncode == 0, done.stderr + done.stdout
    assert "nothing to train" in done.stdout
    sweep = read_sweep(DeltaStore(storage), "tiny")
    assert [one.status for one in sweep.trials] == ["finished"] * 2
    assert sweep.front
    assert not list((tmp_path / "home").glob("moda-results*"))

    assert main(["front", "tiny", f"storage={storage}"]) == 0
    assert sweep.find("best").label in capsys.readouterr().out
    assert main(["query", "tiny", "select point from front", "--format", "json", f"storage={storage}"]) == 0
    assert [row["point"] for row in json.loads(capsys.readouterr().out)] == [one.label for one in sweep.front]

    for folder in ("made", "found"):  # published into the bucket, then read from there
        assert main(["pull", "tiny", "--to", str(tmp_path / folder), f"storage={storage}"]) == 0
    for file in ("manifest.json", "weights.safetensors"):
        assert (tmp_path / "made" / file).read_bytes() == (tmp_path / "found" / file).read_bytes()
    assert load_modules(str(tmp_path / "found"), classes=["3", "8"]) is not None

    monkeypatch.setenv("MODA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MODA_CACHE_GIB", "1")
    uri = f"{storage}/modules/{name_of(sweep.find('best'))}"
    capsys.readouterr()
    for folder, reference in (("first", uri), ("second", uri), ("third", "sweep:tiny/best")):
        asked = [f"storage={storage}"] if reference != uri else []
        assert main(["pull", reference, "--classes", "3", "8", "--to", str(tmp_path / folder), *asked]) == 0
        assert ("downloaded" in capsys.readouterr().out) == (folder == "first")
        assert load_modules(str(tmp_path / folder)).class_names == ["3", "8"]


def test_what_cannot_be_reached_is_one_line(s3, monkeypatch, capsys):
    for command in (["front", "x"], ["query", "x", "select 1"], ["sweep", "experiment=digits"]):
        assert main([*command, "storage=s3://no-such-bucket/moda"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"moda {command[0]}: storage='s3://no-such-bucket/moda' cannot be ")
        assert error.count("\n") == 1
    assert main(["front", "x", f"storage={s3}/empty"]) == 2
    assert "it holds no sweeps" in capsys.readouterr().err
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert main(["front", "x", f"storage={s3}/moda"]) == 2
    assert "is not encrypted; use https, or set AWS_ALLOW_HTTP=true" in capsys.readouterr().err
