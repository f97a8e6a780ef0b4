"""What an examination of this machine finds. A Ray of its own is started by hand, not here."""

import pytest

from orchestrator.runs.examining import examine
from orchestrator.views import NOTED, RIGHT, WRONG


@pytest.fixture
def found(configured, monkeypatch):
    """The verdict and the text of each finding, where no Ray answers."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")

    def make(*overrides):
        return {finding.what: finding for finding in examine(configured(*overrides))}

    return make


def test_what_is_right_is_said_with_its_numbers(found, tmp_path):
    findings = found("data=digits")
    assert {findings[what].verdict for what in ("versions", "data", "storage", "W&B", "GPU")} <= {RIGHT, NOTED}
    assert "torch " in findings["versions"].text
    assert "10 classes, 1120 images to train, 280 for validation, 397 to test" in findings["data"].text
    assert findings["storage"].text.startswith(f"{tmp_path}/storage can be written to; it holds 0 sweeps")
    assert findings["W&B"].text == "not used (tracking=none)"
    assert findings["Ray"].verdict == WRONG
    assert "RAY_ADDRESS=" in findings["Ray"].text


def test_what_is_wrong_has_its_remedy(found, tmp_path):
    (tmp_path / "storage").write_text("a file")
    findings = found("data=cifar10", "data.root=/nowhere")
    assert findings["data"].verdict == WRONG
    assert "set MODA_DATA_DIR or data.root" in findings["data"].text
    assert findings["storage"].verdict == WRONG
    assert "cannot be written to" in findings["storage"].text
