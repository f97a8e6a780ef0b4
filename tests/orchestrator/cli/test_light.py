"""What a command, or a trial's worker, does not import. Each is asked in a process of its own."""

import json
import subprocess
import sys

import pytest

from tests.older_storage import unpack_older_storage

HEAVY = {"hydra", "pandas", "torch", "torchvision", "ray", "wandb", "sklearn", "scipy", "plotly", "botorch", "optuna"}
LOADED = "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
COMMAND = f"""
import json, sys
from orchestrator.cli import main
try:
    code = main()
except SystemExit as ending:
    code = ending.code
{LOADED}
sys.exit(code)
"""
PROGRAM = f"""
import json, sys
from orchestrator.cli import main
assert main(["front", "first"]) == 0
import pandas, pyarrow
assert pyarrow.table(pandas.DataFrame({{"a": [1]}})).num_rows == 1
{LOADED}
"""
TO_PANDAS = f"""
import json, sys
import pyarrow
from orchestrator.cli.without_pandas import keep_pandas_out
keep_pandas_out()
assert pyarrow.array([1, 2]).to_pylist() == [1, 2] and "pandas" not in sys.modules
assert pyarrow.table({{"a": [1, 2]}}).to_pandas()["a"].tolist() == [1, 2]
{LOADED}
"""
WORKER = f"""
import json, sys
from orchestrator.runs.tracked import run_tracked
from orchestrator.training import Trial, measure_on_test
from orchestrator.training.data import Data
{LOADED}
"""


def run(code, *arguments):
    """What a process printed, and the top-level packages that it had loaded at its end."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["--help"], "moda sweep experiment=digits"),
        (["front", "first"], "best 1/0.9/0.1"),
        (["front", "own"], "the front of own"),
        (["query", "first", "select count(*) as rows_there from points"], "37"),
    ],
    ids=["help", "front", "front of an own network", "query"],
)
def test_a_command_that_looks_loads_nothing_that_computes(tmp_path, monkeypatch, arguments, printed):
    unpack_older_storage(tmp_path, monkeypatch)
    output, loaded = run(COMMAND, *arguments)
    assert printed in output
    assert "orchestrator" in loaded
    assert loaded & {*HEAVY, "asset_net"} == set()  # the network of the sweep `own` is in a file of that name


def test_a_named_storage_needs_no_hydra(tmp_path, monkeypatch):
    unpack_older_storage(tmp_path, monkeypatch)
    monkeypatch.delenv("MODA_STORAGE")
    output, loaded = run(COMMAND, "front", "first", f"storage={tmp_path}/storage")
    assert "best 1/0.9/0.1" in output
    assert loaded & HEAVY == set()


def test_a_program_that_runs_a_command_can_still_give_arrow_its_data_frames(tmp_path, monkeypatch):
    unpack_older_storage(tmp_path, monkeypatch)
    _, loaded = run(PROGRAM)
    assert "pandas" in loaded


def test_without_pandas_a_table_still_becomes_a_data_frame():
    _, loaded = run(TO_PANDAS)
    assert "pandas" in loaded


def test_a_report_loads_what_draws_and_expects_and_nothing_that_runs_trials(tmp_path, monkeypatch):
    unpack_older_storage(tmp_path, monkeypatch)
    output, loaded = run(COMMAND, "report", "first", "--to", "page.html")
    assert "page.html" in output
    # The figure and the rank correlation of its confirmation, the command that trains it again, the search's model.
    assert loaded & HEAVY == {"plotly", "scipy", "hydra", "torch"}


def test_a_worker_loads_what_a_training_needs():
    _, loaded = run(WORKER)
    assert "torch" in loaded
    assert loaded & (HEAVY | {"duckdb"}) == {"torch"}
