"""A real sweep of the curve search proposes what the searcher says in process, given what the tables held by then."""

import dataclasses

import pytest

from orchestrator.results.records import history, read_sweep
from orchestrator.runs.proposals import Proposals
from orchestrator.storage.delta import DeltaStore
from tests.defaults import THREE_COEFFICIENTS
from tests.integration.sweeps import run_moda


@pytest.mark.slow
def test_a_sweep_proposes_what_the_searcher_does_in_process(shared_ray, tmp_path):
    """One trial at a time: two baselines, the quasi-random start, then trainings that were chosen."""
    done = run_moda(
        "sweep", "experiment=digits", *THREE_COEFFICIENTS,
        "sweep.name=one", "sweep.trials=8", "sweep.concurrency=1", "training.epochs=1",
        "tracking=none", storage=tmp_path, **shared_ray,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    store = DeltaStore(str(tmp_path))
    sweep = read_sweep(store, "one")
    assert sweep.config.search.name == "curve"
    proposals = Proposals(sweep.config, "one", store)
    sobol = proposals.searcher.quasi_random
    baselines = len(sweep.config.search.baselines)
    for trial in sweep.trials[baselines:]:
        by_then = dataclasses.replace(
            sweep,
            trials=sweep.trials[: trial.number],
            points=[point for point in sweep.points if point.trial.number < trial.number],
        )
        number = trial.number - baselines
        assert proposals.searcher.propose(history(by_then), [], number) == trial.coefficients
        chosen = trial.coefficients != sobol.propose(history(by_then), [], number)
        assert chosen == (number >= 3)  # by then four are known: the published coefficients lie in the space
