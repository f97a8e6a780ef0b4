"""The notebook of the documentation runs from top to bottom, and is committed without outputs."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.integration.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "examples" / "first_sweep.ipynb"


def texts_of(cell):
    """What a cell shows as text and as HTML."""
    shown = [{"text": output.get("text", ""), **output.get("data", {})} for output in cell.outputs]
    return "".join(output.get(kind, "") for output in shown for kind in ("text", "text/plain", "text/html"))


@pytest.mark.slow
def test_the_notebook_runs(shared_ray, tmp_path, monkeypatch):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    for name, value in {**shared_ray, "PYTHONPATH": path}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": tmp_path}}
    client = NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3", resources=where)
    client.execute()  # raises what a cell raises
    shown = {cell.source.partition("\n")[0]: texts_of(cell) for cell in notebook.cells if cell.cell_type == "code"}
    assert "2 of 2 trials finished" in shown["sweep"]
    assert "<th>alpha</th>" in shown["sweep"]
    assert "best" in shown["front = sweep.front().to_pandas()"]
    assert re.search(r"[01]/[\d./]+ of &#x27;first&#x27;, best", shown["sweep.best"])
    assert "classes ['3', '8']" in shown['pulled = sweep.best.pull(tempfile.mkdtemp(), classes=["3", "8"])']
    right, count = map(int, re.search(r"(\d+) of (\d+) images", shown["import numpy as np"]).groups())
    assert count == 357
    assert right > count / 2
    assert (tmp_path / "first-sweep" / "tables").is_dir()


def test_the_notebook_is_committed_without_outputs():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
