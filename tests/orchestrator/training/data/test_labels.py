"""Labels and class names: what they stand for is never guessed, and a refusal is one short line."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config.data_section import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.labels import LONGEST_NAME, recorded_names
from orchestrator.training.data.loading import load_data
from tests.orchestrator.training.data.encoding import png

IMAGE = png(4, 4, 8, 0, [bytes(4)] * 4)
ROWS = 60
NAMES = ["cat", "dog", "eel"]
IDS = [row % 3 for row in range(ROWS)]


@pytest.fixture
def loaded(tmp_path):
    """The data of a table with these labels, in one file or in two of which one is for test."""

    def load(labels, test=None, *, names=None, test_names=None, **more):
        paths = {}
        for key, column, described in (("path", labels, names), ("test_path", test, test_names)):
            if column is not None:
                paths[key] = str(tmp_path / f"{key}.parquet")
                table = pa.table({"image": [IMAGE] * len(column), "label": column})
                if described is not None:
                    features = {"info": {"features": {"label": {"names": described, "_type": "ClassLabel"}}}}
                    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
                pq.write_table(table, paths[key])
        return load_data(DataConfig(name="table", channels=1, **paths, **more))

    return load


@pytest.fixture
def refusal(loaded):
    def refuse(*labels, **more):
        with pytest.raises(ConfigError) as caught:
            loaded(*labels, **more)
        message = str(caught.value)
        assert len(message) <= 500
        assert message.isprintable()
        return message

    return refuse


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([-1, 0, 1] * 20, "labels run from -1 to 1, 3 different ones"),
        (pa.array([0, 2**63 + 5] * 30, pa.uint64()), "numbers above 2^63 - 1"),
        ([0.0, 1.0] * 30, "is 'double'; whole numbers or names are needed, so cast it"),
        ([True, False] * 30, "is 'bool'; whole numbers or names are needed"),
        ([datetime.date(2024, 1, 1)] * 60, "whole numbers or names are needed"),
        ([[1], [2]] * 30, "whole numbers or names are needed"),
        ([None] * 60, "60 empty values"),
        ([0, 1, None] * 20, "20 empty values"),
        (["a", "b", None] * 20, "20 empty values"),
        (["cat"] * 60, "'cat' is the only class"),
        ([0] * 60, "'0' is the only class"),
        (["", "b"] * 30, "'' is not a class name"),
        (["a\0", "a"] * 30, "is not a class name"),
        (["x" * (LONGEST_NAME + 1), "b"] * 30, "is not a class name; use 1 to 256 characters"),
        (["caf\u00e9", "cafe\u0301"] * 30, r"'caf\xe9' and 'cafe\u0301' are the same name in two Unicode forms"),
        ([f"\n{row}" * 50 for row in range(60)], "cannot be held out: 60 images of 60 classes"),
        (list(range(10**6, 10**6 + 60)), "cannot be held out: 60 images of 60 classes"),
    ],
)
def test_labels_that_are_no_classes_are_refused(refusal, labels, message):
    assert message in refusal(labels)


@pytest.mark.parametrize(
    ("numbers", "names"),
    [
        ([1, 2, 3], ("1", "2", "3")),
        ([10, 9, 100], ("9", "10", "100")),
        ([0, 10**6, 2**62], ("0", "1000000", str(2**62))),
    ],
)
def test_any_numbers_are_names_in_their_order(loaded, numbers, names):
    data = loaded([numbers[label] for label in IDS], [numbers[label] for label in IDS[:30]])
    assert data.class_names == names
    assert data.test.labels.tolist() == [sorted(numbers).index(numbers[label]) for label in IDS[:30]]


def test_a_number_is_the_name_and_not_the_place_of_a_class(loaded, refusal):
    numbers = [label + 1 for label in IDS]
    data = loaded(numbers, numbers, classes=("3", "1"))
    assert data.class_names == ("3", "1")
    assert data.test.labels.tolist() == [{3: 0, 1: 1}[number] for number in numbers if number != 2]
    assert "data.classes names ['0'], which the data does not have; it has ['1', '2', '3']" in refusal(
        numbers, classes=("0", "1")
    )


def test_ids_far_apart_can_be_taken_by_name(loaded):
    data = loaded([0, 10**18, -1] * 20, classes=("1000000000000000000", "0"))
    assert data.class_names == ("1000000000000000000", "0")
    assert len(data.train) + len(data.validation) + len(data.test) == 40


@pytest.mark.parametrize(
    "names",
    [["a=b", "-1", "c/d"], ["two words", " ", "quo'te\""], ["\x1b[31m", "\n", "\t"], ["ä", "日本", "🐈" * 100]],
)
def test_any_text_names_a_class(loaded, names):
    data = loaded([names[label] for label in IDS])
    assert sorted(data.class_names) == sorted(names)
    wanted = tuple(names[:2])
    assert loaded([names[label] for label in IDS], classes=wanted).class_names == wanted


def test_control_characters_are_escaped_where_classes_are_listed(refusal):
    message = refusal(["\x1b[31mred", "\n"] * 30, classes=("red", "blue"))
    assert r"it has ['\n', '\x1b[31mred']" in message


def test_names_that_the_table_records_are_used(loaded):
    assert loaded(IDS, names=NAMES).class_names == tuple(NAMES)
    assert loaded(IDS, IDS, names=NAMES).class_names == tuple(NAMES)
    assert loaded(IDS, IDS, names=NAMES, test_names=NAMES).class_names == tuple(NAMES)
    assert loaded(IDS, names=NAMES, class_names=("x", "y", "z")).class_names == ("x", "y", "z")
    assert loaded(IDS, names=NAMES, classes=("eel", "cat")).class_names == ("eel", "cat")
    assert loaded(IDS, names=NAMES, classes=("2", "0")).class_names == ("eel", "cat")
    assert loaded([NAMES[label] for label in IDS], names=["x", "y", "z"]).class_names == tuple(NAMES)


def test_recorded_names_are_checked_against_the_labels(refusal):
    assert "labels run from 0 to 2; expected 0 to 1, as the table's metadata has 2 names" in refusal(
        IDS, names=NAMES[:2]
    )
    assert "labels run from -1 to 1" in refusal([-1, 0, 1] * 20, names=NAMES)
    assert "classes ['fox'] have no training samples" in refusal(IDS, names=[*NAMES, "fox"])
    message = refusal(IDS, IDS, names=NAMES, test_names=NAMES[::-1])
    assert "'path.parquet' and 'test_path.parquet' name their classes differently" in message


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"info": 3}',
        b'{"info": {"features": []}}',
        b'{"info": {"features": {"label": {"names": "abc"}}}}',
        b'{"info": {"features": {"label": {"names": [1, 2, 3]}}}}',
        b'{"info": {"features": {"label": {"names": ["a", "a", "b"]}}}}',
        b'{"info": {"features": {"label": {"names": ["a", "", "b"]}}}}',
        b'{"info": {"features": {"label": {"names": []}}}}',
        b'{"info": {"features": {"label": {"names": null}}}}',
        b"[" * 10**5,
    ],
)
def test_metadata_that_names_no_classes_is_not_used(metadata):
    schema = pa.schema([("label", pa.int64())], metadata={b"huggingface": metadata})
    assert recorded_names(schema, "label") is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "b"), "labels run from 0 to 2; expected 0 to 1, as data.class_names has 2 names"),
        (("a", "b", "c", "d"), "classes ['d'] have no training samples"),
        (("a", "b", "a"), "data.class_names names the class 'a' twice"),
        (("a", "", "b"), "'' is not a class name"),
        (("\u212b", "\u00c5", "b"), "are the same name in two Unicode forms"),
        (("x" * 10**6, "b", "c"), "is not a class name"),
        (tuple(f"{number}\n" * 40 for number in range(1000)), "have no training samples, 997 of 1000 classes"),
    ],
)
def test_class_names_are_checked(refusal, names, message):
    assert message in refusal(IDS, class_names=names)


def test_classes_that_are_not_there(refusal):
    assert "names ['x'], which the data does not have" in refusal(IDS, classes=("x", "1"))
    assert "names a class twice" in refusal(IDS, classes=("1", "1"))
    assert "names a class twice" in refusal(IDS, classes=("cat", "0"), names=NAMES)
    assert "which the data does not have" in refusal(IDS, classes=tuple("\n" * 99 + str(row) for row in range(500)))


def test_numbers_and_names_do_not_mix(refusal):
    assert "numbers in one of data.path and data.test_path" in refusal(IDS, [NAMES[label] for label in IDS])
