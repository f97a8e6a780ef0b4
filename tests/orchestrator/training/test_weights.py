"""Weights as bytes, weights from elsewhere in whatever form, and counts on disk."""

import argparse
import io
import pickle
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.optim.swa_utils import AveragedModel

from moda_core import RULES, build_model, unit_layers
from moda_core.rules import SCORE
from orchestrator.errors import ConfigError
from orchestrator.storage.layout import counts_file
from orchestrator.training.count_files import dump_counts, read_counts
from orchestrator.training.weights import dump_weights, load_weights_file, read_weights
from tests.older_storage import unpack_older_storage


def make(seed=0, **options):
    torch.manual_seed(seed)
    options = {"widths": [4, "M"], "hidden": [6], "num_classes": 3} | options
    return build_model("vgg", in_channels=1, image_size=4, **options)


def same(network, other):
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in network.state_dict().items())


def load(path, network):
    return load_weights_file(str(path), network, key="training.init_from")


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


# Whatever is shared is stored once and comes back.


class TwoNames(nn.Module):
    """A layer with two names, as ``self.net = nn.Sequential(self.conv1, ...)`` makes them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.net = nn.Sequential(self.first, nn.ReLU(), nn.Linear(4, 4))
        self.again = self.net[2]


class TiedWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(4, 3), nn.Linear(4, 3)
        self.head.weight = self.embed.weight


class SharedBuffers(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.other = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.other.running_mean = self.norm.running_mean


class Views(nn.Module):
    """Parameters that are parts of one storage: whole, overlapping, transposed."""

    def __init__(self):
        super().__init__()
        storage = torch.randn(12)
        self.whole = nn.Parameter(storage)
        self.part = nn.Parameter(storage[2:8].view(2, 3))
        self.turned = nn.Parameter(storage.view(3, 4).T)
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("also_empty", torch.zeros(0, 2))


class Parametrized(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = weight_norm(nn.Linear(4, 4)), spectral_norm(nn.Linear(4, 3))


class Versioned(nn.Linear):
    """Reads its state only where its version is told, as torchvision's MNASNet does."""

    _version = 2

    def __init__(self):
        super().__init__(2, 2)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        if local_metadata.get("version") != 2:
            raise ValueError("version should be set")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class ExtraTensor(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self.seen = torch.rand(3)

    def get_extra_state(self):
        return self.seen

    def set_extra_state(self, state):
        self.seen = state


@pytest.mark.parametrize("kind", [TwoNames, TiedWeights, SharedBuffers, Views, Parametrized, Versioned, ExtraTensor])
def test_whatever_a_network_shares_it_comes_back(kind):
    network, other = kind(), kind()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert not same(network, other)
    data = dump_weights(network)
    read_weights(data, other)
    assert same(network, other)
    assert dump_weights(other) == data


def test_a_tensor_with_several_names_is_stored_once():
    stored = safetensors.torch.load(dump_weights(TwoNames()))
    assert sorted(stored) == ["first.bias", "first.weight", "net.2.bias", "net.2.weight"]


def test_files_of_all_names_are_read_as_ever():
    """As they were written before tensors could have several names."""
    network, other = TwoNames(), TwoNames()
    every_name = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    read_weights(safetensors.torch.save(every_name), other)
    assert same(network, other)


def test_a_state_that_is_not_of_tensors_cannot_be_kept():
    class Counting(nn.Linear):
        def get_extra_state(self):
            return {"calls": 3}

    with pytest.raises(ConfigError, match=r"Counting: _extra_state of its state is a dict; only tensors"):
        dump_weights(Counting(2, 2))


# Weights from elsewhere: where checkpoints keep them, and what wraps their names.


def prefixed(state, *prefixes):
    return {"".join(f"{prefix}." for prefix in prefixes) + name: tensor for name, tensor in state.items()}


FORMS = {
    "plain": lambda state: (state, ""),
    "ordered": lambda state: (OrderedDict(state), ""),
    **{
        name: lambda state, name=name: ({"epoch": 3, name: state, "loss": 0.1}, name)
        for name in ("state_dict", "model_state_dict", "model", "network", "net", "module", "params", "weights", "ema")
    },
    "an uncommon name": lambda state: ({"student": state}, "student"),
    "several levels": lambda state: ({"model": {"state_dict": state}, "epoch": 1}, "model.state_dict"),
    "DataParallel": lambda state: (prefixed(state, "module"), ""),
    "compiled": lambda state: (prefixed(state, "_orig_mod"), ""),
    "compiled and parallel": lambda state: (prefixed(state, "module", "_orig_mod"), ""),
    "parallel and compiled": lambda state: ({"state_dict": prefixed(state, "_orig_mod", "module")}, "state_dict"),
    "inside another": lambda state: (prefixed(state, "backbone", "net"), ""),
    "inside a parallel one": lambda state: (prefixed(state, "module", "model", "_orig_mod"), ""),
    "parts compiled": lambda state: ({name.replace(".", "._orig_mod.", 1): one for name, one in state.items()}, ""),
    "with the optimiser": lambda state: (
        {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}, "model": state},
        "model",
    ),
    "Lightning": lambda state: (
        {
            "state_dict": prefixed(state, "model") | {"criterion.weight": torch.ones(3)},
            "hyper_parameters": {"width": 4},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}},
            "pytorch-lightning_version": "2.4.0",
        },
        "state_dict.model.*",
    ),
    "compiled, beside a loss": lambda state: (
        {"state_dict": prefixed(state, "_orig_mod.model") | {"_orig_mod.criterion.weight": torch.ones(3)}},
        "state_dict._orig_mod.model.*",
    ),
    "averaged": lambda state: (prefixed(state, "module") | {"n_averaged": torch.tensor(4)}, "module.*"),
    "an exponential average": lambda state: (
        prefixed(make(7, hidden=[7]).state_dict(), "other")
        | prefixed({name: one[..., :1] for name, one in state.items() if one.ndim}, "head")
        | prefixed(state, "ema_model")
        | {"initted": torch.tensor(True), "step": torch.tensor(3)},
        "ema_model.*",
    ),
    "without counters": lambda state: ({k: v for k, v in state.items() if "num_batches" not in k}, ""),
    "half": lambda state: ({name: one.half() if one.is_floating_point() else one for name, one in state.items()}, ""),
    "parameters": lambda state: ({name: nn.Parameter(one, requires_grad=False) for name, one in state.items()}, ""),
    "wide": lambda state: ({name: one.double() for name, one in state.items()}, ""),
    "sharded": lambda state: ({name.replace(".", "._fsdp_wrapped_module.", 1): t for name, t in state.items()}, ""),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_weights_in_every_form(tmp_path, form, legacy):
    network, other = make(), make(1)
    if form == "half":
        network.half().float()
    content, taken = FORMS[form](network.state_dict())
    path = saved(tmp_path / "w.pt", content, _use_new_zipfile_serialization=not legacy)
    assert load(path, other) == taken
    assert same(network, other)


@settings(max_examples=20)
@given(st.lists(st.sampled_from(["module", "_orig_mod", "model", "net", "a"]), max_size=4))
def test_prefixes_in_any_order(tmp_path_factory, prefixes):
    network, other = make(), make(1)
    path = saved(tmp_path_factory.getbasetemp() / "prefixed.pt", prefixed(network.state_dict(), *prefixes))
    load(path, other)
    assert same(network, other)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_safetensors_with_metadata_whatever_it_is_called(tmp_path, suffix):
    network, other = make(), make(1)
    state = prefixed(network.state_dict(), "module")
    safetensors.torch.save_file(state, tmp_path / f"w.{suffix}", {"format": "pt", "epoch": "3"})
    load(tmp_path / f"w.{suffix}", other)
    assert same(network, other)


def test_bfloat16_is_converted(tmp_path):
    network, other = make(), make(1)
    state = {name: tensor.bfloat16() for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    load(tmp_path / "w.safetensors", other)
    assert all(torch.equal(other.state_dict()[name], tensor.float()) for name, tensor in state.items())
    assert all(tensor.dtype == torch.float32 for tensor in other.parameters())


@pytest.mark.parametrize("child", ["module", "model", "_orig_mod", "state_dict_of_it"])
def test_a_network_with_a_child_of_a_wrappers_name(tmp_path, child):
    def wrapping(seed):
        network = nn.Module()
        network.add_module(child, make(seed))
        return network

    network = wrapping(0)
    state = network.state_dict()
    for content in (state, prefixed(state, "module"), network.get_submodule(child).state_dict()):
        other = wrapping(1)
        load(saved(tmp_path / "w.pt", content), other)
        assert same(network, other)


def test_a_wrapper_of_torch_itself(tmp_path):
    network = make()
    for wrapped in (nn.DataParallel(network), AveragedModel(network), AveragedModel(nn.DataParallel(network))):
        other = make(1)
        load(saved(tmp_path / "w.pt", {"model": wrapped.state_dict()}), other)
        assert same(network, other)


def test_of_several_the_one_that_fits_is_taken(tmp_path):
    network, teacher, other = make(), make(2, hidden=[7]), make(1)
    content = {"model": teacher.state_dict(), "ema": network.state_dict()}
    assert load(saved(tmp_path / "w.pt", content), other) == "ema"
    assert same(network, other)
    both = {"ema": make(3).state_dict(), "state_dict": network.state_dict()}
    assert load(saved(tmp_path / "w.pt", both), other) == "state_dict"
    assert same(network, other)
    mixed = prefixed(teacher.state_dict(), "backbone") | prefixed(network.state_dict(), "net")
    assert load(saved(tmp_path / "w.pt", mixed), make(1)) == "net.*"


def test_shared_tensors_of_a_file_under_one_name_or_all(tmp_path):
    network, other = TiedWeights(), TiedWeights()
    load(saved(tmp_path / "w.pt", network.state_dict()), other)
    assert same(network, other)
    (tmp_path / "w.safetensors").write_bytes(dump_weights(network))
    other = TiedWeights()
    load(tmp_path / "w.safetensors", other)
    assert same(network, other)
    apart = network.state_dict() | {"head.weight": torch.zeros(3, 4)}
    with pytest.raises(ConfigError, match=r"embed.weight and head.weight differ; in the model they are one tensor"):
        load(saved(tmp_path / "w.pt", apart), TiedWeights())


# What is refused, in one line, and leaves the network as it was.


class Evil:
    def __reduce__(self):
        return (print, ("run!",))


def with_value(value, name="head.weight"):
    state = {key: tensor.clone() for key, tensor in make().state_dict().items()}
    state[name].view(-1)[1] = value
    return state


def with_tensor(convert, name="head.weight"):
    state = make().state_dict()
    return state | {name: convert(state[name])}


def compressed(path, records):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name, data)


def write_refused(folder):
    """A file of each kind, and what is said of it."""
    needs_code = "which only code could rebuild, so nothing of it is read; where you trust it, save its weights alone"
    neither = "neither a safetensors file nor a state dict"
    state = make().state_dict()
    (folder / "evil.pt").write_bytes(pickle.dumps(Evil()))
    (folder / "evil2.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    (folder / "pickled.pt").write_bytes(pickle.dumps({"a": 1}))
    (folder / "junk.safetensors").write_bytes(b"junk")
    (folder / "claims.safetensors").write_bytes(b"\xff" * 7 + b"\x7f{}")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "folder.pt").mkdir()
    (folder / "pointer.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    np.savez(folder / "arrays.npz", weight=np.zeros(3))
    whole = saved(folder / "list.pt", [1, 2]).read_bytes()
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    compressed(folder / "bomb.pt", {"archive/data.pkl": bytes(10**7), "archive/version": b"3"})
    for index, start in enumerate((b"\x00", b"}q\x00", b"(K", b"\xff\xfe")):
        (folder / f"random{index}.pt").write_bytes(start * 20)
    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(nn.Linear(2, 2)).save(folder / "script.pt")
    contents = {
        "numbered": ({0: torch.zeros(1)}, "does not hold a state dict"),
        "of numbers": ({"epoch": 1}, "does not hold a state dict"),
        "a tensor": (torch.zeros(1), "does not hold a state dict"),
        "network": (make(), f"holds a moda_core.models.vgg.VGG, {needs_code}"),
        "arguments": ({"args": argparse.Namespace(lr=1), "state_dict": state}, f"argparse.Namespace, {needs_code}"),
        "array": ({"mean": np.zeros(3), "state_dict": state}, f"numpy\\S+, {needs_code}"),
        "classes": (make(num_classes=4).state_dict(), r"head.weight is \(4, 6\), the model's \(3, 6\)"),
        "deeper": (make(hidden=[6, 6]).state_dict(), "0 missing, 2 unknown"),
        "deeper and nested": ({"net": prefixed(make(hidden=[6, 6]).state_dict(), "module")}, "0 missing, 2 unknown"),
        "nan": (with_value(float("nan")), r"head.weight holds NaN or infinity as float32 \(1 of 18 values\)"),
        "infinite": ({"model": with_value(float("inf"), "head.bias")}, "head.bias holds NaN or infinity"),
        "too wide": (with_tensor(lambda one: one.double() * 1e300), "head.weight holds NaN or infinity as float32"),
        "sparse": (with_tensor(torch.Tensor.to_sparse), "head.weight is sparse; .*to_dense"),
        "quantised": (
            with_tensor(lambda one: torch.quantize_per_tensor(one, 0.1, 0, torch.qint8)),
            "head.weight is quantised; .*dequantize",
        ),
        "whole numbers": (with_tensor(torch.Tensor.int), "head.weight is int32, the model's float32"),
        "complex": (with_tensor(lambda one: one + 0j), "head.weight is complex64, the model's float32"),
        "without values": (with_tensor(lambda one: one.to("meta")), "head.weight is without values"),
        "gigantic": (with_tensor(lambda one: torch.zeros(1).expand(10**9, 10**9)), r"head.weight is \(1000000000, "),
    }
    messages = {
        "evil.pt": neither,
        "evil2.pt": needs_code,
        "pickled.pt": neither,
        "junk.safetensors": neither,
        "claims.safetensors": neither,
        "empty.pt": f"{neither}: it is empty",
        "folder.pt": "is a folder",
        "pointer.safetensors": f"{neither}: it is a pointer of Git LFS",
        "arrays.npz": neither,
        "cut.pt": neither,
        "list.pt": "does not hold a state dict",
        "bomb.pt": "claim to hold 10000001",
        "script.pt": "is a TorchScript archive, which may hold code, so nothing of it is read",
        **{f"random{index}.pt": neither for index in range(4)},
        "nothing.pt": "no such file",
    }
    for name, (content, message) in contents.items():
        messages[saved(folder / f"{name}.pt", content).name] = message
    return messages


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_what_is_no_weights_is_refused_and_never_run(tmp_path, capsys):
    for name, message in write_refused(tmp_path).items():
        network = make()
        with pytest.raises(ConfigError, match=message) as error:
            load_weights_file(str(tmp_path / name), network, key="checkpoint")
        assert str(error.value).startswith(f"checkpoint={tmp_path / name}")
        assert "\n" not in str(error.value)
        assert len(str(error.value).replace(str(tmp_path), "")) < 450
        assert same(network, make())
    assert "run!" not in capsys.readouterr().out


def test_a_mapping_that_holds_itself_and_deep_ones_end(tmp_path):
    content = {"a": {}}
    for name in map(str, range(200)):
        content["a"][name] = content
    with pytest.raises(ConfigError, match="does not hold a state dict"):
        load(saved(tmp_path / "round.pt", content), make())
    long_names = {"a." * 20_000 + str(index): torch.zeros(1) for index in range(20)}
    with pytest.raises(ConfigError, match="holds the weights of a different network") as error:
        load(saved(tmp_path / "long.pt", long_names), make())
    assert len(str(error.value).replace(str(tmp_path), "")) < 450


def mutated(data, positions):
    changed = bytearray(data)
    for position, value in positions:
        changed[position % len(changed)] = value
    return bytes(changed)


@settings(max_examples=40)
@given(st.booleans(), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_files_are_refused_or_read_but_nothing_else(tmp_path_factory, legacy, positions):
    buffer = io.BytesIO()
    torch.save({"state_dict": make().state_dict()}, buffer, _use_new_zipfile_serialization=not legacy)
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(mutated(buffer.getvalue(), positions))
    network = make(1)
    try:
        load(path, network)
    except ConfigError:
        assert same(network, make(1))


def test_weights_and_counts_come_back_as_written():
    network, other = make(), make(1)
    read_weights(dump_weights(network), other)
    assert same(network, other)
    images, labels = torch.rand(9, 1, 4, 4), torch.arange(9) % 3
    grid = {"tau": [0.5], "threshold": [0.25, 0.0, 0.1], "level": [0.1], "target": [0.3, 0.1]}
    grid["magnitude_target"] = [0.2]
    sites = unit_layers(network.eval(), images)
    counted = {  # of what methods train
        "score": SCORE.pack([torch.randn(3, width) for width in sites.widths]),
        "gate": {
            "gate_opens": torch.randint(9, (3, 7), dtype=torch.int32),
            "gate_sums": torch.rand(3, 7, dtype=torch.float64),
            "gate_sizes": torch.tensor([3, 3, 3]),
            "widths": torch.tensor([2, 5]),
        },
    }
    for name, rule in RULES.items():
        counts = counted.get(name) or rule.count(network, sites, [(images, labels)], num_classes=3, grid=grid)
        again = read_counts(name, dump_counts(name, counts))
        assert again.keys() == counts.keys()
        for key, tensor in counts.items():
            assert again[key].dtype == tensor.dtype
            assert torch.equal(again[key], tensor)
    own = {"strengths": torch.rand(3, 4, dtype=torch.float64).T, "widths": torch.tensor([1, 3])}
    again = read_counts("module:Own", dump_counts("module:Own", own))
    assert all(torch.equal(again[key], tensor) for key, tensor in own.items())


def test_the_files_of_counts_are_those_of_older_versions(tmp_path, monkeypatch):
    unpack_older_storage(tmp_path, monkeypatch)
    for rule in ("activity", "contribution"):
        data = (tmp_path / "storage" / "trials" / "first-0000" / counts_file(rule)).read_bytes()
        assert dump_counts(rule, read_counts(rule, data)) == data
