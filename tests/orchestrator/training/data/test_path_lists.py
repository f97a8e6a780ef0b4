"""CSV files with the paths and labels of images: read as a table of the same images, never out of their folder."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config.data_section import DataConfig
from orchestrator.training.data.loading import load_data
from tests.orchestrator.training.data.encoding import png
from tests.orchestrator.training.data.refused import refusal_of

ROWS = 30
NAMES = ["cat", "dog", "eel"]
IMAGES = [png(4, 4, 8, 0, [bytes([row] * 4)] * 4) for row in range(ROWS)]
TEXT = [NAMES[row % 3] for row in range(ROWS)]
NUMBERS = [row % 3 + 1 for row in range(ROWS)]


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos" / "sub, folder").mkdir(parents=True)
    for row, image in enumerate(IMAGES):
        (tmp_path / "photos" / "sub, folder" / f"{row}.png").write_bytes(image)
    return tmp_path / "photos"


def paths():
    return [f"sub, folder/{row}.png" for row in range(ROWS)]


def write(file, lines, *, separator=",", encoding="utf-8"):
    file.write_text("\n".join(separator.join(f'"{value}"' for value in line) for line in lines), encoding=encoding)
    return file


def config(path, **more):
    return DataConfig(name="table", path=str(path), channels=1, **more)


def refusal(path, **more):
    return refusal_of(config(path, **more))


@pytest.mark.parametrize("labels", [TEXT, NUMBERS], ids=["names", "numbers"])
@pytest.mark.parametrize("kept_in", ["memory", "file"])
def test_a_list_gives_what_a_table_of_its_images_gives(tmp_path, monkeypatch, photos, labels, kept_in):
    monkeypatch.setenv("MODA_CACHE_DIR", str(tmp_path / "cache"))
    file = write(photos / "list.csv", [("image", "label"), *zip(paths(), labels, strict=True)])
    pq.write_table(pa.table({"image": IMAGES, "label": labels}), tmp_path / "table.parquet")
    data = load_data(config(file, kept_in=kept_in))
    table = load_data(config(tmp_path / "table.parquet"))
    assert (data.contents, data.class_names) == (table.contents, table.class_names)
    assert data.class_names == tuple(map(str, sorted(set(labels))))
    for part, wanted in ((data.train, table.train), (data.validation, table.validation), (data.test, table.test)):
        assert np.array_equal(part.images[:].numpy(), wanted.images[:].numpy())
        assert part.labels.tolist() == wanted.labels.tolist()


@pytest.mark.parametrize(
    ("name", "separator", "encoding", "header"),
    [
        ("list.csv", ",", "utf-8-sig", ("label", "file_name")),
        ("list.csv", ";", "utf-8", ("target", "Path")),
        ("LIST.TSV", "\t", "utf-8", ("class", "filename")),
    ],
)
def test_lists_as_programs_write_them(photos, name, separator, encoding, header):
    rows = zip(TEXT, paths(), strict=True)
    file = write(photos / name, [header, *rows], separator=separator, encoding=encoding)
    data = load_data(config(file, test_path=str(file)))
    assert data.test.images[:, 0, 0, 0].tolist() == list(range(ROWS))
    assert [data.class_names[label] for label in data.test.labels] == TEXT
    assert data.summary[2] == f"columns    {header[1]!r} and {header[0]!r}"


def test_what_is_wrong_is_named_by_row(photos):
    good = list(zip(paths(), TEXT, strict=True))
    wrong = {
        "row 2 of 'list.csv' has no label in 'label'": [good[0], (good[1][0], "")],
        "row 1 of 'list.csv' has 3 values, and the first line 2": [(*good[0], "x")],
        "'gone.png' cannot be read: [Errno 2]": [*good, ("gone.png", "cat")],
        "data.path=": [],
    }
    for message, rows in wrong.items():
        assert message in refusal(write(photos / "list.csv", [("image", "label"), *rows]))
    odd = write(photos / "odd.csv", [("picture", "label"), *good])
    assert "data.image_column='image' is not a column of" not in refusal(odd, label_column="kind")
    assert "data.image_column='image' is not a column of" in refusal(write(photos / "no.csv", [("a", "b"), *good]))
    (photos / "latin.csv").write_bytes("image,label\nä.png,1\n".encode("latin-1"))
    assert "save it as CSV in UTF-8" in refusal(photos / "latin.csv")
    (photos / "quote.csv").write_text('image,label\n"a.png,1\n')
    assert "is not a list of images" in refusal(photos / "quote.csv")
    pq.write_table(pa.table({"image": IMAGES, "label": TEXT}), photos / "zis.parquet")
    write(photos / "list.csv", [("image", "label"), *good])
    assert "'list.csv' is a list of paths, and other files are tables" in refusal(f"{photos}/[lz]is*")


def test_a_hostile_list_reaches_nothing_outside_its_folder(tmp_path, photos):
    secret = tmp_path / "secret.png"
    secret.write_bytes(IMAGES[0])
    (photos / "link.png").symlink_to(secret)
    (photos / "out").symlink_to(tmp_path)
    os.mkfifo(photos / "pipe")
    hostile = [
        str(secret),
        "../secret.png",
        "sub, folder/../../secret.png",
        "out/secret.png",
        "link.png",
        "",
        ".",
        "/dev/zero",
        "a\0b",
        "https://example.org/x.png",
        "pipe",
        "sub, folder",
    ]
    for path in hostile:
        for unreadable in ("refuse", "skip"):
            file = write(photos / "list.csv", [("image", "label"), *zip(paths(), TEXT, strict=True), (path, "cat")])
            if path.startswith("https"):
                if unreadable == "refuse":
                    assert "cannot be read" in refusal(file, unreadable=unreadable)
            else:
                message = refusal(file, unreadable=unreadable)
                assert "row 31 of 'list.csv'" in message or "is not a list of images" in message
                assert "begins with" not in message
    (photos / "inside.png").symlink_to(photos / "sub, folder" / "0.png")
    rows = [*zip(paths(), TEXT, strict=True), ("inside.png", "cat"), (str(photos / "sub, folder" / "1.png"), "dog")]
    data = load_data(config(write(photos / "list.csv", [("image", "label"), *rows])))
    assert len(data.train) + len(data.validation) + len(data.test) == ROWS + 2
