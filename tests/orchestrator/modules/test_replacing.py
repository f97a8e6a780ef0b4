"""``moda replace`` on module sets made by hand: which data it takes, what it says, what it refuses."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import moda_core
from moda_core import build_model, save_modules, unit_layers
from moda_core.sets.manifest import MANIFEST
from orchestrator.cli.command_line import main
from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.modules.replacing import Request, replace_from_sets
from orchestrator.training.data.loading import load_data

DIGITS = {"name": "digits", "limit": 300}


def make_set(folder, *, names=tuple("0123456789"), size=8, data=DIGITS, seed=0):
    torch.manual_seed(seed)
    network = build_model(
        "vgg", in_channels=1, image_size=size, num_classes=len(names), widths=[4, "M"], hidden=[8]
    ).eval()
    layers = unit_layers(network, torch.zeros(2, 1, size, size))
    save_modules(
        folder,
        network,
        layers,
        [torch.ones(len(names), width, dtype=torch.bool) for width in layers.widths],
        torch.randn(4, 1, size, size),
        class_names=names,
        preprocessing={"shape": [1, size, size], "mean": [0.1 * seed], "std": [0.3]},
        about=None if data is None else {"config": {"data": data}},
    )
    return str(folder)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Folders of module sets by name."""
    root = tmp_path_factory.mktemp("sets")
    made = {
        "weak": make_set(root / "weak"),
        "strong": make_set(root / "strong", data=None, seed=1),
        "nameless": make_set(root / "nameless", data=None),
        "odd": make_set(root / "odd", data={"name": "digits", "limits": 3}),
        "letters": make_set(root / "letters", names=("a", "b", "3")),
        "large": make_set(root / "large", size=12),
        "fetching": make_set(
            root / "fetching", data={"name": "cifar10", "download": True, "root": str(root / "fetched")}
        ),
        "elsewhere": make_set(root / "elsewhere", data={"name": "table", "path": "x.parquet"}),
    }
    for name in ("torn", "strange"):
        make_set(root / name)
        made[name] = str(root / name)
    (root / "torn" / "weights.safetensors").write_bytes(b"")
    manifest = json.loads((root / "strange" / MANIFEST).read_text())
    (root / "strange" / MANIFEST).write_text(json.dumps(manifest | {"about": {"config": ["no", "mapping"]}}))
    return made


def run(sets, weak, strong, *more, capsys):
    code = main(["replace", sets.get(weak, weak), sets.get(strong, strong), *more])
    printed = capsys.readouterr()
    return code, printed.out, printed.err.strip()


def test_the_table_has_every_number_of_images(sets, capsys):
    code, out, err = run(sets, "weak", "strong", "--class", "3", "--epochs", "2", "--seed", "1", capsys=capsys)
    assert (code, err) == (0, "")
    rows = {
        line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(("weak", "repl", "contr"))
    }
    assert [len(rows[name]) for name in ("weak", "replaced")] == [4, 6]
    assert rows["weak"][1] == "40"
    assert rows["weak"][3] == "357"
    assert f"{float(rows['weak'][0]) + float(rows['replaced'][1]):.1f}" == rows["replaced"][0]
    assert "trained on 240 images of digits for 2 epochs, without augmentation" in out  # a fifth of 300 is held out
    assert "strong does not record its data" in out
    again = run(sets, "weak", "strong", "--class", "3", "--epochs", "2", "--seed", "1", capsys=capsys)
    assert again == (0, out, "")


def test_data_is_as_recorded_unless_the_command_line_says_otherwise(sets):
    def data(weak, *overrides):
        request = Request(sets[weak], sets["strong"], "3", epochs=1, seed=0)
        found = replace_from_sets(request, load_config(overrides), overrides)
        return found.data, found.training_images

    assert data("weak") == (load_config(["data.limit=300"]).data, 240)
    assert data("weak", "data.limit=200", "data.test_limit=100")[1] == 160
    assert data("weak", "data=digits") == (load_config([]).data, 1120)
    assert data("nameless", "data=digits")[1] == data("strange", "data=digits")[1] == 1120


def test_a_set_trained_on_other_images_is_noted(sets):
    request = Request(sets["weak"], sets["elsewhere"], "3", epochs=1, seed=0)
    (note,) = replace_from_sets(request, load_config([]), []).notes
    assert "elsewhere was trained with data.name=table, here digits: test images may have been" in note


def test_a_set_that_records_other_contents_is_refused_or_noted(sets, tmp_path, monkeypatch):
    """By their hashes, wherever the images lie."""
    contents = {"weak": {"content": "a" * 64}, "same": {"content": "a" * 64}, "other": {"content": "b" * 64}}
    for name, recorded in contents.items():
        about = {"config": {"data": {**DIGITS, "path": f"{name}.parquet"}}, "fingerprints": {"data": recorded}}
        make_set(tmp_path / name)
        manifest = json.loads((tmp_path / name / MANIFEST).read_text())
        (tmp_path / name / MANIFEST).write_text(json.dumps(manifest | {"about": about}))

    def notes(weak, strong, *overrides):
        request = Request(str(tmp_path / weak), str(tmp_path / strong), "3", epochs=1, seed=0)
        return replace_from_sets(request, load_config(overrides), overrides).notes

    here = dataclasses.replace(load_data(load_config(["data.limit=300"]).data), contents=contents["weak"])
    monkeypatch.setattr("orchestrator.modules.replacing.load_data", lambda config: here)
    assert notes("weak", "same") == ()
    (note,) = notes("weak", "other")
    assert "other was trained with data.content=bbbb" in note
    with pytest.raises(ConfigError, match=r"other was trained on other images or labels: data.content is 'bbbb"):
        notes("other", "weak")
    assert len(notes("other", "weak", "data=digits")) == 1


def test_the_layer_trains_on_training_images_and_test_images_are_counted(sets, monkeypatch):
    seen = []

    def spied(original):
        def spy(*arguments, **keywords):
            batches = list(arguments[-1])
            seen.append(torch.cat([images for images, _ in batches]))
            return original(*arguments[:-1], batches, **keywords)

        return spy

    for name in ("replace_class", "replacement_accuracy"):
        monkeypatch.setattr(f"orchestrator.modules.replacing.{name}", spied(getattr(moda_core, name)))
    replace_from_sets(Request(sets["weak"], sets["strong"], "3", epochs=1, seed=0), load_config([]), [])
    data = load_data(load_config(["data.limit=300"]).data)
    assert torch.equal(seen[0], data.train.images)
    assert torch.equal(seen[1], data.test.images)


@pytest.mark.parametrize(
    ("weak", "strong", "more", "message"),
    [
        ("weak", "strong", ["--class", "cat"], "--class 'cat': .*weak has the classes"),
        ("weak", "letters", ["--class", "4"], "--class '4': .*letters has the classes"),
        ("letters", "strong", ["--class", "3"], "letters has the classes .* data.name=digits has .*data=..."),
        ("weak", "strong", ["--class", "3", "data.classes=[3,4]"], "weak has the classes"),
        ("weak", "large", ["--class", "3"], r"large takes images of \[1, 12, 12\], data.name=digits has \[1, 8, 8\]"),
        ("nowhere", "strong", ["--class", "3"], "nowhere holds no module set"),
        ("weak", "nowhere", ["--class", "3"], "nowhere holds no module set"),
        ("torn", "strong", ["--class", "3"], "has 0 bytes, the manifest says"),
        ("nameless", "strong", ["--class", "3"], "nameless does not record which data"),
        ("strange", "strong", ["--class", "3"], "strange does not record which data"),
        ("odd", "strong", ["--class", "3"], "odd records data that cannot be read: unknown key data.limits"),
        ("elsewhere", "strong", ["--class", "3"], "x.parquet"),
        ("weak", "strong", ["--class", "3", "--epochs", "0"], "--epochs 0: must be at least 1"),
        ("weak", "strong", ["--class", "3", "--seed", "-1"], "--seed -1: must be"),
        (
            "weak",
            "strong",
            ["--class", "3", "training.epochs=3"],
            "training.epochs=3: this command takes data=, data.key=",
        ),
        ("weak", "strong", ["--class", "3", "data.limit=5"], "data.limit=5 cannot be drawn"),
        ("weak", "strong", ["--class", "3", "data.limits=5"], "unknown key data.limits"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(weak, strong, more, message, sets, capsys):
    code, _, error = run(sets, weak, strong, *more, capsys=capsys)
    assert code == 2
    assert len(error.splitlines()) == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error)


def test_a_set_does_not_make_us_download(sets, capsys, monkeypatch):
    monkeypatch.delenv("MODA_DATA_DIR", raising=False)
    code, _, error = run(sets, "fetching", "strong", "--class", "3", capsys=capsys)
    assert code == 2
    assert "not found under" in error
    assert not Path(sets["fetching"]).with_name("fetched").exists()
