"""An S3 of one's own: moto's server on loopback, in a process of its own."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.integration.ray_head import free_port
from tests.integration.waiting import PATIENCE, wait_until

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")  # moto takes any


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """What finds a running server with the empty bucket ``bucket``, as environment variables."""
    server, endpoint = _started()
    yield {
        **dict.fromkeys(KEYS, "testing"),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }
    server.terminate()
    server.wait(PATIENCE)


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket's URI, in whose environment the test and the processes that it starts are."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return "s3://bucket"


def _started() -> tuple[subprocess.Popen[bytes], str]:
    """A server and its address; another one where somebody took the port."""
    for _ in range(20):
        port = free_port()
        endpoint = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: server.poll() is not None or _has_bucket(endpoint), "moto's server")  # noqa: B023
        if server.poll() is None:
            return server, endpoint
    raise AssertionError("moto's server does not start")


def _has_bucket(endpoint: str) -> bool:
    """Whether the server is up; its bucket is then there."""
    request = urllib.request.Request(f"{endpoint}/bucket", method="PUT")
    try:
        urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError:
        raise
    except OSError:  # not up yet
        return False
    return True
