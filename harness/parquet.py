"""rows.jsonl as one parquet file in the task's order, for pandas and DuckDB."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_BATCH = 8192
_NESTED = ("prompt", "choices", "pixels", "stats", "scores")
_TYPES = {
    "index": "int64", "id": "string", "cluster": "string", "status": "string", "score": "float64",
    "parsed": "string", "target": "string", "text": "string", "stop": "string", "choice": "int64",
    "scores": "string", "prompt": "string", "choices": "string", "item": "string",
    "pixels": "string", "stats": "string", "tokens_in": "int64", "tokens_out": "int64",
    "seconds": "float64", "error": "string",
}  # fmt: skip
_ANSWER = ("text", "stop", "choice", "scores", "tokens_in", "tokens_out", "seconds")


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without nesting: groups as `group_<name>`, the rest of the nests as JSON."""
    answer = row.get("answer") or {}
    columns = {key: row.get(key) for key in _TYPES}
    for key in _ANSWER:
        columns[key] = answer.get(key)
    for key in _NESTED:
        columns[key] = json.dumps(columns[key]) if columns[key] else None
    for key, value in row["groups"].items():
        columns[f"group_{key}"] = None if value is None else str(value)
    return columns


def write(folder: Path, rows: Iterable[Mapping[str, Any]], groups: Iterable[str]) -> Iterator[Any]:
    """Pass `rows` on while writing them to rows.parquet, which is replaced atomically.

    A generator, so that whoever reads the rows for another reason need not read them twice.
    `groups` are all names of groups that occur.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [(name, pa.type_for_alias(kind)) for name, kind in _TYPES.items()]
    schema = pa.schema(fields + [(f"group_{name}", pa.string()) for name in groups])
    temporary = folder / ".rows.parquet.new"
    batch: list[dict[str, Any]] = []
    last, ordered = -1, True
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for row in rows:
            batch.append(flat(row))
            ordered, last = ordered and row["index"] > last, row["index"]
            if len(batch) == _BATCH:
                writer.write_table(_table(batch, schema))
                batch.clear()
            yield row
        if batch:
            writer.write_table(_table(batch, schema))
    if not ordered:  # answers came in another order than the questions
        pq.write_table(pq.read_table(temporary).sort_by("index"), temporary, compression="zstd")
    temporary.replace(folder / "rows.parquet")


def _table(batch: list[dict[str, Any]], schema: Any) -> Any:
    import pyarrow as pa

    columns = []
    for field in schema:
        name = field.name
        values = [row.get(name) for row in batch]
        try:
            columns.append(pa.array(values, field.type))
        except UnicodeEncodeError:  # half a surrogate: JSON keeps it, parquet cannot hold it
            clean = [v and v.encode("utf-8", "replace").decode() for v in values]
            columns.append(pa.array(clean, field.type))
    return pa.Table.from_arrays(columns, schema=schema)
