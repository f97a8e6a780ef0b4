"""When W&B is online. The oracle is W&B's own reader of the file that `wandb login` writes."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import wandb
from wandb.sdk.lib.wbauth import wbnetrc

from orchestrator.tracking.login import has_key
from orchestrator.tracking.wandb_tracker import MARKER, _remove_superseded, share_mode, tracking_mode

KEY = "a" * 40
PUBLIC = "https://api.wandb.ai"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home without anything, in which nobody is logged in."""
    for name in [name for name in os.environ if name.startswith("WANDB") or name == "NETRC"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def log_in(file, host="api.wandb.ai", key=KEY):
    file.write_text(f"machine {host}\n  login user\n  password {key}\n")
    return file


def settings(folder, text):
    folder.mkdir(parents=True)
    (folder / "settings").write_text(f"[default]\n{text}\n")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o604])
@pytest.mark.parametrize("name", [".netrc", "_netrc"])
def test_who_may_read_the_file_does_not_matter(home, name, mode):
    log_in(home / name).chmod(mode)
    assert wbnetrc.read_netrc_auth(host=PUBLIC) == KEY
    assert has_key()
    assert tracking_mode() == "online"


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives a file to somebody else")
def test_a_file_of_somebody_else_as_where_a_secret_is_mounted(home):
    os.chown(log_in(home / ".netrc"), 12345, -1)
    assert has_key()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "machine api.wandb.ai\n  login user\n",
        "machine elsewhere.org\n  login user\n  password " + KEY,
        "default login user password " + KEY,
        'machine api.wandb.ai login user password "' + KEY,
        "nonsense\n",
        f"# mine\nmachine elsewhere.org login a password b\n\nmachine api.wandb.ai login user password {KEY}\n",
        f"macdef init\necho\n\nmachine api.wandb.ai login user password {KEY}\n",
        f"machine api.wandb.ai\tpassword {KEY}",
        b"machine api.wandb.ai login user password \xff",
    ],
)
def test_whatever_stands_in_the_file(home, text):
    (home / ".netrc").write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        expected = wbnetrc.read_netrc_auth(host=PUBLIC) is not None
    except ValueError:  # what is not text, the reader does not expect
        expected = False
    assert has_key() == expected
    assert tracking_mode() == ("online" if expected else "offline")


def test_netrc_names_another_file(home, monkeypatch):
    (home / "elsewhere").mkdir()
    log_in(home / "elsewhere" / "keys")
    monkeypatch.setenv("NETRC", "~/elsewhere/keys")
    assert has_key()
    log_in(home / ".netrc")
    monkeypatch.setenv("NETRC", "~/elsewhere/none")
    assert not has_key()


@pytest.mark.parametrize("folder", [".config/wandb", "configured"])
def test_the_server_of_a_login_is_in_the_client_s_settings(home, monkeypatch, folder):
    """As after `wandb login --host`."""
    if folder == "configured":
        monkeypatch.setenv("WANDB_CONFIG_DIR", str(home / folder))
    settings(home / folder, "base_url = https://wandb.example.org")
    log_in(home / ".netrc")
    assert not has_key()
    log_in(home / ".netrc", "wandb.example.org")
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", PUBLIC)  # which goes first
    assert not has_key()


def test_keys_and_tokens_without_a_file(home, monkeypatch):
    assert not has_key()
    for name, value in {"WANDB_API_KEY": KEY, "WANDB_IDENTITY_TOKEN_FILE": str(home / "token")}.items():
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert has_key()
    settings(home / ".config" / "wandb", f"api_key = {KEY}")
    assert has_key()


@pytest.mark.parametrize(
    ("name", "value"), [("WANDB_API_KEY", "short"), ("WANDB_BASE_URL", "nowhere"), ("WANDB_MODE", "sideways")]
)
def test_what_the_client_refuses_is_reported_and_no_key(home, monkeypatch, caplog, name, value):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv(name, value)
    assert not has_key()
    (message,) = caplog.messages
    assert message.startswith("W&B's client cannot log in (")
    assert "\n" not in message


def test_a_key_that_is_none_is_reported(home, caplog):
    log_in(home / ".netrc", key="short")
    assert not has_key()
    assert "cannot log in" in caplog.text


@pytest.mark.parametrize("folder", [".config/wandb", "wandb"])
@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_who_turned_the_client_off_is_not_online(home, monkeypatch, folder, mode):
    """As after `wandb offline` and `wandb disabled`, in this folder or everywhere."""
    log_in(home / ".netrc")
    settings(home / folder, f"mode = {mode}")
    assert tracking_mode() == mode
    monkeypatch.setenv("WANDB_MODE", "online")
    assert tracking_mode() == "online"


def test_processes_in_other_folders_are_told(home, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "")  # and unset again afterwards
    monkeypatch.delenv("WANDB_MODE")
    log_in(home / ".netrc")
    share_mode()
    assert "WANDB_MODE" not in os.environ
    settings(home / "wandb", "mode = offline")
    share_mode()
    monkeypatch.chdir("/")
    assert tracking_mode() == "offline"


def test_asking_starts_no_client_and_prompts_nobody(home):
    """With a terminal's input closed, and without a thread, a session or a file of the client's."""
    code = """
import threading
from orchestrator.tracking.login import has_key
assert not has_key()
from wandb.sdk import wandb_setup
assert wandb_setup._singleton is None
assert threading.active_count() == 1
"""
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not [file for file in home.rglob("*") if file.is_file()]


def test_a_client_whose_parts_have_moved_is_asked_in_public(home, monkeypatch):
    asked = []
    monkeypatch.setitem(sys.modules, "wandb.sdk.lib.wbauth", None)
    monkeypatch.delattr("wandb.sdk.lib.wbauth")
    monkeypatch.setattr(wandb, "login", lambda **options: asked.append(options) or True)
    assert has_key()
    assert asked == [{"verify": False, "prompt": False}]


def test_only_runs_of_this_storage_are_superseded(tmp_path):
    """Storages in object stores share a folder; a run's id may hold what a pattern gives a meaning to."""
    folders = {}
    roots = {"a": "s3://mine", "b": "s3://theirs", "c": None, "d": "s3://mine", "e": "s3://mine", "killed": None}
    roots["starting"] = "s3://theirs"
    for name, root in roots.items():
        folders[name] = tmp_path / f"offline-run-20260102_03040{len(folders)}-run[0]"
        folders[name].mkdir()
        (folders[name] / "run.wandb").write_bytes(
            b":W&B\xe1\xbe\0" + (b"" if name in ("killed", "starting") else b"a record")
        )
        if root:
            (folders[name] / MARKER).write_text(root)
    (folders["d"] / "run.wandb.synced").touch()
    alike = tmp_path / "offline-run-20260102_030405-run0"
    alike.mkdir()
    (alike / MARKER).write_text("s3://mine")
    run = SimpleNamespace(dir=str(folders["e"] / "files"), id="run[0]", offline=True)
    _remove_superseded(run, "s3://mine")
    assert not folders["a"].exists()
    left = {name for name, folder in folders.items() if folder.exists()}
    assert left == {"b", "c", "d", "e", "starting"}
    assert alike.exists()
