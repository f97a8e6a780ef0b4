"""An S3 of one's own: moto's server on loopback, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")  # moto takes any


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """What finds a running server with the empty bucket ``bucket``, as environment variables."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _make_bucket(endpoint)
        yield {
            **dict.fromkeys(KEYS, "testing"),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket's URI, in whose environment the test and the processes that it starts are."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return "s3://bucket"


def _make_bucket(endpoint: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT"), timeout=10)
            return
        except urllib.error.HTTPError:
            raise
        except OSError:  # not up yet
            time.sleep(0.2)
    raise AssertionError("moto's server did not start within a minute")
