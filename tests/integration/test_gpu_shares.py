"""Several trials on one GPU: a share of it for each goes through Ray. The GPU is one in name; trials run on the CPU."""

import pytest
import ray

from orchestrator.errors import ConfigError
from orchestrator.runs.cluster import concurrent_trials, connected
from tests.integration.ray_head import ray_head
from tests.integration.sweeps import TINY, run_moda

SHARE = "training.gpus_per_worker"


@pytest.fixture(scope="module")
def one_gpu():
    with ray_head(cpus=4, gpus=1) as head:
        yield head.environment


@pytest.mark.slow
def test_as_many_trials_run_as_there_are_shares_of_the_gpu(one_gpu, configured, monkeypatch):
    for name, value in one_gpu.items():
        monkeypatch.setenv(name, value)
    with connected():
        assert ray.cluster_resources()["GPU"] == 1
        found = {share: concurrent_trials(configured(f"{SHARE}={share}")) for share in (0, 0.25, 0.3, 0.5, 0.6, 1)}
        assert found == {0: 4, 0.25: 4, 0.3: 3, 0.5: 2, 0.6: 1, 1: 1}
        assert concurrent_trials(configured(f"{SHARE}=0.25", "training.cpus_per_worker=2")) == 2
        with pytest.raises(ConfigError, match=r"one trial needs .*, but the cluster has CPU 4, GPU 1; lower"):
            concurrent_trials(configured(f"{SHARE}=2"))


@pytest.mark.slow
def test_a_sweep_on_shares_of_a_gpu_ends_as_any_other(one_gpu, tmp_path):
    done = run_moda("sweep", *TINY, f"{SHARE}=0.25", "tracking=none", storage=tmp_path, **one_gpu)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 trials finished" in done.stdout or "finished 4" in done.stdout, done.stdout
