"""Files of classes become the classes of the configuration."""

import pytest

from orchestrator.config.composing import load_config
from orchestrator.config.config import to_plain
from orchestrator.config.identities import identity
from orchestrator.errors import ConfigError

DATA = ("data=folder", "data.path=photos")


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding=encoding)
    return f"data.class_list={path}"


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("cat\ndog\n", ("cat", "dog")),
        ("\n  garbage truck \n# comment\n\ncassette player", ("garbage truck", "cassette player")),
        ("n02086240 shih-tzu\r\nn01773549 barn spider, Araneus\r\n", ("n02086240", "n01773549")),
        ("n02086240\tshih-tzu\nn017735490 no id\n", ("n02086240", "n017735490 no id")),
    ],
)
def test_a_line_is_a_class(tmp_path, text, classes):
    config = load_config([*DATA, written(tmp_path, text)])
    assert config.data.classes == classes
    assert config.data.class_list is None
    assert identity(config) == identity(load_config([*DATA, f"data.classes=[{','.join(map(repr, classes))}]"]))
    assert to_plain(config)["data"]["classes"] == list(classes)


def test_what_windows_writes_and_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "cat\ndog\n", "utf-8-sig")
    assert load_config([*DATA, "data.class_list=classes.txt"]).data.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        (
            None,
            (),
            "data.class_list='[^']*nowhere.txt' cannot be read: .*No such file.*; name a text file in UTF-8 with",
        ),
        (b"\xff\xfe", (), "cannot be read: .*; name a text file in UTF-8 with a class on each line"),
        (b"# none\n", (), "names no class; write one on each line"),
        (b"cat\n", (), r"data\.classes=\['cat'\]: must be two classes or more"),
        (b"cat\ndog\n", ("data.classes=[cat,dog]",), r"and data\.classes=\['cat', 'dog'\]: give the one or the other"),
    ],
)
def test_lists_that_name_no_classes_are_refused(tmp_path, text, more, message):
    path = tmp_path / "nowhere.txt"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(ConfigError, match=message):
        load_config([*DATA, f"data.class_list={path}", *more])


@pytest.mark.parametrize("name", ["imagenet100r", "imagenet100d"])
def test_the_classes_of_the_paper(name):
    data = load_config([f"data={name}"]).data
    assert len(set(data.classes)) == 100
    assert data.classes == tuple(sorted(data.classes))  # as torchvision numbers folders
    assert (data.resize, data.image_size, data.fit, data.flip) == (256, 224, "random_resized", True)
    assert data.normalisation == "imagenet"
