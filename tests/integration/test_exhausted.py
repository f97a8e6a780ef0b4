"""A real sweep whose space holds fewer sets of coefficients than trials were asked for: it ends, done."""

import pytest

from orchestrator.results.records import canonical, read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.defaults import NO_SPACE
from tests.integration.sweeps import call_moda, run_moda

pytestmark = pytest.mark.slow
SPACE = (
    *NO_SPACE,
    "search.space.epochs={low: 1, high: 2, integer: true}",
    "search.space.weight_decay={choices: [0.0, 0.0005]}",
    "search.baselines=[{epochs: 1, weight_decay: 0.0}]",
    "search.reference.calibrated_reuse_accuracy=0.5",  # no baseline is a standard training
)
SWEEP = ("sweep", "experiment=digits", *SPACE, "sweep.name=small", "sweep.trials=9", "data.limit=300", "tracking=none")
SAID = "all 4 sets of coefficients of the space are trained; the sweep is done after 4 of sweep.trials=9 trainings"


def test_a_sweep_ends_when_its_space_is_exhausted_and_is_done_then(shared_ray, tmp_path):
    done = run_moda(*SWEEP, storage=tmp_path, **shared_ray)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "4 trials (sweep.trials=9; the space has no more)" in done.stdout
    assert "[4/4]" in done.stdout
    assert SAID in done.stdout
    store = DeltaStore(str(tmp_path))
    sweep = read_sweep(store, "small")
    assert [trial.status for trial in sweep.trials] == ["finished"] * 4
    assert len({canonical(dict(trial.coefficients)) for trial in sweep.trials}) == 4
    assert all(point.test is not None for point in sweep.front)
    before = {name: store.version(name) for name in ("sweeps", "trials", "epochs", "points")}
    again = call_moda(*SWEEP, storage=tmp_path)
    assert again.returncode == 0, again.stderr + again.stdout
    assert "nothing to train" in again.stdout
    assert SAID in again.stdout
    assert {name: store.version(name) for name in before} == before
    confirmed = run_moda("confirm", "small", "--points", "best", "--seeds", "1", storage=tmp_path, **shared_ray)
    assert confirmed.returncode == 0, confirmed.stderr + confirmed.stdout
    assert "with fresh seeds" in confirmed.stdout
