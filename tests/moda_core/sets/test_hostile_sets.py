"""Sets that somebody made to do harm: whatever they hold is refused when it is read, as a set's fault, on one line."""

import hashlib
import json
import math
import os

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moda_core import ModuleSetError, NetworkError, build_model, load_modules, open_modules, save_modules, unit_layers
from moda_core.errors import LONGEST_MESSAGE, listed, shortened
from moda_core.graph.cost import LIMITS, cost_of
from moda_core.graph.reading import channel_graph
from moda_core.sets.manifest import LARGEST_NODES, MANIFEST, WEIGHTS, graph_from_json, parse_manifest
from moda_core.sets.module_file import held_union, read_set
from tests.moda_core.conftest import random_masks

NAMES = ["ant", "bee", "cat"]
CONV = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1, "bias": False}
POINT = CONV | {"kernel_size": [1, 1]}
POOL = {"stride": [1, 1], "padding": [0, 0], "ceil_mode": False}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The manifest as JSON and the weights of a set that is right."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(36, 3)
    ).eval()
    images = torch.randn(4, 1, 8, 8)
    layers = unit_layers(network, images)
    folder = tmp_path_factory.mktemp("sets") / "set"
    recipe = {"shape": [1, 8, 8], "mean": [0.5], "std": [0.5]}
    masks = random_masks(layers.widths, 3, seed=0)
    save_modules(folder, network, layers, masks, images, class_names=NAMES, preprocessing=recipe)
    return json.loads((folder / MANIFEST).read_bytes()), (folder / WEIGHTS).read_bytes()


@pytest.fixture
def manifest(whole):
    return json.loads(json.dumps(whole[0]))


def refused(text, weights):
    """What reading says of a manifest's bytes; the line that people get."""
    with pytest.raises(ModuleSetError) as refusal:
        read_set(parse_manifest(text), weights)
    line = str(refusal.value)
    assert len(line) <= LONGEST_MESSAGE
    assert line.isprintable(), repr(line)
    return line


def node(manifest, op):
    return next(node for node in manifest["graph"]["nodes"] if node["op"] == op)


def test_the_set_itself_is_read(whole, manifest):
    module = read_set(parse_manifest(json.dumps(manifest).encode()), whole[1]).compose(["cat", "ant"])
    assert module(torch.zeros(2, 1, 8, 8)).shape == (2, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        ('{"schema_version": 2}'.encode("utf-16"), "is not JSON"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"about":' * 100_000, "nested deeper"),
        (b"[" * 200 + b"]" * 200, "nested deeper"),
        (b'{"about": ' + b'[{"a":' * 60 + b"1" + b"}]" * 60 + b"}", "nested deeper"),
        (b'{"schema_version": 2, "schema_version": 2}', "names a key twice"),
        (b'{"about": {"a": 1, "a": 2}}', "names a key twice"),
        (b'{"schema_version": NaN}', "not a finite number"),
        (b'{"schema_version": -Infinity}', "not a finite number"),
        (b'{"schema_version": 1e999}', "not a finite number"),
        (b'{"schema_version": ' + b"9" * 100_000 + b"}", "is not JSON"),
        (b'{"schema_version": ' + b"9" * 4000 + b"}", "schema_version 999"),
        (b'{"schema_version": 2.0}', "schema_version 2.0"),
        (b'{"schema_version": true}', "schema_version True"),
        (b"[]", "schema_version None"),
        (b" " * (8 * 2**20 + 1), "at most"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_no_manifest_is_refused(text, message):
    assert message in refused(text, b"")


def replace_names(manifest, names):
    manifest["class_names"] = names


CHANGES = {
    "a million class names": (lambda m: replace_names(m, [f"c{i}" for i in range(10**5)] * 1), "at most 65536"),
    "a class name of a megabyte": (lambda m: replace_names(m, ["a" * 2**20, "b", "c"]), "not text of at most"),
    "half a character": (lambda m: replace_names(m, ["a", "b", "\ud800"]), "not text of at most"),
    "class names that are numbers": (lambda m: replace_names(m, [1, 2, 3]), "not a list of names"),
    "class names that are one text": (lambda m: replace_names(m, "abc"), "not a list of names"),
    "class names of nothing": (lambda m: replace_names(m, []), "not a list of names"),
    "a size that is true": (lambda m: m["files"][WEIGHTS].update(bytes=True), "no size"),
    "a size that is text": (lambda m: m["files"][WEIGHTS].update(bytes="12"), "no size"),
    "a size below zero": (lambda m: m["files"][WEIGHTS].update(bytes=-1), "wrong size"),
    "a size of a terabyte": (lambda m: m["files"][WEIGHTS].update(bytes=2**40), "wrong size"),
    "a hash in capitals": (lambda m: m["files"][WEIGHTS].update(sha256="A" * 64), "no sha256"),
    "an interrupted write": (lambda m: m["files"].update({"card.part": m["files"][WEIGHTS]}), "is not a file name"),
    "an interrupted manifest": (
        lambda m: m["files"].update({"manifest.json.part": m["files"][WEIGHTS]}),
        "is not a file name",
    ),
    "a file name with a control character": (lambda m: m["files"].update({"a\x1b[31m": {}}), "is not a file name"),
    "a file name that looks like another": (
        lambda m: m["files"].update({"m\u0430nifest.md": {}}),
        "is not a file name",
    ),
    "a file name that is long": (lambda m: m["files"].update({"a" * 10**6: {}}), "is not a file name"),
    "a thousand files": (
        lambda m: m["files"].update({f"f{i}": m["files"][WEIGHTS] for i in range(1000)}),
        "at most 100",
    ),
    "an image that is true": (lambda m: m["preprocessing"].update(shape=[True, 8, 8]), "preprocessing="),
    "an image of no pixels": (lambda m: m["preprocessing"].update(shape=[1, 0, 8]), "preprocessing="),
    "an image that is large": (lambda m: m["preprocessing"].update(shape=[1, 60_000, 60_000]), "its graph takes"),
    "a mean that is text": (lambda m: m["preprocessing"].update(mean="5"), "preprocessing="),
    "a mean that is huge": (lambda m: m["preprocessing"].update(mean=[10**400]), "preprocessing="),
    "a mean that is huge in float32": (lambda m: m["preprocessing"].update(mean=[1e300]), "preprocessing="),
    "a deviation that float32 has not": (lambda m: m["preprocessing"].update(std=[1e-300]), "preprocessing="),
    "a deviation that is true": (lambda m: m["preprocessing"].update(std=[True]), "preprocessing="),
    "preprocessing that is a list": (lambda m: m.update(preprocessing=[1]), "preprocessing="),
    "widths that are fractions": (lambda m: m["graph"].update(widths=[4.0]), "whole numbers"),
    "widths that are true": (lambda m: m["graph"].update(widths=[True]), "whole numbers"),
    "a node that is text": (lambda m: m["graph"]["nodes"].append("relu"), "is not a node"),
    "a node of megabytes": (lambda m: m["graph"]["nodes"].append({"x": "y" * 10**6}), "is not a node"),
    "a node with another key": (lambda m: node(m, "relu").update(code="import os"), "is not a node"),
    "inputs that are text": (lambda m: node(m, "relu").update(inputs="abc"), "no lists of inputs"),
    "inputs that are numbers": (lambda m: node(m, "relu").update(inputs=[1]), "no lists of inputs"),
    "inputs that are lists": (lambda m: node(m, "relu").update(inputs=[[]]), "no lists of inputs"),
    "a size that is an object": (lambda m: node(m, "relu").update(size={}), "no lists of inputs"),
    "an operation that is a list": (lambda m: node(m, "relu").update(op=[]), "is not one of"),
    "a layer that is true": (lambda m: node(m, "relu").update(unit_layer=True), "is not a whole number"),
    "a layer that is a fraction": (lambda m: node(m, "relu").update(unit_layer=0.0), "is not a whole number"),
    "a layer that is text": (lambda m: node(m, "relu").update(unit_layer="0"), "is not a whole number"),
    "a layer below zero": (lambda m: node(m, "relu").update(unit_layer=-1), "is not a whole number"),
    "channels that are true": (lambda m: node(m, "relu").update(channels=True), "not a positive whole number"),
    "channels of a thousand digits": (
        lambda m: node(m, "relu").update(channels=10**4000),
        "not a positive whole number",
    ),
    "a name with a control character": (lambda m: node(m, "relu").update(name="a\x1b"), "not an ASCII identifier"),
    "a name that looks like another": (lambda m: node(m, "relu").update(name="relu\u0430"), "not an ASCII identifier"),
    "an eps below zero": (
        lambda m: node(m, "batch_norm")["attributes"].update(eps=-1.0),
        "must be a number of at least 0",
    ),
    "a norm of images of no pixels": (lambda m: node(m, "batch_norm")["attributes"].update(dimensions=1), "of sizes"),
    "a share above one": (lambda m: node(m, "dropout")["attributes"].update(p=2.0), "must be a number from 0 to 1"),
    "a stride below zero": (
        lambda m: node(m, "conv2d")["attributes"].update(stride=[-1, 1]),
        "must be two whole numbers of at least 1",
    ),
    "a kernel that is text": (
        lambda m: node(m, "conv2d")["attributes"].update(kernel_size="33"),
        "must be two whole numbers of at least 1",
    ),
    "a pool that is all padding": (lambda m: node(m, "max_pool2d")["attributes"].update(padding=[2, 2]), "of sizes"),
    "logits that are units": (
        lambda m: m["graph"]["nodes"].append(
            {**node(m, "relu"), "name": "last", "inputs": ["_6"], "channels": 3, "size": [], "unit_layer": 0}
        ),
        "has 3 channels, its layer 4 units",
    ),
    "a selection of nothing": (
        lambda m: m["graph"]["nodes"].append(
            {"name": "s", "op": "select", "inputs": ["_6"], "channels": 3, "size": [], "attributes": {"index": []}}
        ),
        "its inputs make 0",
    ),
    "a sum of thousands of unlike inputs": (
        lambda m: m["graph"]["nodes"].append(
            {"name": "s", "op": "concat", "inputs": ["_6"] * 5000, "channels": 3, "size": [], "attributes": {}}
        ),
        "its inputs make 15000",
    ),
    "thousands of nodes": (lambda m: m["graph"]["nodes"].extend([node(m, "relu")] * LARGEST_NODES), "are allowed"),
    "not a measured difference": (lambda m: m.update(cut_masked_difference=True), "not a measured difference"),
    "about that is a list": (lambda m: m.update(about=[]), "about is not an object"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_manifest_is_refused(whole, manifest, name):
    change, message = CHANGES[name]
    change(manifest)
    assert message in refused(json.dumps(manifest).encode(), whole[1])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**4000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=150)
@given(place=st.integers(0, 10**6), value=JSON)
def test_any_value_in_any_place_is_read_or_refused(whole, place, value):
    manifest = json.loads(json.dumps(whole[0]))
    places, containers = [], [manifest]
    for container in containers:
        keys = container.keys() if isinstance(container, dict) else range(len(container))
        for key in keys:
            places.append((container, key))
            if isinstance(container[key], dict | list):
                containers.append(container[key])
    container, key = places[place % len(places)]
    container[key] = value
    line = ""
    try:
        read_set(parse_manifest(json.dumps(manifest).encode()), whole[1]).compose(NAMES[:1])
    except ModuleSetError as error:
        line = str(error)
    assert len(line) <= LONGEST_MESSAGE
    assert line.isprintable()


def graph(*nodes, widths=(1,)):
    """A graph of an image of 1 x 1000 x 1000, a unit layer and some more nodes."""
    first = [
        {"name": "images", "op": "input", "inputs": [], "channels": 1, "size": [1000, 1000]},
        {"name": "units", "op": "relu", "inputs": ["images"], "channels": 1, "size": [1000, 1000], "unit_layer": 0},
    ]
    return {"nodes": [*first, *nodes], "widths": list(widths)}


def call(name, op, source, channels, size, **more):
    attributes = {key: value for key, value in more.items() if key != "shares"}
    found = {"name": name, "op": op, "inputs": [source], "channels": channels, "size": list(size)}
    return found | {"attributes": attributes} | ({"shares": more["shares"]} if "shares" in more else {})


LOGITS = [
    call("pool", "adaptive_avg_pool2d", "units", 1, (1, 1), output_size=[1, 1]),
    call("flat", "flatten", "pool", 1, ()),
    {"name": "last", "op": "relu", "inputs": ["flat"], "channels": 1, "size": [], "unit_layer": 1},
]
BOMBS = {
    "logits that are units": (LOGITS, "the logits are a unit layer"),
    "a huge pooling window": (
        [call("pool", "max_pool2d", "units", 1, (500, 500), **(POOL | {"kernel_size": [501, 501]}))],
        "windows",
    ),
    "a huge kernel": (
        [call("conv", "conv2d", "units", 9, (401, 401), **(CONV | {"kernel_size": [600, 600]}))],
        "windows",
    ),
    "a convolution to a million channels": (
        [call("conv", "conv2d", "units", 10**6, (1, 1), **(CONV | {"kernel_size": [1000, 1000]}))],
        "operations",
    ),
    "an adaptive pool to many pixels": (
        [call("pool", "adaptive_avg_pool2d", "units", 1, (4000, 4000), output_size=[1000, 1000])],
        "of sizes",
    ),
    "many adaptive pools": (
        [call(f"p{i}", "adaptive_avg_pool2d", "units", 1, (1000, 1000), output_size=[1000, 1000]) for i in range(600)],
        "costs",
    ),
    "a chain of expansions": (
        [
            call("small", "adaptive_avg_pool2d", "units", 1, (1, 1), output_size=[1, 1]),
            *({**call(f"e{i}", "add", "", 1, (1000, 1000)), "inputs": ["small", "units"]} for i in range(4900)),
        ],
        "numbers",
    ),
    "padding that blows sizes up": (
        [
            call(
                f"c{i}", "conv2d", "units", 1, (3048, 3048), **(CONV | {"padding": [1024, 1024], "kernel_size": [1, 1]})
            )
            for i in range(1000)
        ],
        "costs",
    ),
    "thousands of calls of one layer": (
        [
            call("c0", "conv2d", "units", 4, (1000, 1000), **POINT),
            call("c1", "conv2d", "c0", 4, (1000, 1000), **POINT),
            *(call(f"c{i}", "conv2d", f"c{i - 1}", 4, (1000, 1000), shares="c1", **POINT) for i in range(2, 4000)),
        ],
        "costs",
    ),
    "groups of one channel": (
        [
            call("pool", "adaptive_avg_pool2d", "units", 1, (1, 1), output_size=[1, 1]),
            call("c0", "conv2d", "pool", 500_000, (1, 1), **POINT),
            call("c1", "conv2d", "c0", 500_000, (1, 1), **(POINT | {"groups": 500_000})),
            call("c2", "conv2d", "c1", 500_000, (1, 1), **(POINT | {"groups": 500_000})),
        ],
        "groups",
    ),
    "huge selections, again and again": (
        [
            call("pool", "adaptive_avg_pool2d", "units", 1, (1, 1), output_size=[1, 1]),
            call("many", "select", "pool", 10**5, (1, 1), index=[0] * 10**5),
            {**call("more", "concat", "", 10**6, (1, 1)), "inputs": ["many"] * 10},
            *({**call(f"sum{i}", "add", "", 10**6, (1, 1)), "inputs": ["more", "more"]} for i in range(10)),
        ],
        "channels together",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_an_image_may_cost_is_limited(name):
    nodes, message = BOMBS[name]
    with pytest.raises(ModuleSetError, match=message) as refusal:
        graph_from_json(graph(*nodes, widths=(1, 1) if nodes is LOGITS else (1,)))
    assert len(str(refusal.value)) <= LONGEST_MESSAGE


def test_a_layer_that_is_called_again_and_again_ends_in_few_passes():
    channels = 400  # a shift by one channel before each call: every pass learns of a few more
    shift = [(channel + 1) % channels for channel in range(channels)]
    depthwise = POINT | {"groups": channels}
    nodes = [
        call("pool", "adaptive_avg_pool2d", "units", 1, (1, 1), output_size=[1, 1]),
        call("c", "conv2d", "pool", channels, (1, 1), **POINT),
        call("c0", "conv2d", "c", channels, (1, 1), **depthwise),
    ]
    for index in range(1, 3):
        nodes.append(call(f"s{index}", "select", f"c{index - 1}", channels, (1, 1), index=shift))
        nodes.append(call(f"c{index}", "conv2d", f"s{index}", channels, (1, 1), shares="c0", **depthwise))
    nodes.append(call("last", "select", "c2", 1, (1, 1), index=[0]))
    with pytest.raises(NetworkError, match="does not settle in 100 passes"):
        held_union(graph_from_json(graph(*nodes)), [torch.ones(1, 1, dtype=torch.bool)])


@pytest.mark.parametrize("name", ["resnet50", "vgg16"])
def test_usual_networks_at_224_pixels_cost_a_fraction_of_the_limits(name):
    network = build_model(name, in_channels=3, image_size=56, num_classes=1000, width=16).eval()
    images = torch.zeros(1, 3, 56, 56)
    found, _ = channel_graph(network, unit_layers(network, images), images)
    costs = [cost_of(node, [found.by_name[source] for source in node.inputs]) for node in found.nodes]
    for what, limit in LIMITS.items():
        sides, width = (1, 4) if what == "groups" else (4**2, 4**2 if what == "operations" else 4)  # of the whole one
        assert 3 * sides * width * sum(getattr(cost, what) for cost in costs) <= limit


def signed(manifest, weights):
    """The manifest with size and hash of these weights."""
    manifest["files"][WEIGHTS] = {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
    return manifest


def packed(header, numbers):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def parts(weights):
    end = 8 + int.from_bytes(weights[:8], "little")
    return json.loads(weights[8:end]), weights[end:]


def altered(weights, change):
    header, numbers = parts(weights)
    return packed(change(header) or header, numbers)


def with_value(weights, name, value):
    tensors = safetensors.torch.load(weights)
    tensors[name].view(-1)[0] = value
    return safetensors.torch.save(tensors)


FIRST, MASK = "state._0.weight", "mask.0"


def entry(header, **changes):
    header[FIRST].update(changes)


def moved(header, start):
    first, end = header[FIRST]["data_offsets"]
    entry(header, data_offsets=[start, start + end - first])


FORGED = {
    "nothing": (lambda w: b"", "does not fit"),
    "a pickle": (lambda w: b"\x80\x04\x95 a pickle it is", "does not fit"),
    "a header of exabytes": (lambda w: b"\xff" * 8 + w[8:], "does not fit"),
    "a header that is longer than the file": (lambda w: len(w).to_bytes(8, "little") + w[8:], "does not fit"),
    "a header that is not JSON": (lambda w: packed(b"\x00" * 20, b""), "not a safetensors"),
    "a header that is a list": (lambda w: packed([], b""), "is not an object"),
    "nested lists": (lambda w: packed(b"[" * 10_000, b""), "nested deeper"),
    "a tensor twice": (lambda w: packed(b'{"mask.0": 1, "mask.0": 2}', b""), "names a key twice"),
    "metadata": (lambda w: altered(w, lambda h: h.update(__metadata__={"format": "pt"})), "no use for: '__metadata__'"),
    "another tensor": (lambda w: altered(w, lambda h: h.update({"x\x1b": h[MASK]})), r"no use for: 'x\x1b'"),
    "a tensor missing": (lambda w: altered(w, lambda h: {k: v for k, v in h.items() if k != MASK}), "lacks 'mask.0'"),
    "an entry that is a number": (lambda w: altered(w, lambda h: h.update({FIRST: 3})), "not type, shape and offsets"),
    "an entry with more": (lambda w: altered(w, lambda h: entry(h, code="x")), "not type, shape and offsets"),
    "whole numbers": (lambda w: altered(w, lambda h: entry(h, dtype="I32")), "is of type 'I32'"),
    "a type that is a list": (lambda w: altered(w, lambda h: entry(h, dtype=[])), "is of type []"),
    "a shape below zero": (lambda w: altered(w, lambda h: entry(h, shape=[-1, -1])), "an invalid size"),
    "a shape that is true": (lambda w: altered(w, lambda h: entry(h, shape=[True])), "an invalid size"),
    "a huge shape": (lambda w: altered(w, lambda h: entry(h, shape=[2**62, 2**62])), "right after"),
    "offsets that overlap": (
        lambda w: altered(w, lambda h: moved(h, h["state._1.bias"]["data_offsets"][0])),
        "right after",
    ),
    "offsets with text": (lambda w: altered(w, lambda h: entry(h, data_offsets=["0", "9"])), "an invalid size"),
    "a gap": (
        lambda w: altered(w, lambda h: moved(h, h[FIRST]["data_offsets"][0] + 4)),
        "right after",
    ),
    "more at the end": (lambda w: w + b"more", "bytes of numbers"),
    "NaN": (lambda w: with_value(w, FIRST, math.nan), "NaN or infinity"),
    "infinity": (lambda w: with_value(w, "state._1.running_var", math.inf), "NaN or infinity"),
    "bytes that are neither true nor false": (
        lambda w: packed(parts(w)[0], parts(w)[1][:-1] + b"\x07"),
        "neither true nor false",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_weights_are_refused(whole, manifest, name):
    forge, message = FORGED[name]
    weights = forge(whole[1])
    assert message in refused(json.dumps(signed(manifest, weights)).encode(), weights)


def written(folder, manifest, weights):
    folder.mkdir()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / WEIGHTS).write_bytes(weights)
    return folder


@pytest.mark.parametrize("file", [MANIFEST, WEIGHTS])
def test_files_that_are_none_are_refused(whole, tmp_path, file):
    manifest, weights = whole
    place = written(tmp_path / "set", manifest, weights) / file
    kept = tmp_path / "kept"
    place.rename(kept)
    for make in (lambda: os.symlink(kept, place), place.mkdir, lambda: os.mkfifo(place)):
        make()
        with pytest.raises(ModuleSetError, match=r"no module set|lacks the file"):
            open_modules(tmp_path / "set")
        place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()
    kept.rename(place)
    assert load_modules(tmp_path / "set").class_names == NAMES


@pytest.mark.parametrize("name", ["card.part", "weights.safetensors.part", MANIFEST, WEIGHTS, "Card.md", "../x"])
def test_documents_with_other_names_are_refused(tmp_path, name):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).eval()
    images = torch.randn(2, 1, 4, 4)
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 2, seed=0)
    recipe = {"shape": [1, 4, 4], "mean": [0.5], "std": [0.5]}
    with pytest.raises(ValueError, match="not a name for a file"):
        save_modules(
            tmp_path / "set",
            network,
            layers,
            masks,
            images,
            class_names=["a", "b"],
            preprocessing=recipe,
            documents={name: b""},
        )
    assert not (tmp_path / "set").exists()


def test_class_names_are_shown_escaped_and_few(whole, manifest):
    replace_names(manifest, ["a\x1b[31m", "b\n", "c" * 900])
    found = read_set(parse_manifest(json.dumps(manifest).encode()), whole[1])
    with pytest.raises(ModuleSetError, match=r"it has 'a\\x1b\[31m', 'b\\n'") as refusal:
        found.compose(["d" * 900])
    assert len(str(refusal.value)) <= LONGEST_MESSAGE


@given(st.text(max_size=100) | st.text(max_size=3000) | st.text("a\n\x1b\u2028 ", min_size=100, max_size=3000))
def test_a_shortened_text_is_one_bounded_line(text):
    line = shortened(text)
    assert len(line) <= LONGEST_MESSAGE
    assert line.isprintable()
    assert line == text or len(text) > LONGEST_MESSAGE or not text.isprintable() or text != text.strip()


def test_few_of_many_names_are_listed():
    assert listed(["a", 1]) == "'a', 1"
    assert listed([str(number) for number in range(10**6)]).endswith("'7' ... (1000000 in all)")
