"""What a trial's process finds where the driver's storage should be."""

import dataclasses
import shutil

import pytest

from orchestrator.errors import RunError
from orchestrator.results import trial_event, utc_now
from orchestrator.runs.shared_storage import SharedStorage
from orchestrator.search import Status
from orchestrator.storage import DeltaStore
from orchestrator.training import Trial


@pytest.fixture
def trial(configured):
    config = configured()
    trial = Trial("one", 3, {"alpha": 1.0}, config, config.storage)
    propose(trial)
    return trial


def propose(trial):
    row = trial_event(trial.sweep_id, trial, Status.PROPOSED, attempt=0, now=utc_now())
    DeltaStore(trial.root).append("trials", [row])


def test_the_storage_of_the_driver(trial):
    storage = SharedStorage.here(trial.root)
    storage.check()
    storage.check_proposed(trial)
    assert SharedStorage.here(trial.root) == storage


@pytest.mark.parametrize("is_made", [False, True])
def test_another_storage_or_none(trial, tmp_path, is_made):
    elsewhere = dataclasses.replace(SharedStorage.here(trial.root), root=str(tmp_path / "elsewhere"))
    if is_made:
        SharedStorage.here(elsewhere.root)
    what = "that is another storage" if is_made else "there is no storage there"
    with pytest.raises(RunError, match=rf"storage='.*elsewhere': {what}; give a folder that all nodes share"):
        elsewhere.check_proposed(trial)


def test_a_copy_in_which_the_trial_is_not_proposed(trial, tmp_path):
    storage = SharedStorage.here(trial.root)
    copy = dataclasses.replace(storage, root=str(shutil.copytree(trial.root, tmp_path / "copy")))
    copy.check_proposed(trial)
    later = dataclasses.replace(trial, number=4)
    propose(later)
    storage.check_proposed(later)
    copy.check()
    with pytest.raises(RunError, match="trial 4 is not proposed there; give a folder that all nodes share"):
        copy.check_proposed(later, patience=0)
