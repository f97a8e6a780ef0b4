"""Weights trained elsewhere, and counts on disk."""

import pickle

import pytest
import safetensors.torch
import torch

from moda_core import build_model, count_contributions, count_frequencies, unit_layers
from orchestrator.counts import dump_contributions, dump_frequencies, read_contributions, read_frequencies
from orchestrator.errors import ConfigError
from orchestrator.weights import dump_weights, load_weights_file, read_weights


def make(seed=0, **options):
    torch.manual_seed(seed)
    options = {"widths": [4, "M"], "hidden": [6], "num_classes": 3} | options
    return build_model("vgg", in_channels=1, image_size=4, **options)


def same(one, other):
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("form", ["safetensors", "state", "wrapped", "parallel"])
def test_weights_in_every_form(tmp_path, form):
    network, other = make(), make(1)
    state = network.state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        safetensors.torch.save_file(state, path)
    elif form == "parallel":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if form == "wrapped" else state, path)
    load_weights_file(str(path), other, key="training.init_from")
    assert same(network, other)


class Evil:
    def __reduce__(self):
        return (print, ("run!",))


def test_what_is_no_weights_is_refused_and_never_run(tmp_path, capsys):
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({0: torch.zeros(1)}, tmp_path / "numbered.pt")
    whole = (tmp_path / "list.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    for index, start in enumerate((b"\x00", b"}q\x00", b"(K", b"\xff\xfe")):
        (tmp_path / f"random{index}.pt").write_bytes(start * 20)
    torch.save(make(num_classes=4).state_dict(), tmp_path / "classes.pt")
    torch.save(make(hidden=[6, 6]).state_dict(), tmp_path / "deeper.pt")
    for name, message in {
        "evil.pt": "no safetensors file and no state dict",
        "junk.safetensors": "no safetensors file",
        "empty.pt": "no safetensors file and no state dict",
        "list.pt": "holds no state dict",
        "numbered.pt": "holds no state dict",
        "cut.pt": "no safetensors file and no state dict",
        **{f"random{index}.pt": "no safetensors file and no state dict" for index in range(4)},
        "classes.pt": r"head.weight is \(4, 6\), the model's \(3, 6\)",
        "deeper.pt": "0 missing, 2 unknown",
        "nothing.pt": "no such file",
    }.items():
        network = make()
        with pytest.raises(ConfigError, match=message):
            load_weights_file(str(tmp_path / name), network, key="checkpoint")
        assert same(network, make())
    assert "run!" not in capsys.readouterr().out


def test_weights_and_counts_come_back_as_written():
    network, other = make(), make(1)
    read_weights(dump_weights(network), other)
    assert same(network, other)
    images, labels = torch.rand(9, 1, 4, 4), torch.arange(9) % 3
    layers = unit_layers(network.eval(), images)
    counted = count_frequencies(network, layers, [(images, labels)], num_classes=3, thresholds=(0.0, 0.25))
    again = read_frequencies(dump_frequencies(counted))
    assert again.thresholds == counted.thresholds
    assert again.widths == counted.widths
    for name in ("counts_TCN", "class_sizes_C", "means_N"):
        assert torch.equal(getattr(again, name), getattr(counted, name))
    contributions = count_contributions(network, layers, [(images, labels)], num_classes=3)
    read = read_contributions(dump_contributions(contributions))
    assert read.widths == contributions.widths
    assert torch.equal(read.means_CN, contributions.means_CN)
