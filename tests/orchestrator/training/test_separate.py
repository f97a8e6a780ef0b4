"""GradSplitter in a trial: one network with its masks, and separate networks beside the front."""

import pytest
import torch

from moda_core import load_modules
from orchestrator.errors import ConfigError
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.data.loading import load_data
from orchestrator.training.methods import make_method
from orchestrator.training.stages import stage_subsets
from orchestrator.training.trial import Trial, check_trainable, load_trained
from tests.integration.sweeps import call_moda

SMALL = (
    *("model.widths=[8,M,8]", "model.hidden=[8]", "data.limit=300", "tracking=none"),
    *("evaluation.taus=[0.9]", "evaluation.thresholds=[0.0]", "evaluation.targets=[]"),
)
SPLIT = ("method=gradsplitter", "method.rounds=1", "method.mask_rate=0.1", "sweep.name=split")


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """A standard training, and GradSplitter on its network."""
    root = tmp_path_factory.mktemp("split")
    trained = call_moda("train", "method=standard", *SMALL, "training.epochs=5", "sweep.name=std", storage=root)
    assert trained.returncode == 0, trained.stderr
    weights = root / "trials" / "std-0000" / "weights.safetensors"
    done = call_moda("decompose", str(weights), *SPLIT, *SMALL, storage=root)
    assert done.returncode == 0, done.stderr
    assert "separate networks, on validation" in done.stdout
    return root


def test_separate_networks_are_recorded_beside_the_merged_one(storage):
    sweep = read_sweep(DeltaStore(str(storage)), "split")
    assert [point.label for point in sweep.points] == ["0/0.9/0", "0/score/0"]
    (separate,) = sweep.staged
    assert separate.label == "0/score/0/separate"
    data = load_data(sweep.config.data)
    loaded = load_trained(Trial("split", 0, {}, sweep.config, str(storage)), data)
    networks = make_method(sweep.config.method).separate(loaded.network, loaded.parts(), data.train[torch.arange(2)])
    subsets = stage_subsets(10, 0)
    for images, metrics in ((data.validation, separate.metrics), (data.test, separate.test)):
        said = networks.predict(images[torch.arange(len(images))])
        shares = {}
        for subset in subsets:
            own = [place for place, label in enumerate(images.labels.tolist()) if label in subset]
            found = [subset[int(place)] for place in said[own][:, list(subset)].argmax(1)]
            correct = [one == int(images.labels[place]) for one, place in zip(found, own, strict=True)]
            shares.setdefault(len(subset), []).append(sum(correct) / len(own))
        assert metrics["reuse_accuracy"] == pytest.approx(sum(sum(each) / len(each) for each in shares.values()) / 3)
        sizes = [float(networks.sizes_C[list(subset)].sum()) for subset in subsets]
        expected = (sum(sizes[:2]) / 2 + sum(sizes[2:4]) / 2 + sizes[4]) / 3
        assert metrics["composed_size"] == pytest.approx(expected)
    assert separate.metrics["composed_size"] > sweep.points[1].metrics["cut_size"]


def test_the_merged_network_is_pulled_and_the_separate_ones_are_not(storage, tmp_path):
    done = call_moda("pull", "sweep:split/0/score/0", "--to", str(tmp_path / "set"), storage=storage)
    assert done.returncode == 0, done.stderr
    assert load_modules(tmp_path / "set", ["3", "8"]).class_names == ["3", "8"]
    refused = call_moda("pull", "sweep:split/0/score/0/separate", "--to", str(tmp_path / "no"), storage=storage)
    assert refused.returncode == 2
    assert "it is a separate network for each class, with a head of its own; take 0/score/0, which" in refused.stderr


def test_scores_of_a_method_that_trains_none_are_refused_before_training(configured):
    config = configured(*SMALL, "evaluation.scores=[0.0]", "training.epochs=1")
    with pytest.raises(ConfigError, match=r"evaluation\.scores: the method trains no scores of units; set evaluation"):
        check_trainable(config, load_data(config.data))
