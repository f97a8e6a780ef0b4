"""A storage that version 0.1.0 wrote on 25 November 2026, and how its sweep ``first`` was asked for."""

import tarfile
from pathlib import Path

import pytest

from tests.defaults import THREE_COEFFICIENTS

ASSET = Path(__file__).parent / "assets" / "storage_2026_11_25.tar.gz"
SMALL = (
    *THREE_COEFFICIENTS,  # the defaults of then
    "tracking=none",
    "model.widths=[8,M,8]",
    "model.hidden=[8]",
    "evaluation.taus=[0.5,0.9]",
    "evaluation.thresholds=[0.0,0.1]",
    "evaluation.levels=[0.1,0.3]",
    "evaluation.targets=[]",
    "training.epochs=3",
    *("evaluation.pairs=null", "evaluation.subsets_per_size=3", "evaluation.images_per_size=60"),
    *("evaluation.test_pairs=null", "evaluation.test_subsets_per_size=10", "evaluation.test_images_per_size=2000"),
)


def unpack_older_storage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the storage and the table of images into a folder, which becomes the working folder; no MODA_DATA_DIR."""
    with tarfile.open(ASSET) as archive:
        archive.extractall(folder, filter="data")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MODA_DATA_DIR", raising=False)
    monkeypatch.setenv("MODA_STORAGE", str(folder / "storage"))
