"""Trials find what a command found in its working folder; a table or a network that changed is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from moda_core import build_model
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.sweeps import ROOT, run_moda
from tests.orchestrator.training.data.test_loading import encoded

NET = """
from pathlib import Path

from moda_core import build_model

def net(in_channels, image_size, num_classes):
    widths = [int(Path("width.txt").read_text()), "M"]
    return build_model("vgg", in_channels=in_channels, image_size=image_size, num_classes=num_classes, widths=widths)
"""
SWEEP = (
    "search=random",
    "sweep.trials=2",
    "sweep.concurrency=1",
    "training.epochs=1",
    "evaluation.levels=[]",
    "evaluation.targets=[]",
)


def write_images(path, labels):
    draw = np.random.default_rng(0)
    images = [encoded(pixels) for pixels in draw.integers(0, 256, (len(labels), 8, 8, 3), np.uint8)]
    pq.write_table(pa.table({"image": images, "label": labels}), path)


@pytest.mark.slow
def test_relative_paths_and_a_changed_table(tmp_path, monkeypatch):
    monkeypatch.delenv("MODA_DATA_DIR", raising=False)

    def moda(*words):
        return run_moda(*words, storage=tmp_path / "storage", folder=tmp_path, PYTHONPATH=f"{ROOT}:code")

    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "relative_net.py").write_text(NET)
    (tmp_path / "width.txt").write_text("4")
    network = build_model("vgg", in_channels=3, image_size=8, num_classes=3, widths=[4, "M"])
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    write_images(tmp_path / "train.parquet", np.arange(60) % 3)
    words = ["sweep", "model=own", "model.name=relative_net:net", "data=table", "data.path=train.parquet", *SWEEP]
    words += ["training.init_from=weights.pt", "sweep.name=relative", "tracking=none"]
    done = moda(*words)
    assert done.returncode == 0, done.stderr + done.stdout
    sweep = read_sweep(DeltaStore(str(tmp_path / "storage")), "relative")
    assert [trial.status for trial in sweep.trials] == ["finished"] * 2
    assert set(sweep.fingerprints) == {"data", "network", "training"}
    write_images(tmp_path / "train.parquet", (np.arange(60) + 1) % 3)
    done = moda(*words)
    assert done.returncode == 2, done.stdout
    assert "sweep.name='relative' already names a different sweep: data.content is" in done.stderr
    (tmp_path / "width.txt").write_text("5")
    write_images(tmp_path / "train.parquet", np.arange(60) % 3)
    done = moda(*words[:-3], "sweep.name=relative", "tracking=none")
    assert done.returncode == 2, done.stdout
    assert "network.graph is" in done.stderr
