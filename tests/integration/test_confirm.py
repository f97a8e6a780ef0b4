"""A real sweep with repeats, and a real confirmation of its points: interrupted, resumed, shown."""

import json
import re
import signal

import pytest

from moda_core.sets.manifest import MANIFEST
from orchestrator.results.confirmation import confirmations
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.gates import Gate
from tests.integration.sweeps import call_moda, run_moda, start_at_gate
from tests.integration.waiting import PATIENCE

pytestmark = pytest.mark.slow

SWEEP = ("sweep.name=twice", "sweep.trials=5", "search.repeats=2", "training.epochs=1", "tracking=none")
CONFIRM = ("confirm", "twice", "--seeds", "2", "--points", "0/0.5", "0/0.9/0.1", "2/0.5", "training.epochs=2")


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """Trainings of two epochs wait here after the first: those of the confirmation, not of the sweep."""
    return Gate(tmp_path_factory.mktemp("gate") / "gate", 1)


@pytest.fixture(scope="module")
def storage(gate, shared_ray, tmp_path_factory):
    folder = tmp_path_factory.mktemp("storage")
    done = run_moda(
        "sweep",
        *SWEEP,
        *gate.overrides,
        "evaluation.levels=[0.1,0.5]",
        "evaluation.targets=[]",
        storage=folder,
        **shared_ray,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "over the 2 seeds" in done.stdout
    return folder


@pytest.fixture(scope="module")
def confirmed(storage, gate, shared_ray):
    """What the command printed that went on where an interrupted one ended: in the second of its trainings."""
    process = start_at_gate(gate, *CONFIRM, "sweep.concurrency=1", storage=storage)
    gate.let_one_pass()
    assert gate.is_reached_by(process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert len(list(storage.glob("trials/twice-confirm-*/weights.safetensors"))) == 1
    gate.open()
    done = run_moda(*CONFIRM, storage=storage, **shared_ray)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_repeats_differ_in_their_seed_alone(storage):
    store = DeltaStore(str(storage))
    sweep = read_sweep(store, "twice")
    assert [one.status for one in sweep.trials] == ["finished"] * 5
    sets = [one.coefficients for one in sweep.trials]
    assert sets[0] == sets[1] != sets[2] == sets[3] != sets[4]
    losses = {row["trial_id"]: row["loss"] for row in store.read("epochs", "twice").to_pylist()}
    assert len(set(losses.values())) == 5
    assert {sweep.set_of(one.trial) for one in sweep.candidates} == {0, 1}  # the last set has one training only
    front = sweep.front
    assert all(len(one.over) == 2 and one.test is not None for one in front)
    tested = {one.label for one in sweep.points if one.test is not None}
    assert tested == {single.label for one in front for single in one.over}


def test_a_mean_is_pulled_as_the_trial_it_names(storage, tmp_path):
    done = call_moda("pull", "twice", "--to", str(tmp_path / "modules"), storage=storage)
    assert done.returncode == 0, done.stderr
    point = read_sweep(DeltaStore(str(storage)), "twice").find("best")
    about = json.loads((tmp_path / "modules" / MANIFEST).read_text())["about"]
    assert about["trial"] == point.trial.trial_id
    assert about["validation"] == point.own.metrics != point.metrics
    assert about["config"]["training"]["seed"] == point.trial.number % 2
    assert f"trial {point.trial.number}," in done.stdout


def test_points_that_share_coefficients_share_fresh_trainings(storage, confirmed):
    store = DeltaStore(str(storage))
    parent = read_sweep(store, "twice")
    (found,) = confirmations(store, parent)
    assert [one.coefficients for one in found.sweep.trials] == [parent.trials[n].coefficients for n in (0, 0, 2, 2)]
    assert [one.status for one in found.sweep.trials] == ["finished"] * 4
    assert store.read("epochs", found.sweep.sweep_id).num_rows == 4 * 2
    assert (found.sweep.config.training.seed, found.changes) == (1000, {"training.epochs": 2})
    assert [claimed.label for claimed, _ in found.told] == ["0/0.5", "0/0.9/0.1", "2/0.5"]
    for claimed, again in found.told:
        assert again.choice == claimed.choice
        assert again.test is not None
        assert len(again.over) == 2
    points = found.sweep.points
    assert sum(one.test is not None for one in points) == 6  # the chosen ones, of both seeds


def test_what_it_printed(confirmed):
    assert re.search(
        r"confirming 3 points of twice: 2 sets of coefficients, 2 trainings each with seeds from 1000", confirmed
    )
    assert "with fresh seeds" in confirmed
    assert "but for training.epochs=2" in confirmed
    assert "hypervolume of these 3 points" in confirmed
    assert "best now" in confirmed


def test_the_same_command_again_trains_nothing(storage, confirmed):
    store = DeltaStore(str(storage))
    before = {name: store.version(name) for name in ("sweeps", "trials", "epochs", "points")}
    done = call_moda(*CONFIRM, storage=storage)
    assert done.returncode == 0, done.stderr
    assert "nothing to train" in done.stdout
    assert {name: store.version(name) for name in before} == before


def test_the_sweep_shows_that_it_was_confirmed(storage, confirmed, tmp_path):
    shown = call_moda("front", "twice", storage=storage)
    assert "confirmed by twice-confirm-" in shown.stdout
    assert call_moda("report", "twice", "--to", str(tmp_path / "r.html"), storage=storage).returncode == 0
    page = (tmp_path / "r.html").read_text()
    assert "<h2>Confirmed by twice-confirm-" in page
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["']https?:""", page)


def test_mistakes_are_one_line(storage):
    for arguments, message in (
        (["nothing"], "'nothing' is not in the storage; it holds ['twice'"),
        (["twice", "--points", "9/0.5"], "no such point; use best, knee"),
        (["twice", "method.alpha=3"], "confirming trains the sweep's own coefficients"),
        (["twice", "storage=ftp://x"], "storage"),
    ):
        done = call_moda("confirm", *arguments, storage=storage)
        assert done.returncode == 2, done.stdout + done.stderr
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
