"""What all tests share: where real data is, and a storage of one's own."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from orchestrator.config.composing import load_config
from orchestrator.config.config import Config
from tests.integration.waiting import RAY_PATIENCE

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.update(RAY_PATIENCE)
os.environ["MODA_CACHE_GIB"] = "0"  # what one test pulled is not there for another
# Processes of tests are forked from one that has imported these. They have its environment, not that of the test.
multiprocessing.set_forkserver_preload(
    ["orchestrator.storage.delta", "orchestrator.training.loop", "torch.distributed"]
)
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def checkout() -> Iterator[None]:
    """Fails where a test leaves something in the checkout; caches are hidden."""
    root = Path(__file__).parents[1]
    before = set(root.iterdir())
    yield
    assert not {file.name for file in set(root.iterdir()) - before if not file.name.startswith(".")}


@pytest.fixture
def data_dir() -> Path:
    """The folder with Fashion-MNIST and CIFAR-10. Continuous integration sets it, so nothing is skipped there."""
    if "MODA_DATA_DIR" not in os.environ:
        pytest.skip("MODA_DATA_DIR is not set: no real Fashion-MNIST and CIFAR-10 to test with")
    return Path(os.environ["MODA_DATA_DIR"])


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small networks are faster without threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Config]:
    """A configuration from overrides, with its storage in a temporary folder and no tracking."""

    def make(*overrides: str) -> Config:
        return load_config([f"storage={tmp_path}/storage", "tracking=none", *overrides])

    return make


pytest_plugins = [
    "tests.integration.once",
    "tests.integration.ray_head",
    "tests.integration.s3",
    "tests.integration.sweeps",
]
