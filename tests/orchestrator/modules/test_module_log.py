"""The log of module sets."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from moda_core.sets.manifest import SCHEMA_VERSION, WEIGHTS
from orchestrator.config.choice import Choice
from orchestrator.modules.module_log import is_recorded, last_events, published_row, removed_row
from orchestrator.storage.delta import DeltaStore

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def manifest(**more):
    whole = {
        "schema_version": SCHEMA_VERSION,
        "class_names": ["0", "1"],
        "preprocessing": {"shape": [1, 8, 8], "mean": [0.5], "std": [0.5]},
        "files": {WEIGHTS: {"bytes": 100, "sha256": "a" * 64}, "model_card.md": {"bytes": 20, "sha256": "b" * 64}},
        "about": {"full_parameters": 70},
        "parameters": 50,
        "cut_masked_difference": 0.0,
    }
    return json.dumps({**whole, **more}).encode()


def row(text, at=NOW):
    return published_row("s", "s-0000", Choice.contribution(0.1), "s-0000-level0.1", text, at)


def test_a_row_says_what_the_manifest_says():
    text = manifest()
    assert row(text) == {
        "sweep_id": "s",
        "trial_id": "s-0000",
        "rule": "contribution",
        "rule_parameters": '{"level": 0.1}',
        "tau": None,
        "threshold": None,
        "level": 0.1,
        "target": None,
        "magnitude_target": None,
        "score": None,
        "gate_share": None,
        "name": "s-0000-level0.1",
        "event": "published",
        "time": NOW,
        "manifest_sha256": hashlib.sha256(text).hexdigest(),
        "bytes": 120 + len(text),
        "parameters": 50,
        "full_parameters": 70,
    }


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (b"no JSON", set()),
        (manifest(schema_version=1), set()),
        (manifest(parameters=-1), {"bytes", "full_parameters"}),
        (manifest(parameters="many", about={}), {"bytes"}),
    ],
)
def test_what_a_manifest_does_not_say_is_null(tmp_path, text, known):
    store = DeltaStore(str(tmp_path))
    store.append("modules", [row(text)])
    (found,) = store.read("modules", "s").to_pylist()
    assert {name for name in ("bytes", "parameters", "full_parameters") if found[name] is not None} == known
    assert found["manifest_sha256"] == hashlib.sha256(text).hexdigest()


def test_the_last_word_counts(tmp_path):
    store, text = DeltaStore(str(tmp_path)), manifest()
    told = []
    for step, event in enumerate((row, removed_row, row)):
        last = last_events(store.read("modules")).get("s-0000-level0.1")
        at = NOW + timedelta(seconds=step)
        store.append("modules", [event(text if event is row else last, at)] * 2)
        told.append(is_recorded(store.read("modules"), "s-0000-level0.1", text))
    assert told == [True, False, True]
    assert not is_recorded(store.read("modules"), "s-0000-level0.1", manifest(parameters=1))
    assert not is_recorded(store.read("modules"), "another", text)
    assert [one["event"] for one in store.read("modules").sort_by("time").to_pylist()] == [
        "published",
        "removed",
        "published",
    ]
