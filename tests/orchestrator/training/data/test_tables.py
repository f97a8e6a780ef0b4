"""Tables as people have them: every form of Parquet and Arrow is read alike, or refused in one line."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from orchestrator.config.data_section import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.decoding import Decoding
from orchestrator.training.data.loading import load_data
from orchestrator.training.data.table_files import find_table_files
from orchestrator.training.data.tables import read_table
from tests.orchestrator.training.data.encoding import png
from tests.orchestrator.training.data.refused import refusal_of

ROWS = 60
NAMES = ["cat", "dog", "eel"]
PIXELS = np.arange(ROWS, dtype=np.uint8)[:, None, None] + np.zeros((1, 4, 4), np.uint8)
IMAGES = [png(4, 4, 8, 0, [row.tobytes() for row in image]) for image in PIXELS]
IDS = [row % 3 for row in range(ROWS)]
TEXT = [NAMES[label] for label in IDS]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def config(path, **more):
    return DataConfig(name="table", path=str(path), channels=1, **more)


def table(images=IMAGES, labels=IDS, *, image="image", label="label"):
    return pa.table({image: images, label: labels})


def write(data, path, kind="parquet", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        pq.write_table(data, path, **options)
        return path
    writer = {"file": ipc.new_file, "stream": ipc.new_stream}[kind]
    with writer(str(path), data.schema, options=ipc.IpcWriteOptions(**options)) as open_writer:
        open_writer.write_table(data, max_chunksize=7)
    return path


def described(data, names, column="label"):
    """The table with what Hugging Face's datasets write into its metadata."""
    features = {"info": {"features": {column: {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}}}
    return data.replace_schema_metadata({"huggingface": json.dumps(features)})


def read(path, **more):
    """The grey images of a table, decoded, and its labels."""
    asked = config(path, **more)
    images, labels, _ = read_table(find_table_files(str(path), asked.root, "data.path"), asked, "data.path")
    return np.stack(list(Decoding(images, asked, None, np.arange(len(images)))))[:, 0], labels


def check_read(path, labels=IDS, **more):
    """The table at a path is read as it was written."""
    images, found = read(path, **more)
    assert np.array_equal(images, PIXELS[: len(labels)])
    assert found.tolist() == labels


def refusal(path, **more):
    return refusal_of(config(path, **more))


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("a.parquet", "parquet", {}),
        ("a.pq", "parquet", {"compression": "zstd", "row_group_size": 11}),
        ("A.PARQUET", "parquet", {"use_dictionary": True}),
        ("a.arrow", "file", {}),
        ("a.arrow", "stream", {}),
        ("a.feather", "file", {"compression": "lz4"}),
        ("a.ipc", "stream", {"compression": "zstd"}),
        ("a.parquet", "stream", {}),
        ("without a suffix", "parquet", {}),
    ],
)
def test_a_file_is_read_whatever_it_is_called(tmp_path, name, kind, options):
    check_read(write(table(), tmp_path / name, kind, **options))


@pytest.mark.parametrize(
    "images",
    [
        pa.array(IMAGES, pa.large_binary()),
        pa.array(IMAGES, pa.binary_view()),
        pa.array(IMAGES).dictionary_encode(),
        pa.array([{"bytes": image, "path": None} for image in IMAGES], STRUCT),
        pa.array([{"path": "x", "bytes": image} for image in IMAGES], pa.struct([*STRUCT][::-1])),
        pa.chunked_array([pa.array(IMAGES[:7]), pa.array(IMAGES[7:])]),
    ],
    ids=lambda images: str(images.type)[:20],
)
@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_image_columns_of_any_type(tmp_path, images, kind):
    check_read(write(table(images), tmp_path / "a", kind))


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (pa.array(IDS, pa.uint64()), IDS),
        (pa.array(IDS, pa.int8()), IDS),
        (pa.array(IDS, pa.int8()).dictionary_encode(), IDS),
        (pa.array(TEXT, pa.large_string()), TEXT),
        (pa.array(TEXT, pa.string_view()), TEXT),
        (pa.array(TEXT).dictionary_encode(), TEXT),
        (pa.DictionaryArray.from_arrays(pa.array(IDS), pa.array(NAMES, pa.string_view())), TEXT),
        (pa.DictionaryArray.from_arrays(pa.array(IDS), pa.array([*NAMES, None])), TEXT),
    ],
    ids=lambda labels: str(getattr(labels, "type", ""))[:40],
)
def test_label_columns_of_any_type(tmp_path, labels, wanted):
    check_read(write(table(labels=labels), tmp_path / "a", "file"), wanted)


def test_files_of_one_table_may_differ_in_form(tmp_path):
    structs = pa.array([{"bytes": image, "path": None} for image in IMAGES], STRUCT)
    write(table(IMAGES[:20], pa.array(IDS[:20], pa.int32())), tmp_path / "t" / "a.parquet")
    write(table(structs[20:40], pa.array(IDS[20:40], pa.uint8())), tmp_path / "t" / "b.arrow", "stream")
    write(table(pa.array(IMAGES[40:], pa.binary_view()), IDS[40:]), tmp_path / "t" / "sub" / "c.feather", "file")
    write(table([], []), tmp_path / "t" / "d.parquet")
    check_read(tmp_path / "t")


def test_a_data_set_that_was_saved_whole(tmp_path):
    folder = tmp_path / "saved"
    for number, part in enumerate((slice(0, 30), slice(30, 60))):
        data = described(table(IMAGES[part], IDS[part]), NAMES)
        write(data, folder / f"data-0000{number}-of-00002.arrow", "stream")
    write(table(), folder / "cache-0123456789abcdef.arrow", "stream")
    (folder / "state.json").write_text("{}")
    (folder / "dataset_info.json").write_text("{}")
    check_read(folder)
    assert load_data(config(folder)).class_names == tuple(NAMES)
    splits = tmp_path / "splits"
    write(table(), splits / "train" / "data-00000-of-00001.arrow", "stream")
    (splits / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert "holds a data set with several splits; give the folder of one" in refusal(splits)
    for number, name in enumerate(("validation", "test"), start=1):  # test images are taken before validation images
        write(table(IMAGES[: 3 * number], IDS[: 3 * number]), splits / name / "data-00000-of-00001.arrow", "stream")
        data = load_data(config(splits))
        assert (len(data.train) + len(data.validation), len(data.test)) == (ROWS, 3 * number)
    stated = load_data(config(splits / "train", test_path=str(splits / "test")))
    assert stated.contents == data.contents


@pytest.mark.parametrize("folder", ["data[1]", "[a-c]", "plain", "ümläut (2), x=1"])
def test_names_of_folders_are_names(tmp_path, folder):
    write(table(), tmp_path / folder / "a.parquet")
    write(table(), tmp_path / folder / ".hidden.parquet")
    write(table(), tmp_path / folder / "_temporary" / "b.parquet")
    check_read(tmp_path / folder)
    check_read(tmp_path / folder / "a.parquet")
    check_read(tmp_path / folder / "a*.parquet")
    check_read(f"{folder}/a*", root=str(tmp_path))
    check_read(folder, root=str(tmp_path))


def test_files_that_are_called_so_are_the_test_images(tmp_path):
    folder = tmp_path / "data"
    for name, part in (("train-00000-of-00002", slice(0, 24)), ("train-00001-of-00002", slice(24, 48))):
        write(described(table(IMAGES[part], IDS[part]), NAMES), folder / f"{name}.parquet")
    write(described(table(IMAGES[48:], IDS[48:]), NAMES), folder / "test-00000-of-00001.parquet")
    for path in (folder, f"{folder}/*.parquet"):
        data = load_data(config(path, test_files="test-*"))
        assert (len(data.train), len(data.validation), len(data.test)) == (38, 10, 12)
        assert np.array_equal(data.test.images[:, 0].numpy(), PIXELS[48:])
        assert data.test.labels.tolist() == IDS[48:]
        assert data.class_names == tuple(NAMES)
    stated = config(f"{folder}/train-*", test_path=f"{folder}/test-*")
    assert data.contents == load_data(stated).contents  # it is the same data
    whole = load_data(config(folder))  # as before there was such a key
    assert len(whole.test) == 12
    assert set(whole.contents) == {"content"}
    alone = load_data(config(f"{folder}/test-*", test_files="test-*", validation_fraction=0.34))
    assert (len(alone.train) + len(alone.validation), len(alone.test)) == (9, 3)
    write(described(table(IMAGES[48:], [-1] * 12), NAMES), folder / "test-00000-of-00001.parquet")
    message = refusal(folder, test_files="test-*")
    assert message.startswith(
        "data.test_files='test-*': these files have labels below 0, so their classes are not known"
    )
    write(table([b"junk"] * 3, [0, 1, 2]), folder / "test-00000-of-00001.parquet")
    message = refusal(folder, test_files="test-*")
    assert message.startswith("data.image_column='image' of data.path: row 0 is not a readable image")


def test_what_is_no_table_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "a.png").write_bytes(IMAGES[0])
    (tmp_path / "a.csv").write_text("image,label\nx.png,1\n")
    (tmp_path / "short").write_bytes(b"x")
    (tmp_path / "none.parquet").write_bytes(b"")
    for name in ("empty", "photos"):
        assert "is a folder without tables" in refusal(tmp_path / name)
    for name in ("photos/cat/a.png", "photos/*/*.png", "short", "none.parquet"):
        message = refusal(tmp_path / name)
        assert "is not a Parquet or Arrow table" in message
        assert "docs/data.md" in message
    assert "matches no file" in refusal(tmp_path / "nowhere")
    for uri in ("s3://bucket/train.parquet", "hf://datasets/cifar100", "https://example.org/x.parquet"):
        assert "copy it here" in refusal(uri, root=str(tmp_path))
    assert "is not a Parquet or Arrow table" in refusal("/dev/zero")


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_broken_tables_are_refused(tmp_path, kind):
    path = write(table(), tmp_path / "a", kind)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    draw = np.random.default_rng(0)
    broken = [whole[: len(whole) // 2].tobytes(), whole[:8].tobytes()]
    for _ in range(40):
        changed = whole.copy()
        changed[draw.integers(4, len(whole), 30)] ^= 0xFF
        broken.append(changed.tobytes())
    messages = []
    for data in broken:
        path.write_bytes(data)
        try:
            images, _, _ = read_table([path], config(path), "data.path")
            for _ in images.chunks():
                pass
        except ConfigError as error:
            messages.append(str(error))
    assert len(messages) > 2
    assert all(len(message) <= 500 and message.isprintable() for message in messages)


def test_columns_that_are_called_as_usual_are_found(tmp_path):
    for label in ("label", "labels", "fine_label", "coarse_label", "target", "Label", "y"):
        path = write(described(table(label=label, image="img"), NAMES, label), tmp_path / "a.parquet")
        data = load_data(config(path))
        assert data.class_names == tuple(NAMES)
        assert data.summary[2] == f"columns    'img' and {label!r}"
        stated = load_data(config(path, image_column="img", label_column=label))
        assert (stated.contents, stated.summary) == (data.contents, data.summary)
    renamed = write(described(table(), NAMES), tmp_path / "b.parquet")
    assert load_data(config(renamed)).contents == data.contents
    data = load_data(config(path, test_path=str(path)))
    assert np.array_equal(data.test.images[:, 0].numpy(), PIXELS)


def test_columns_that_are_not_there_are_guessed(tmp_path):
    path = write(table(label="fine_label", image="img"), tmp_path / "a.parquet")
    message = refusal(path, image_column="picture")
    assert "data.image_column='picture' is not a column of" in message
    assert message.endswith("it has ['img', 'fine_label']; did you mean data.image_column=img?")
    assert refusal(path, label_column="kind").endswith("did you mean data.label_column=fine_label?")
    several = pa.table({"img": IMAGES, "photo": IMAGES, "label": IDS})
    assert refusal(write(several, tmp_path / "g.parquet")).endswith("did you mean data.image_column=img?")
    several = pa.table({"img": IMAGES, "labels": IDS, "target": IDS})
    assert refusal(write(several, tmp_path / "h.parquet")).endswith("did you mean data.label_column=labels?")
    odd = write(table(label="my label"), tmp_path / "c.parquet")
    assert refusal(odd, label_column="mylabel").endswith("did you mean data.label_column='my label'?")
    far = write(table(label="x"), tmp_path / "d.parquet")
    assert "did you mean" not in refusal(far)
    wide = pa.table({"\n" * 300 + str(number): [1] for number in range(1000)})
    assert "is not a column" in refusal(write(wide, tmp_path / "e.parquet"))
    long = write(table(image="x" * 10**5, label="y" * 300), tmp_path / "f.parquet")
    assert "did you mean data.image_column='xxx" in refusal(long, image_column="x")
    for kind in ("parquet", "file"):
        twice = write(pa.Table.from_arrays([pa.array(IMAGES)] * 2, ["image", "image"]), tmp_path / kind, kind)
        assert "has 2 columns of that name" in refusal(twice)
    assert "data.label_column" in refusal(path, image_column="img", label_column="img")


def test_columns_of_other_types_are_refused(tmp_path):
    wrong = [
        (pa.array(["x.png"] * ROWS), "string"),
        (pa.array([[1, 2]] * ROWS), "list"),
        (pa.array([{"path": "x.png"}] * ROWS), "a field 'bytes' is needed"),
        (pa.array([{"bytes": "x", "path": "x.png"}] * ROWS), "encoded image bytes are needed"),
        (pa.StructArray.from_arrays([pa.array(IMAGES)] * 2, ["bytes", "bytes"]), "a field 'bytes' is needed"),
        (pa.array([{"bytes": {f"{number}" * 50: 1 for number in range(200)}}] * ROWS), "encoded image bytes"),
    ]
    for images, message in wrong:
        assert message in refusal(write(table(images), tmp_path / "a", "file"))


def test_images_that_are_paths_or_missing_are_refused_by_row(tmp_path):
    structs = [{"bytes": image, "path": "x.png"} for image in IMAGES]
    structs[5] = {"bytes": None, "path": "/my/\x1b[31m5.png"}
    message = refusal(write(table(pa.array(structs, STRUCT)), tmp_path / "a.parquet"))
    assert "row 5 has no bytes, only the path '/my/\\x1b[31m5.png'" in message
    structs[5] = None
    message = refusal(write(table(pa.array(structs, STRUCT)), tmp_path / "b.parquet"))
    assert "of data.path: row 5 is not a readable image: there are no bytes" in message
    good = write(table(), tmp_path / "c.parquet")
    message = refusal(good, test_path=str(tmp_path / "b.parquet"))
    assert "of data.test_path: row 5 is not a readable image" in message


def test_a_folder_of_images_becomes_a_table_as_the_page_says(tmp_path, monkeypatch):
    for row, image in enumerate(IMAGES):
        path = tmp_path / "photos" / TEXT[row] / f"{row:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[4] / "docs" / "data.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(code, {})  # noqa: S102
    images, labels = read("photos.parquet")
    order = sorted(range(ROWS), key=lambda row: TEXT[row])
    assert labels.tolist() == [TEXT[row] for row in order]
    assert np.array_equal(images, PIXELS[order])


def test_cifar_100_as_hugging_face_has_it(data_dir):
    if not (data_dir / "cifar100").is_dir():
        pytest.skip("no CIFAR-100 in MODA_DATA_DIR")
    paths = {"path": "cifar100/train-00000*", "test_path": "cifar100/test-*", "root": str(data_dir)}
    columns = {"image_column": "img", "label_column": "fine_label", "classes": ("apple", "crab", "worm")}
    data = load_data(DataConfig(name="table", **paths, **columns))
    assert data.class_names == ("apple", "crab", "worm")
    assert len(data.test) == 300
    assert data.train.images.shape[1:] == (3, 32, 32)
