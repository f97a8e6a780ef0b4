"""Points of the rule of L1 magnitude: measured, named, chosen again from the files, and pulled."""

from moda_core import load_modules
from orchestrator.config import Choice
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.sweeps import call_moda

SMALL = (
    *("training.epochs=1", "model.widths=[8,M,8]", "model.hidden=[8]", "data.limit=300", "tracking=none"),
    *("evaluation.taus=[0.9]", "evaluation.thresholds=[0.0]", "evaluation.targets=[0.1]", "sweep.name=s"),
)


def test_modules_by_magnitude_have_their_size_and_share_all_units(tmp_path):
    done = call_moda("train", *SMALL, "evaluation.magnitude_targets=[0.3,0.1]", storage=tmp_path / "storage")
    assert done.returncode == 0, done.stderr
    sweep = read_sweep(DeltaStore(str(tmp_path / "storage")), "s")
    assert [point.label for point in sweep.points] == ["0/0.9/0", "0/size/0.1", "0/magnitude/0.1", "0/magnitude/0.3"]
    for point in sweep.points[2:]:
        assert point.choice == Choice.magnitude(point.choice.values["magnitude_target"])
        assert point.choice.reaches_target(point.metrics["cut_size"])
        assert point.metrics["coupling"] == 1
    pulled = call_moda("pull", "sweep:s/0/magnitude/0.3", "--to", str(tmp_path / "set"), storage=tmp_path / "storage")
    assert pulled.returncode == 0, pulled.stderr
    assert load_modules(tmp_path / "set", ["3", "8"]).class_names == ["3", "8"]
    assert call_moda("report", "s", "--to", str(tmp_path / "r.html"), storage=tmp_path / "storage").returncode == 0
    assert "<h3>Over target size (magnitude)</h3>" in (tmp_path / "r.html").read_text()
