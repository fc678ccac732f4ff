"""A run folder in formats that other programs read: JSON summary, CSV rows, parquet rows."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from harness.errors import DataError
from harness.parquet import flat
from harness.record import Record

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def summary(record: Record) -> dict[str, Any]:
    """Return the fixed summary that pipelines read; percentages are percentages."""
    run = record.run
    return {
        "task": run["task"]["name"],
        "model": run["model"]["address"],
        "status": run["status"],
        "counts": record.counts,
        "metrics": {
            name: {key: metric[key] for key in ("value", "low", "high", "n")}
            for name, metric in record.metrics.items()
        },
    }


def to_json(record: Record, out: TextIO) -> None:
    """Write the summary as JSON."""
    json.dump(summary(record), out, indent=1)
    out.write("\n")


def to_csv(record: Record, out: TextIO) -> None:
    """Write one line per sample, in the task's order.

    A text cell that a spreadsheet would run as a formula gets a leading apostrophe: the text was
    written by a model. The exact text is in rows.jsonl and in the parquet file.
    """
    rows = sorted((flat(row) for row in record.rows()), key=lambda row: row["index"])
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def to_parquet(record: Record, out: Path) -> None:
    """Copy the derived parquet file. Raises DataError while the run is unfinished."""
    path = record.folder / "rows.parquet"
    if not path.exists():
        raise DataError(
            f"{record.folder} has no rows.parquet yet: the run is {record.run['status']}"
        )
    shutil.copyfile(path, out)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        value = value.encode("utf-8", "backslashreplace").decode()  # lone surrogates
        return "'" + value if value.startswith(_FORMULA) else value
    return value


TEXT_FORMATS: dict[str, Callable[[Record, TextIO], None]] = {"json": to_json, "csv": to_csv}
