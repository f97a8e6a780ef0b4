"""What ``RAY_ADDRESS`` names is asked whether it is a cluster that can be used, before anything waits for it."""

import http.server
import os
import socket
import threading
from pathlib import Path

import pytest
from ray._raylet import Config as RayConfig

from orchestrator.errors import ConfigError, ServiceError
from orchestrator.runs import address
from orchestrator.runs.address import cluster_address
from tests.integration.ray_head import free_port
from tests.integration.sweeps import call_moda


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No address, no token and no home with one; Ray forgets what it has read of ours."""
    for name in list(os.environ):
        if name.startswith(("RAY_ADDRESS", "RAY_AUTH")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    monkeypatch.undo()
    RayConfig.initialize("")


@pytest.mark.parametrize("stated", ["", "local"])
def test_a_ray_of_its_own_has_no_address(monkeypatch, stated):
    monkeypatch.setenv("RAY_ADDRESS", stated)
    assert cluster_address() is None


@pytest.mark.parametrize("stated", ["head", "head:port", "::1", "head:0", "head:65536", "6379", "head:6379 ", "a b:1"])
def test_what_cannot_be_an_address(monkeypatch, stated):
    monkeypatch.setenv("RAY_ADDRESS", stated)
    with pytest.raises(ConfigError, match=r"RAY_ADDRESS='.*' is not an address; write HOST:PORT"):
        cluster_address()


@pytest.mark.parametrize("stated", ["http://127.0.0.1:8265", "ray://127.0.0.1:10001"])
def test_addresses_of_other_doors(monkeypatch, stated):
    monkeypatch.setenv("RAY_ADDRESS", stated)
    with pytest.raises(ConfigError, match=rf"{stated}' is not the address of a cluster's head.*ray job submit"):
        cluster_address()


def test_nobody_is_there(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    with pytest.raises(ServiceError, match=r"RAY_ADDRESS=127.0.0.1:\d+: no Ray cluster answers there"):
        cluster_address()


def test_no_such_host(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "head.invalid:6379")
    with pytest.raises(ServiceError, match=r"RAY_ADDRESS=head.invalid:6379: no Ray cluster answers there"):
        cluster_address()


def test_somebody_is_there_who_says_nothing(monkeypatch):
    monkeypatch.setattr(address, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(ServiceError, match="no Ray cluster answers there"):
            cluster_address()


def test_another_service_is_there(monkeypatch):
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.server_port}")
    with pytest.raises(ServiceError, match="no Ray cluster answers there"):
        cluster_address()
    server.shutdown()


def test_auto_where_no_ray_was_started(monkeypatch, tmp_path):
    from ray._private import services

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(services, "find_gcs_addresses", set)  # of this machine, where other tests have theirs
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(ServiceError, match="RAY_ADDRESS=auto: no Ray runs on this machine"):
        cluster_address()


def test_the_token_that_is_there_is_used(monkeypatch, shared_ray, tmp_path):
    monkeypatch.setenv("RAY_ADDRESS", shared_ray["RAY_ADDRESS"])
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(Path(shared_ray["RAY_AUTH_TOKEN_PATH"]).read_text() + "\n")
    assert cluster_address() == shared_ray["RAY_ADDRESS"]
    assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "there is none in ~/.ray/auth_token; copy the token file of its head"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "RAY_AUTH_TOKEN holds another one"),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere"}, "there is none in /nowhere"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, "RAY_AUTH_TOKEN holds another one"),
        ({"RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE='disabled' sends none; unset RAY_AUTH_MODE"),
    ],
)
def test_another_token_or_none(monkeypatch, shared_ray, given, message):
    for name, value in {"RAY_ADDRESS": shared_ray["RAY_ADDRESS"], **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ServiceError, match=f"the cluster asks for a token, and {message}"):
        cluster_address()
    assert os.environ.get("RAY_AUTH_MODE") == given.get("RAY_AUTH_MODE")


@pytest.mark.parametrize(
    "command", [["sweep", "experiment=digits"], ["train", "experiment=digits", "training.num_workers=2"]]
)
def test_a_command_says_so_on_one_line_before_it_does_anything(tmp_path, command):
    there = f"127.0.0.1:{free_port()}"
    done = call_moda(*command, "tracking=none", storage=tmp_path / "storage", RAY_ADDRESS=there)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"moda {command[0]}: RAY_ADDRESS={there}: no Ray cluster answers there")
    assert not (tmp_path / "storage").exists()
