"""Questions in SQL to the tables of a sweep, answered by DuckDB in memory.

The connection is made for one question and holds the sweep's rows as views. It can reach no file, network, extension or
Python variable, and these settings are locked before the question is looked at: what somebody asks can only be wrong.
"""

import re
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import duckdb
import pyarrow as pa

from orchestrator.config import COLUMNS
from orchestrator.declarations import METRICS
from orchestrator.errors import ConfigError
from orchestrator.results.points import Point
from orchestrator.results.records import canonical, read_sweep, recorded_config
from orchestrator.results.sweep import Sweep
from orchestrator.storage import TABLES, DeltaStore, Files

CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",  # a question that needs more than the memory fails, and fills no disk
}
ASKING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI)  # the last: PIVOT
VIEWS = (*TABLES, "front")
FRONT = pa.schema(
    [
        ("point", pa.string()),
        ("trial_id", pa.string()),
        ("number", pa.int64()),
        ("coefficients", pa.string()),
        ("rule", pa.string()),
        ("rule_parameters", pa.string()),
        *((name, pa.float64()) for name in COLUMNS),
        *((name, pa.float64()) for name in METRICS),
        *((f"test_{name}", pa.float64()) for name in METRICS),
    ]
)


def query(root: str, sweep_id: str, sql: str) -> pa.Table:
    """Run a SELECT on the tables of a sweep.

    Args:
        root: the storage.
        sweep_id: of the sweep.
        sql: one SELECT (or EXPLAIN) in DuckDB's SQL over the views ``sweeps``, ``trials``, ``epochs``, ``points``,
            ``reference_points``, ``rungs``, ``modules``, ``drivers`` and ``classes``, which hold this sweep's rows, and
            ``front``: a row for each point of the front with its name, its trial's coefficients as JSON, its validation
            metrics, and its test metrics as ``test_<metric>``.

    Times are UTC, whatever the time zone of this machine is.

    Raises:
        ConfigError: no such sweep or view, or SQL that is wrong or wants more than to look; one line.
    """
    store = DeltaStore(Files(root).root)
    recorded_config(store, sweep_id)  # refuses an unknown one
    mentioned = [name for name in VIEWS if name in sql.lower()] or VIEWS  # not all are read for every question
    with duckdb.connect(":memory:", config=CLOSED) as connection:
        for name in mentioned:
            rows = front_rows(read_sweep(store, sweep_id)) if name == "front" else store.read(name, sweep_id)
            connection.register(name, rows)
        connection.execute("SET TimeZone = 'UTC'")  # as the tables have it, wherever the question is asked
        connection.execute("SET lock_configuration = true")
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in ASKING:
                kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
                raise ConfigError(f"a query is one SELECT; this is {kinds}")
            return _interruptible(connection, sql)
        except duckdb.Error as error:
            raise ConfigError(_one_line(error)) from error


def _interruptible(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Ask in a thread, since an interrupt does not always reach this one while it is inside of DuckDB."""
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(lambda: connection.sql(sql).to_arrow_table())
        try:
            return answer.result()
        except KeyboardInterrupt:
            while not answer.done():  # again and again: it may not have begun
                connection.interrupt()
                wait([answer], timeout=0.1)
            raise


def front_rows(sweep: Sweep) -> pa.Table:
    """Return the front of a sweep as the view ``front``."""
    return pa.Table.from_pylist([_front_row(point) for point in sweep.front], FRONT)


def _front_row(point: Point) -> dict[str, Any]:
    return {
        "point": point.label,
        "trial_id": point.trial.trial_id,
        "number": point.trial.number,
        "coefficients": canonical(dict(point.trial.coefficients)),
        **point.choice.columns,
        **point.metrics,
        **{f"test_{name}": value for name, value in (point.test or {}).items()},
    }


def _one_line(error: duckdb.Error) -> str:
    """What is wrong, without the place that DuckDB draws under it."""
    if unknown := re.match(r"Catalog Error: Table with name (.+?) does not exist", str(error)):
        return f"there is no table {unknown.group(1)!r}; known: {', '.join(VIEWS)}"
    return " ".join(str(error).split("\n\nLINE ")[0].split())
