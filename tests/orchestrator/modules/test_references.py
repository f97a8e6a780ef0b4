"""What names a module set."""

import pytest

from orchestrator.errors import ConfigError
from orchestrator.modules.references import Artifact, Folder, SweepPoint, parse_reference


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sweep:mine/best", SweepPoint("mine", "best")),
        ("sweep:mine/3/0.9/0.1", SweepPoint("mine", "3/0.9/0.1")),
        ("sweep:mine", SweepPoint("mine", "best")),
        ("mine", SweepPoint("mine", "best")),
        ("digits-1a2b3c4d", SweepPoint("digits-1a2b3c4d", "best")),
        ("./mine", Folder("./mine")),
        ("../mine", Folder("../mine")),
        (".", Folder(".")),
        ("sets/cat", Folder("sets/cat")),
        ("/data/sets/cat", Folder("/data/sets/cat")),
        ("~/cat", Folder("~/cat")),
        ("s3://bucket/moda/modules/cat", Folder("s3://bucket/moda/modules/cat")),
        ("file:///data/cat", Folder("file:///data/cat")),
        ("team/project/mine:best", Artifact("team/project/mine:best")),
        ("team/project/mine:pareto-3-0.9-0.1", Artifact("team/project/mine:pareto-3-0.9-0.1")),
        ("team/project/mine", Folder("team/project/mine")),
    ],
)
def test_a_reference_says_what_it_is_by_its_form(text, found):
    assert parse_reference(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "project/mine:best",
        "a/b/c/d:best",
        "team/project/mine:best:best",
        "team/project/mi ne:best",
        "sweep:",
        "mine:best",
        "sweep:/best",
        "sweep:mine/",
    ],
)
def test_what_is_none_of_the_forms_is_answered_with_them(text):
    with pytest.raises(ConfigError, match=r"(?s)does not name a module set.*sweep:mine/best.*team/project/mine:best"):
        parse_reference(text)
