"""What a sweep is: by content where there is a fingerprint, as before where none was recorded."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import torch

from orchestrator.cli.command_line import main
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config, override_config
from orchestrator.config.config import to_plain
from orchestrator.config.identities import identity, identity_hash, recorded_fingerprints
from orchestrator.errors import ConfigError
from orchestrator.results.points import Point, TrialState
from orchestrator.results.records import canonical, claim_sweep, name_sweep, read_sweep, utc_now
from orchestrator.runs.confirming import Request, confirming
from orchestrator.runs.warm_start import earlier_points
from orchestrator.search import Status
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.data.loading import data_here, load_data
from orchestrator.training.fingerprinting import check_unchanged, fingerprints
from tests.orchestrator.training.data.test_loading import encoded

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, in_channels, image_size, num_classes, width={width}):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))
"""


@pytest.fixture
def images():
    draw = np.random.default_rng(0)
    return pa.table({"image": [encoded(one) for one in draw.integers(0, 256, (60, 6, 6, 3), np.uint8)],
                     "label": np.arange(60) % 3})  # fmt: skip


@pytest.fixture
def other(images):
    return images.set_column(1, "label", pa.array((np.arange(60) + 1) % 3))


@pytest.fixture
def store(tmp_path):
    return DeltaStore(f"{tmp_path}/storage")


@pytest.fixture
def on_table(configured, monkeypatch):
    """A configuration of a table by its path."""
    monkeypatch.delenv("MODA_DATA_DIR", raising=False)

    def make(path, *overrides):
        return configured("data=table", f"data.path={path}", *overrides)

    return make


def printed(config):
    return fingerprints(config, load_data(config.data))


def claim(store, config, prints, prefix="table"):
    return claim_sweep(store, config, prefix=prefix, now=utc_now(), fingerprints=prints)


def test_the_same_table_is_the_same_wherever_and_however_it_is_stored(images, other, on_table, tmp_path):
    pq.write_table(images, tmp_path / "a.parquet", row_group_size=7)
    (tmp_path / "parts").mkdir()
    for part, rows in enumerate((images[:11], images[11:])):
        feather.write_feather(rows, tmp_path / "parts" / f"{part}.arrow")
    pq.write_table(other, tmp_path / "b.parquet")
    pq.write_table(images.take(np.arange(60)[::-1]), tmp_path / "c.parquet")
    prints = {name: printed(on_table(tmp_path / name)) for name in ("a.parquet", "parts", "b.parquet", "c.parquet")}
    assert prints["a.parquet"] == prints["parts"]
    assert len({prints[name]["data"]["content"] for name in ("a.parquet", "b.parquet", "c.parquet")}) == 3
    same = {canonical(identity(on_table(tmp_path / name), prints[name])) for name in ("a.parquet", "parts")}
    assert len(same) == 1


def test_a_test_table_has_a_fingerprint_of_its_own(images, other, on_table, tmp_path):
    for name, table in (("train", images), ("test", images), ("others", other)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    train = tmp_path / "train.parquet"
    one, two = (printed(on_table(train, f"data.test_path={tmp_path}/{name}.parquet")) for name in ("test", "others"))
    assert (
        one["data"]["content"] == one["data"]["test_content"] == two["data"]["content"] != two["data"]["test_content"]
    )


def test_other_images_under_an_old_name_are_refused(images, other, on_table, store, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(images, path)
    config = on_table(path, "sweep.name=mine")
    claim(store, config, printed(config))
    assert read_sweep(store, "mine").fingerprints == printed(config)
    pq.write_table(other, path)
    message = rf"data.content is '\w{{12}}', not '\w{{12}}': the images or labels at {path} have changed"
    message += " since the sweep began; choose another name"
    with pytest.raises(ConfigError, match=message) as refused:
        name_sweep(store, config, prefix="table", fingerprints=printed(config))
    assert len(str(refused.value)) < 500
    with pytest.raises(ConfigError, match=r"sweep 'mine': data.content is"):
        check_unchanged(read_sweep(store, "mine"), load_data(config.data))


def test_a_sweep_without_a_name_is_another_one_with_other_images(images, other, on_table, store, tmp_path):
    names = []
    for folder, table in (("a", images), ("b", other), ("c", images)):
        (tmp_path / folder).mkdir()
        pq.write_table(table, tmp_path / folder / "train.parquet")
        config = on_table("train.parquet", f"data.root={tmp_path}/{folder}")
        names.append(claim(store, config, printed(config)))
    assert names[0] == names[2] != names[1]


def test_a_sweep_from_before_there_were_fingerprints_goes_on(images, on_table, store, tmp_path):
    """Its identity has the path, as it was typed, and so has its hash."""
    pq.write_table(images, tmp_path / "train.parquet")
    config = on_table("train.parquet", f"data.root={tmp_path}")
    old = claim(store, config, None)
    assert old == f"table-{identity_hash(identity(config))}"
    assert identity(config)["data"]["path"] == "train.parquet"
    prints = printed(config)
    assert name_sweep(store, config, prefix="table", fingerprints=prints) == old
    assert claim(store, config, prints) == old
    check_unchanged(read_sweep(store, old), load_data(config.data))
    changed = on_table("train.parquet", f"data.root={tmp_path}", "training.epochs=31")
    assert name_sweep(store, changed, prefix="table", fingerprints=prints) != old
    named = on_table("train.parquet", f"data.root={tmp_path}", "sweep.name=old")
    claim(store, named, None)
    assert claim(store, named, prints) == "old"
    with pytest.raises(ConfigError, match=r"data\.path is 'train\.parquet', not 'other\.parquet'"):
        claim(store, on_table("other.parquet", f"data.root={tmp_path}", "sweep.name=old"), prints)


def test_who_takes_no_fingerprints_still_finds_a_sweep_by_its_name(images, on_table, store, tmp_path):
    pq.write_table(images, tmp_path / "a.parquet")
    config = on_table(tmp_path / "a.parquet", "sweep.name=mine")
    claim(store, config, printed(config))
    assert name_sweep(store, config, prefix="table") == "mine"
    with pytest.raises(ConfigError, match=r"training\.epochs is 30, not 31"):
        name_sweep(store, override_config(config, ["training.epochs=31"]), prefix="table")


def test_a_warm_start_is_of_the_same_images(images, other, on_table, store, tmp_path):
    for name, table in (("a", images), ("b", other), ("moved", images)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    config = on_table(tmp_path / "a.parquet", "sweep.name=earlier")
    claim(store, config, printed(config))
    event = {"sweep_id": "earlier", "trial_id": "earlier-0000", "number": 0, "attempt": 1, "event": "finished"}
    store.append("trials", [{**event, "time": utc_now(), "coefficients": '{"alpha": 1.0}'}])

    def earlier(name):
        asked = on_table(tmp_path / f"{name}.parquet", "search.warm_start=[earlier]")
        return earlier_points(asked, "new", store, printed(asked))

    assert earlier("moved") == []
    with pytest.raises(ConfigError, match=r"trial 0 of 'earlier' is of another kind: data.content is"):
        earlier("b")


def test_a_confirmation_keeps_its_name_when_its_table_moves(images, on_table, store, tmp_path):
    pq.write_table(images, tmp_path / "a.parquet")
    config = on_table(tmp_path / "a.parquet", "sweep.name=mine")
    claim(store, config, printed(config))
    parent = read_sweep(store, "mine")
    state = TrialState("mine-0000", 0, {"alpha": 1.0}, Status.FINISHED, 1, None, None, None)
    points = [Point(state, Choice.activity(0.9, 0.0), {}, None)]
    places = ([], [f"data.path={tmp_path}/b.parquet"])
    here, moved = (confirming(parent, points, Request(overrides=place)) for place in places)
    assert here.sweep.name == moved.sweep.name
    assert moved.data.path == f"{tmp_path}/b.parquet"
    assert confirming(parent, points, Request(overrides=["data.resize=8"])).sweep.name != here.sweep.name


def test_an_edited_network_under_an_old_name_is_refused(configured, store, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "edited_nets.py"
    network = ["model=own", "model.name=edited_nets:Net"]

    def printed_with(text, *overrides):
        file.write_text(text)
        monkeypatch.delitem(__import__("sys").modules, "edited_nets", raising=False)
        config = configured(*network, *overrides)
        return config, fingerprints(config, load_data(config.data))

    monkeypatch.setattr("sys.dont_write_bytecode", True)
    config, prints = printed_with(NET.format(width=2), "sweep.name=mine")
    claim(store, config, prints)
    assert printed_with("# a comment\n" + NET.format(width=2))[1] == prints
    config, edited = printed_with(NET.format(width=64), "sweep.name=mine")
    with pytest.raises(ConfigError, match=r"network.graph is .* edited_nets:Net no longer computes what it did when"):
        claim(store, config, edited)
    space = "search.space.width={choices: [2, 3, 4]}"
    searched = printed_with(NET.format(width=2), space)[1]
    assert searched == printed_with(NET.format(width=64), space)[1]  # every trial says the width itself
    assert searched != prints
    assert printed_with(NET.format(width=2).replace("width, 3", "width, 5"), space)[1] != searched


def test_weights_are_compared_by_content_and_need_not_be_there_any_more(configured, store, tmp_path):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"1")
    config = configured(f"training.init_from={weights}", "sweep.name=mine")
    claim_sweep(store, config, prefix="x", now=utc_now())
    recorded = read_sweep(store, "mine").fingerprints
    weights.unlink()
    assert recorded_fingerprints(identity(config, recorded)) == recorded
    with pytest.raises(ConfigError, match="cannot be read"):
        identity(config)


def test_paths_mean_the_same_in_every_working_folder(images, on_table, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    (tmp_path / "elsewhere").mkdir()
    pq.write_table(images, tmp_path / "project" / "train.parquet")
    monkeypatch.chdir(tmp_path / "project")
    config = on_table("train.parquet", "training.init_from=weights.pt")
    assert config.training.init_from == str(tmp_path / "project" / "weights.pt")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(load_data(config.data).train) > 0
    moved = dataclasses.replace(config.data, root=str(tmp_path / "gone"))
    monkeypatch.setenv("MODA_DATA_DIR", str(tmp_path / "project"))
    assert len(load_data(data_here(moved, None)).train) > 0
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config(["data=table", "data.path=x.parquet", "data.root=~/project"]).data.root == f"{tmp_path}/project"
    assert load_config(["data=table", "data.path=x.parquet"]).data.root == f"{tmp_path}/project"


def test_a_path_that_is_given_later_is_one_of_this_machine(on_table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorded = on_table("train.parquet", "data.root=/recorded/there")
    changed = override_config(recorded, ["data.path=here.parquet", "training.init_from=~/w.pt"])
    assert changed.data.path == str(tmp_path / "here.parquet")
    assert changed.training.init_from is not None
    assert not changed.training.init_from.startswith("~")
    monkeypatch.setenv("MODA_DATA_DIR", str(tmp_path / "data"))
    assert override_config(recorded, ["data.test_path=t"]).data.test_path == str(tmp_path / "data" / "t")
    assert override_config(recorded, []) == recorded


def test_a_table_that_moved_is_pulled_from_where_it_lies_and_only_if_it_is_the_same(
    images, other, on_table, tmp_path, capsys, monkeypatch
):
    """One training; the same command with other images trains anew, and neither pull nor rerun take them."""
    monkeypatch.chdir(tmp_path)
    pq.write_table(images, "a.parquet")
    small = [
        "training.epochs=1",
        "evaluation.taus=[0.9]",
        "evaluation.thresholds=[0.0]",
        "evaluation.levels=[]",
        "evaluation.targets=[]",
    ]
    common = [f"storage={tmp_path}/storage", "tracking=none"]
    train = ["train", "data=table", "data.path=a.parquet", "data.resize=8", "sweep.name=mine", *small, *common]
    monkeypatch.delenv("MODA_DATA_DIR", raising=False)
    assert main(train) == 0, capsys.readouterr().err
    pq.write_table(images, "b.parquet")
    pq.write_table(other, "a.parquet")
    for command in (train, ["pull", "sweep:mine/best", "--to", "m", common[0]], ["rerun", "mine/0", common[0]]):
        capsys.readouterr()
        assert main(command) == 2, command
        assert "data.content is" in capsys.readouterr().err
    assert main(["rerun", "mine/0", "data.path=b.parquet", common[0]]) == 0, capsys.readouterr()
    assert main(["pull", "sweep:mine/best", "--to", "m", "data.path=b.parquet", common[0]]) == 0, capsys.readouterr()


def test_seeds_count_on_within_what_can_be_used(configured):
    largest = 2**63 - 1
    config = configured(f"training.seed={largest}", "search.repeats=3")
    seeds = [config.for_trial(number, {}).training.seed for number in range(3)]
    assert seeds == [largest, 0, 1]
    for seed in seeds:
        torch.manual_seed(seed)
    assert to_plain(config)["training"]["seed"] == largest
