"""Early stopping with real processes: the workers of a trial agree, and a sweep says who was stopped."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from orchestrator.config.composing import load_config
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.batches import Workers
from orchestrator.training.data.loading import load_data
from orchestrator.training.rungs import Judge, Stopped
from orchestrator.training.trial import make_network
from tests.integration.sweeps import call_moda, run_moda

OVERRIDES = (
    "experiment=digits",
    "data.limit=200",
    "evaluation.taus=[0.5,0.9]",
    "evaluation.levels=[0.1]",
    "evaluation.targets=[]",
    "search.early_stopping=pareto_halving",
    "training.epochs=9",
    "tracking=none",
)


def judged(storage, workers):
    """Whether a trial goes on from its two rungs; at the second one others are better."""
    config = load_config(OVERRIDES)
    data = load_data(config.data)
    network = make_network(config, data)
    judge = Judge("s", "s-0000", config, True, data, DeltaStore(storage), torch.float32, workers)
    found = []
    for epoch in range(1, 10):
        try:
            judge(network, epoch)
            found.append(True)
        except Stopped:
            found.append(False)
    return found


def worker(rank, storage):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{storage}/group", rank=rank, world_size=2)
    torch.save(judged(storage, Workers(rank, 2)), f"{storage}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_all_workers_do_as_the_first_one_decides(tmp_path):
    best = {"sweep_id": "s", "rung": 2, "fraction": 0.333333, "epoch": 3, "level": 0.1, "cut_size": 0.001}
    rows = [{**best, "trial_id": f"s-{n}", "calibrated_reuse_accuracy": 1.0 - n / 1000} for n in range(3)]
    DeltaStore(str(tmp_path)).append("rungs", rows)
    mp.start_processes(worker, args=(str(tmp_path),), nprocs=2, start_method="forkserver")
    expected = [epoch != 3 for epoch in range(1, 10)]
    assert [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)] == [expected] * 2
    DeltaStore(f"{tmp_path}/alone").append("rungs", rows)
    assert judged(f"{tmp_path}/alone", Workers()) == expected

    def surfaces(root):
        return sorted((list(row.items()) for row in DeltaStore(str(root)).read("rungs").to_pylist()), key=repr)

    assert surfaces(tmp_path) == surfaces(tmp_path / "alone")  # all images were counted, by two as by one


@pytest.mark.slow
def test_a_sweep_stops_trials_and_says_so(shared_ray, tmp_path):
    name = ("sweep.name=halved", "sweep.trials=6", "sweep.concurrency=1")
    done = run_moda("sweep", *OVERRIDES, *name, storage=tmp_path, **shared_ray)
    assert done.returncode == 0, done.stderr + done.stdout
    store = DeltaStore(str(tmp_path))
    sweep = read_sweep(store, "halved")
    stopped = [one for one in sweep.trials if one.status == "stopped"]
    assert stopped
    assert all(one.number >= 2 for one in stopped)  # the baselines are not
    assert f"{6 - len(stopped)} of 6 trials finished, {len(stopped)} stopped early" in done.stdout
    assert f"trial {stopped[0].number} stopped in" in done.stdout
    ids = {one.trial_id for one in stopped}
    assert not ids & set(store.read("points")["trial_id"].to_pylist())
    assert ids <= set(store.read("rungs")["trial_id"].to_pylist())
    again = call_moda("sweep", *OVERRIDES[:4], *OVERRIDES[5:], *name, storage=tmp_path)  # without early stopping
    assert "nothing to train" in again.stdout
