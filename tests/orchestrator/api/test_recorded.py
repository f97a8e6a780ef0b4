"""Looking from Python: an older storage, opened, shows what the command line shows."""

import json
from pathlib import Path

import plotly.graph_objects as go
import pytest

import orchestrator as moda
from moda_core import ModuleSetError, load_modules
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.test_older_storage import FRONT
from tests.older_storage import unpack_older_storage


@pytest.fixture(scope="module", autouse=True)
def older(tmp_path_factory):
    """The working folder: it holds the unpacked storage, which MODA_STORAGE names."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("older")
        unpack_older_storage(folder, patch)
        yield folder


@pytest.fixture
def sweep():
    return moda.open_sweep("first")


def test_the_front_is_that_of_the_tables(sweep):
    front = sweep.front().to_pylist()
    names = ("point", "reuse_accuracy", "cut_size", "test_reuse_accuracy")
    assert [tuple(row[name] for name in names) for row in front] == FRONT
    assert {row["point"]: row["role"] for row in front if row["role"]} == {"4/0.3": "knee", "1/0.9/0.1": "best"}
    coefficients = {row["point"]: json.loads(row["coefficients"]) for row in sweep.query("from front").to_pylist()}
    assert {row["point"]: {name: row[name] for name in ("alpha", "beta", "gamma")} for row in front} == coefficients
    assert sweep.hypervolume == pytest.approx(0.3135346127205311, abs=1e-12)


def test_points_and_trials_are_those_of_the_tables(sweep):
    points = sweep.points()
    asked = sweep.query("select sum(cut_size) as size, count(*) as n from points where split = 'validation'")
    assert points.num_rows == asked["n"][0].as_py()
    assert sum(points["cut_size"].to_pylist()) == pytest.approx(asked["size"][0].as_py())
    assert points["on_front"].to_pylist().count(True) == len(FRONT)
    assert points.to_pandas()["trial"].nunique() == 5
    trials = sweep.trials().to_pylist()
    assert [(row["trial"], row["status"]) for row in trials] == [(number, "finished") for number in range(5)]
    assert (trials[1]["alpha"], trials[1]["trial_id"]) == (0.0, "first-0001")


def test_points_have_what_their_row_has(sweep):
    assert (sweep.best.label, sweep.knee.label) == ("1/0.9/0.1", "4/0.3")
    (row,) = [row for row in sweep.front().to_pylist() if row["role"] == "best"]
    best = sweep.best
    assert best.role == "best"
    assert all(row[name] == value for name, value in best.metrics.items())
    assert all(row[f"test_{name}"] == value for name, value in best.test.items())
    assert best.coefficients == {"alpha": 0.0, "beta": 0.0, "gamma": 0.0}
    assert (best.choice.rule, best.choice.values) == ("activity", {"tau": 0.9, "threshold": 0.1})
    assert sweep.point("0/0.3").role is None
    with pytest.raises(moda.UserError, match=r"9/0\.3: no such point; use best, knee"):
        sweep.point("9/0.3")


def test_a_storage_says_what_is_in_it(older):
    rows = {row["sweep"]: row for row in moda.sweeps(storage=older / "storage").to_pylist()}
    assert list(rows)[:2] == ["first", "first-confirm-24ff396f"]
    assert rows["first-confirm-24ff396f"]["confirms"] == "first"
    assert (rows["first"]["trials"], rows["first"]["finished"], rows["first"]["confirms"]) == (5, 5, None)
    assert (rows["killed"]["trials"], rows["killed"]["finished"]) == (1, 0)
    assert [rows["own"][name] for name in ("model", "data", "method")] == ["asset_net:Net", "digits", "moda"]
    assert moda.sweeps(storage=older / "empty").num_rows == 0


def test_what_fresh_seeds_said_is_beside_it(sweep):
    (confirmation,) = sweep.confirmations
    assert confirmation.sweep_id == "first-confirm-24ff396f"
    rows = confirmation.points().to_pylist()
    assert [row["point"] for row in rows] == ["1/0.9/0.1", "4/0.3"]
    again = read_sweep(DeltaStore(sweep.storage), confirmation.sweep_id)
    means = {point.metrics["reuse_accuracy"]: point.test["reuse_accuracy"] for point in again.candidates if point.test}
    assert {row["confirmed_reuse_accuracy"]: row["confirmed_test_reuse_accuracy"] for row in rows} == means
    assert confirmation.best.label == "1/0.9/0.1"
    assert confirmation.parent.sweep_id == "first"
    assert "0.2634 by the sweep, 0.2587 by fresh seeds" in repr(confirmation)
    assert "<th>confirmed_test_cut_size</th>" in confirmation._repr_html_()


def test_points_are_judged_anew():
    judged = [
        moda.open_sweep("first", "search.objectives.flops=min", "search.constraints=['accuracy >= 0.9']"),
        moda.open_sweep("first", search={"objectives": {"flops": "min"}, "constraints": ["accuracy >= 0.9"]}),
    ]
    for sweep in judged:
        assert list(sweep.config.search.objectives) == ["reuse_accuracy", "cut_size", "flops"]
        assert set(sweep.front()["trial"].to_pylist()) == {1}
        assert {*sweep.points().filter(sweep.points()["on_front"])["point"].to_pylist()} == {
            *sweep.front()["point"].to_pylist()
        }


def test_what_is_recorded_stays_as_recorded():
    with pytest.raises(moda.ConfigError, match=r"training.epochs=3: opening a sweep takes storage=, data.root="):
        moda.open_sweep("first", training={"epochs": 3})
    with pytest.raises(moda.ConfigError, match="sweep 'second' is not in the storage; it holds"):
        moda.open_sweep("second")
    with pytest.raises(moda.ConfigError, match="the storage is given twice"):
        moda.open_sweep("first", "storage=elsewhere", storage="storage")


def test_the_plot_is_the_reports(sweep):
    figure = sweep.plot()
    assert isinstance(figure, go.Figure)
    (front,) = [trace for trace in figure.data if trace.name == "front (validation)"]
    assert [*zip(front.y, front.x, strict=True)] == [row[1:3] for row in FRONT]


def test_the_report_is_written(sweep, older):
    assert sweep.report() == older / "first.html"
    assert sweep.report("page.html") == older / "page.html"
    for page in ("first.html", "page.html"):
        text = Path(page).read_text()
        assert "Confirmed by first-confirm-24ff396f" in text
        assert "1/0.9/0.1" in text
    with pytest.raises(moda.UserError, match="cannot be written: No such file"):
        sweep.report("nowhere/page.html")


def test_objects_show_themselves(sweep):
    assert repr(sweep).startswith("<OpenSweep 'first': vgg on digits; 5 of 5 trials finished; 7 points on the front")
    assert repr(sweep.best).startswith("<OpenPoint 1/0.9/0.1 of 'first', best; reuse_accuracy 0.9463, cut_size")
    shown = sweep._repr_html_()
    assert shown.count("<tr>") == 1 + len(FRONT)
    assert "<td>1/0.9/0.1</td><td>best</td>" in shown
    assert "<td>kernel_retention</td><td>0.9875</td><td>0.9875</td>" in sweep.best._repr_html_()


def test_modules_are_pulled(sweep, tmp_path):
    pulled = [
        sweep.best.pull(tmp_path / "a", classes=["3", "8"]),
        sweep.pull("best", tmp_path / "b", classes=("3", "8")),
        moda.pull("sweep:first/best", tmp_path / "c", classes=["3", "8"]),
    ]
    for module_set in pulled:
        assert load_modules(module_set.folder).class_names == module_set.class_names == ["3", "8"]
        assert "classes ['3', '8']" in repr(module_set)
        assert module_set.manifest["about"]["trial"] == "first-0001"
    again = moda.pull(str(tmp_path / "a"), tmp_path / "d", classes=["8"])
    assert again.class_names == ["8"]
    strict = {"constraints": ["cut_size <= 0.1"]}
    assert moda.pull("sweep:first/best", tmp_path / "e", search=strict).manifest["about"]["trial"] == "first-0002"


def test_what_cannot_be_pulled_is_refused_in_one_line(sweep, tmp_path):
    with pytest.raises(moda.UserError, match="classes='38' is one text; give a list"):
        sweep.best.pull(tmp_path / "a", classes="38")
    with pytest.raises(moda.UserError, match=r"search\.constraints=.*only pulling a sweep's point takes overrides"):
        moda.pull("./set", tmp_path / "a", search={"constraints": []})
    with pytest.raises(ModuleSetError, match="has no class 'cat'"):
        sweep.knee.pull(tmp_path / "a", classes=["cat"])
    assert not (tmp_path / "a").exists()


def test_questions_are_answered():
    assert moda.query("first", "select count(*) as n from points")["n"].to_pylist() == [37]
    with pytest.raises(moda.UserError, match="there is no table 'nothing'"):
        moda.query("first", "from nothing")
