"""Run folders as tables: SQL over all rows of all runs, and one line per run as a data frame.

    from leaderboards.query import query, runs
    runs("runs/")                                     # pandas, one line per run
    runs("s3://team/runs")                            # of a store only run.json is read
    query("select task, model, avg(score) from rows group by all", "runs/")

Two tables: `runs` (one line per run) and `rows` (one line per sample: the columns of rows.parquet
and `run`, `task`, `model`). SQL sees these tables and no file. Imports duckdb, pandas and pyarrow
inside.
"""

from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError
from harness.record import Record, read
from reports.comparable import places_in


def runs(*places: Path | str) -> Any:
    """Return one line per run of the folders as a pandas DataFrame, the oldest first.

    Raises DataError where there is no run folder, or one of another schema.
    """
    return _table(_records(places or ("runs",), ("run.json",)))


def _table(records: list[Record]) -> Any:
    import pandas as pd

    lines = [_line(record) for record in records]
    return pd.DataFrame(lines).sort_values(["started", "run"], ignore_index=True)


def query(sql: str, *places: Path | str) -> Any:
    """Return what a SQL statement gives over the tables `runs` and `rows`, as a DataFrame.

    Raises UsageError for SQL that cannot be run, DataError where there is nothing to ask.
    """
    import duckdb

    records = _records(places or ("runs",), ("run.json", "rows.parquet"))
    connection = duckdb.connect(":memory:")
    try:
        connection.register("_runs", _table(records))
        connection.execute("create table runs as select * from _runs")
        connection.unregister("_runs")
        _rows(connection, records)
        connection.execute("set python_enable_replacements = false")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        return connection.execute(sql).df()
    except duckdb.Error as error:
        raise UsageError(f"the query cannot be run: {error}") from error
    finally:
        connection.close()


def _records(places: tuple[Path | str, ...], files: tuple[str, ...]) -> list[Record]:
    """Open the runs at some places; of runs in a store fetch only `files`."""
    found = [run for place in places for run in places_in(place)]
    unique = {run.resolve() if isinstance(run, Path) else run: run for run in found}
    return [read(run, files) for _, run in sorted(unique.items(), key=lambda pair: str(pair[0]))]


def _rows(connection: Any, records: list[Record]) -> None:
    """Make the table `rows` of all parquet files; groups that only some runs have are null."""
    whole = [record for record in records if (record.folder / "rows.parquet").exists()]
    if not whole:
        raise DataError("no run has a rows.parquet: none of them has ended")
    for at, record in enumerate(whole):
        table = connection.from_parquet(str(record.folder / "rows.parquet"))
        connection.register(f"_part{at}", table)
    parts = " union all by name ".join(
        f"select ?::varchar as run, ?::varchar as task, ?::varchar as model, * from _part{at}"
        for at in range(len(whole))
    )
    names = [text for record in whole for text in _names(record)]
    connection.execute(f"create table rows as {parts}", names)
    for at in range(len(whole)):
        connection.unregister(f"_part{at}")


def _names(record: Record) -> tuple[str, str, str]:
    run = record.run
    return str(run["id"]), str(run["task"]["name"]), str(run["model"]["address"])


def _line(record: Record) -> dict[str, Any]:
    run, counts = record.run, record.counts
    name = run["task"]["headline"]
    metric = record.metrics.get(name) or {}
    run_id, task, model = _names(record)
    return {
        "run": run_id,
        "folder": record.address or str(record.folder),
        "task": task,
        "model": model,
        "status": run["status"],
        "started": run["started"],
        "seconds": run.get("seconds"),
        "metric": name,
        **{key: metric.get(key) for key in ("value", "low", "high", "n", "asked", "clusters")},
        **{key: counts.get(key) for key in ("total", "scored", "unparsed", "unjudged", "failed",
                                            "missing")},
        "limit": run["limit"],
        "commit": (run["environment"].get("git") or {}).get("commit"),
        **{f"fingerprint_{key}": value for key, value in sorted(run["fingerprint"].items())},
    }  # fmt: skip
