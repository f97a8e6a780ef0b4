"""What a module set is called in W&B, what is said of it there, and when W&B is online."""

import json

import pytest

from moda_core.sets.manifest import SCHEMA_VERSION, WEIGHTS
from orchestrator.errors import ConfigError
from orchestrator.modules.stale_artifacts import is_ours
from orchestrator.tracking.artifacts import LARGEST_METADATA, ArtifactSource, metadata
from orchestrator.tracking.wandb_tracker import has_key


def manifest(**about):
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "class_names": ["a", "b"],
            "preprocessing": {"shape": [1, 8, 8], "mean": [0.5], "std": [0.5]},
            "files": {WEIGHTS: {"bytes": 1, "sha256": "0" * 64}},
            "cut_masked_difference": 0.0,
            "about": about,
        }
    ).encode()


def test_metadata_is_flat_and_small():
    found = metadata(
        manifest(
            trial="t-0001",
            level=None,
            config={"model": {}},
            coefficients={"alpha": 0.5, "optimizer": "sgd"},
            test=None,
            validation={"accuracy": 0.9, **{f"m{index}": index for index in range(200)}},
        ),
        "ab",
    )
    assert list(found)[:5] == ["manifest_sha256", "classes", "trial", "coefficients.alpha", "coefficients.optimizer"]
    assert found["validation.accuracy"] == 0.9
    assert len(found) == LARGEST_METADATA


def test_metadata_name_the_storage_whatever_a_manifest_says():
    """Also where the manifest has more keys than W&B takes."""
    text = manifest(storage="elsewhere", classes=7, manifest_sha256="x", **{f"m{index}": index for index in range(200)})
    assert metadata(text, "ab", "mine").items() >= {"manifest_sha256": "ab", "classes": 2, "storage": "mine"}.items()
    assert len(metadata(text, "ab", "mine")) == LARGEST_METADATA
    assert "storage" not in metadata(manifest(), "ab")


@pytest.mark.parametrize(
    ("about", "ours"),
    [
        ({"storage": "mine", "manifest_sha256": "published"}, True),
        ({"storage": "mine", "manifest_sha256": "other"}, False),  # of a copy of this storage
        ({"storage": "other", "manifest_sha256": "published"}, False),  # the same training somewhere else
        ({"manifest_sha256": "published"}, True),
        ({"manifest_sha256": "other"}, False),
        ({}, False),
    ],
)
def test_a_version_is_ours_where_it_and_the_log_say_so(about, ours):
    assert is_ours(about, "mine", {"published"}) == ours
    assert is_ours(about, None, {"published"}) == (ours and "storage" not in about)


@pytest.mark.parametrize(
    ("machine", "base", "found"),
    [
        ("api.wandb.ai", None, True),
        ("api.forge.coreweave.com", None, True),
        ("elsewhere.org", None, False),
        ("wandb.my.org:8080", "http://wandb.my.org:8080", True),
        ("api.wandb.ai", "http://wandb.my.org:8080", False),
    ],
)
def test_a_key_is_looked_for_where_the_client_looks(tmp_path, monkeypatch, machine, base, found):
    (tmp_path / "netrc").write_text(f"machine {machine}\n  login user\n  password {'a' * 40}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    if base:
        monkeypatch.setenv("WANDB_BASE_URL", base)
    assert has_key() == found


def test_without_a_key_nothing_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="wandb login"):
        ArtifactSource("team/project/mine:best")
