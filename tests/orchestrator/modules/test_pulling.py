"""Module sets pulled from folders and object stores; what is not what it says is refused and leaves nothing."""

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import shutil

import pytest
import safetensors.torch
import torch

from moda_core import build_model, load_modules, save_modules, unit_layers
from moda_core.sets.manifest import MANIFEST, WEIGHTS
from orchestrator.cli.command_line import main
from orchestrator.modules.model_card import CARD
from orchestrator.modules.pulling import pull
from orchestrator.storage.files import Files

NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture(scope="module")
def module_set(tmp_path_factory):
    """A module set of four classes in a folder."""
    folder = tmp_path_factory.mktemp("sets") / "set"
    torch.manual_seed(0)
    network, images = (
        build_model("lenet5", num_classes=4, image_size=12, in_channels=1).eval(),
        torch.randn(4, 1, 12, 12),
    )
    layers = unit_layers(network, images)
    masks = [torch.rand(4, width) < 0.5 for width in layers.widths]
    for mask in masks:
        mask[:, 0] = True
    recipe = {"shape": [1, 12, 12], "mean": [0.5], "std": [0.25]}
    more = {"class_names": NAMES, "preprocessing": recipe, "documents": {CARD: b"# Modules"}}
    save_modules(folder, network, layers, masks, images, **more)
    return folder


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def uploaded(folder, uri):
    files = Files(uri)
    for name, data in contents(folder).items():
        files.write(name, data)
    return files


def test_a_folder_is_pulled_as_it_is(module_set, tmp_path, monkeypatch):
    monkeypatch.chdir(module_set.parent)
    for number, reference in enumerate(["./set", str(module_set), f"file://{module_set}"]):
        found = pull(reference, str(tmp_path / str(number)))
        assert contents(found.folder) == contents(module_set)
        assert found.bytes == sum(map(len, contents(module_set).values()))
        assert found.downloaded == 0


def test_some_classes_are_a_set_with_a_card_that_says_so(module_set, tmp_path):
    found = pull(str(module_set), str(tmp_path / "pets"), classes=["dog", "cat"])
    assert found.manifest["class_names"] == ["dog", "cat"]
    assert found.bytes < sum(map(len, contents(module_set).values()))
    assert (found.folder / CARD).read_text() == "> Only dog, cat of the set that is described below.\n\n# Modules"
    images = torch.randn(5, 1, 12, 12)
    expected = load_modules(module_set, ["dog", "cat"])(images)
    torch.testing.assert_close(load_modules(found.folder)(images), expected)


def pull_beside(arguments, barrier, answers):
    """``moda pull`` in a process of its own, which waits when its set is ready until the others' are."""
    from orchestrator.modules import pulling

    ready = pulling.new_folder

    @contextlib.contextmanager
    def wait_when_ready(folder):
        with ready(folder) as part:
            yield part
            barrier.wait()

    pulling.new_folder = wait_when_ready
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(arguments)
    answers.put((arguments[3:], code, said.getvalue()))


def test_of_two_pulls_into_one_folder_one_wins_and_the_other_is_told(module_set, tmp_path):
    context = multiprocessing.get_context("forkserver")
    barrier, answers = context.Barrier(2), context.Queue()
    to = str(tmp_path / "new" / "set")
    commands = [["pull", str(module_set), f"--to={to}", *more] for more in ([], ["--classes", "dog", "bee"])]
    processes = [context.Process(target=pull_beside, args=(command, barrier, answers)) for command in commands]
    for process in processes:
        process.start()
    found = sorted((answers.get() for _ in processes), key=lambda answer: answer[1])
    for process in processes:
        process.join()
    assert [code for _, code, _ in found] == [0, 2]
    winner, loser = found
    assert loser[2] == f"moda pull: --to {to} was created by another process in the meantime; choose a new folder\n"
    assert load_modules(to).class_names == (winner[0][1:] or NAMES)
    assert os.listdir(tmp_path / "new") == ["set"]
    if not winner[0]:
        assert contents(tmp_path / "new" / "set") == contents(module_set)


@pytest.mark.parametrize("to", ["~nobody-here/set", "file/set", "loop"])
def test_a_place_that_cannot_be_is_refused_in_one_line(module_set, tmp_path, monkeypatch, capsys, to):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert main(["pull", str(module_set), "--to", to]) == 2
    error = capsys.readouterr().err
    assert error.startswith("moda pull: --to ")
    assert error.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]


def test_a_source_that_fails_is_not_taken_for_the_place(module_set, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError("the share is gone")

    monkeypatch.setattr(Files, "read", fail)
    assert main(["pull", str(module_set), "--to", str(tmp_path / "set")]) == 2
    assert f"{module_set}: {MANIFEST} cannot be read: the share is gone" in capsys.readouterr().err


def test_pulling_twice_downloads_once(module_set, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("MODA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MODA_CACHE_GIB", "1")
    uri = f"{s3}/{tmp_path.name}/set"
    files = uploaded(module_set, uri)
    size = sum(len(data) for name, data in contents(module_set).items() if name != MANIFEST)
    assert pull(uri, str(tmp_path / "first")).downloaded == size
    files.delete(WEIGHTS)  # then it cannot come from there
    again = pull(uri, str(tmp_path / "second"))
    assert again.downloaded == 0
    assert contents(again.folder) == contents(module_set)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(ValueError, match=f"{uri} lacks the file {WEIGHTS}"):
        pull(uri, str(tmp_path / "third"))


def change(**fields):
    def apply(folder):
        manifest = json.loads((folder / MANIFEST).read_text())
        for key, value in fields.items():
            manifest[key] = value(manifest) if callable(value) else value
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return apply


def flip(folder):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def forge(folder, data):
    """Other weights, with the size and the hash that the manifest then says."""
    (folder / WEIGHTS).write_bytes(data)
    entry = {WEIGHTS: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
    change(files=lambda manifest: manifest["files"] | entry)(folder)


def reshape(folder):
    tensors = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    name = next(name for name in tensors if name.endswith(".weight"))
    forge(folder, safetensors.torch.save(tensors | {name: tensors[name][:1]}))


def elsewhere(name):
    return change(files=lambda manifest: manifest["files"] | {name: manifest["files"][WEIGHTS]})


def strange_operation(folder):
    def graph(manifest):
        nodes = manifest["graph"]["nodes"]
        return {**manifest["graph"], "nodes": [*nodes[:-1], {**nodes[-1], "op": "os.system"}]}

    change(graph=graph)(folder)


HOSTILE = {
    "flipped": (flip, "another sha256"),
    "truncated": (lambda folder: os.truncate(folder / WEIGHTS, 100), "100 bytes, the manifest says"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "lacks the file"),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "there is no manifest.json"),
    "oversized manifest": (lambda folder: os.truncate(folder / MANIFEST, 2**25), "a manifest has at most"),
    "oversized weights": (
        change(files=lambda manifest: {WEIGHTS: {**manifest["files"][WEIGHTS], "bytes": 10**15}}),
        "a wrong size",
    ),
    "no JSON": (lambda folder: (folder / MANIFEST).write_bytes(b"\x80\x04pickle"), "is not JSON"),
    "deep JSON": (lambda folder: (folder / MANIFEST).write_text("[" * 10**6), "is not JSON"),
    "path above": (elsewhere("../../evil"), "'../../evil' is not a file name"),
    "absolute path": (elsewhere("/etc/evil"), "'/etc/evil' is not a file name"),
    "path as hash": (
        change(files=lambda manifest: {WEIGHTS: {**manifest["files"][WEIGHTS], "sha256": "../" * 21 + "x"}}),
        "no sha256",
    ),
    "pickle": (lambda folder: forge(folder, b"\x80\x04cos\nsystem\n"), "not a safetensors file"),
    "other shapes": (reshape, "has not the shape"),
    "operation": (strange_operation, "'os.system' is not one of"),
    "newer": (change(schema_version=99), "schema_version 99; this package reads 2"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sets_are_refused_with_the_reason(module_set, tmp_path, name, capsys):
    make, reason = HOSTILE[name]
    hostile = tmp_path / "hostile"
    shutil.copytree(module_set, hostile)
    make(hostile)
    assert main(["pull", str(hostile), "--to", str(tmp_path / "out" / "set")]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out" / "set").exists()
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_hostile_sets_in_an_object_store_are_refused_and_not_cached(module_set, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("MODA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MODA_CACHE_GIB", "1")
    hostile = tmp_path / "hostile"
    shutil.copytree(module_set, hostile)
    flip(hostile)
    uploaded(hostile, f"{s3}/{tmp_path.name}/hostile")
    with pytest.raises(ValueError, match="another sha256"):
        pull(f"{s3}/{tmp_path.name}/hostile", str(tmp_path / "set"))
    weights = hashlib.sha256((hostile / WEIGHTS).read_bytes()).hexdigest()
    assert not list((tmp_path / "cache").rglob(weights))
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{set}", "--classes", "cat", "fox"], "has no class 'fox'; it has ['ant', 'bee', 'cat', 'dog']"),
        (["{set}", "--classes", "cat", "cat"], "names a class twice"),
        (["{set}", "search.constraints=[]"], "search.constraints=[]: only pulling a sweep's point takes overrides"),
        (["mine/best"], "mine/best is not a folder here; a sweep's point is sweep:<id>/<point>"),
        (["."], ". holds no module set: there is no manifest.json in it"),
        (["project/mine:best"], "'project/mine:best' does not name a module set; the valid forms are"),
        (["mine", "storage={empty}"], "sweep 'mine' is not in the storage"),
        (["s3//bucket/x:y:z"], "does not name a module set"),
        (["nosuch://bucket/x"], "cannot be used"),
    ],
)
def test_mistakes_are_said(module_set, tmp_path, capsys, arguments, said):
    filled = [one.format(set=module_set, empty=tmp_path / "empty") for one in arguments]
    assert main(["pull", *filled, "--to", str(tmp_path / "to")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
