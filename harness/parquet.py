"""rows.jsonl as one parquet file in the task's order, for pandas and DuckDB."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_BATCH = 8192
_TYPES = {
    "index": "int64", "id": "string", "cluster": "string", "status": "string", "score": "float64",
    "parsed": "string", "target": "string", "text": "string", "stop": "string", "choice": "int64",
    "scores": "string", "prompt": "string", "choices": "string", "item": "string",
    "pixels": "string", "stats": "string", "tokens_in": "int64", "tokens_out": "int64",
    "seconds": "float64", "error": "string",
}  # fmt: skip


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without nesting: groups as `group_<name>`, the rest of the nests as JSON."""
    answer = row.get("answer") or {}
    found = {**row, **{key: answer.get(key) for key in _TYPES if key in answer}}
    for key in ("prompt", "choices", "pixels", "stats", "scores"):
        found[key] = json.dumps(found[key]) if found.get(key) else None
    columns = {key: found.get(key) for key in _TYPES}
    return columns | {
        f"group_{key}": None if value is None else str(value)
        for key, value in row["groups"].items()
    }


def write(folder: Path) -> Path:
    """Derive rows.parquet from rows.jsonl, replacing it atomically; returns its path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    groups: dict[str, None] = {}
    order: list[tuple[int, int]] = []
    offset = 0
    with (folder / "rows.jsonl").open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                row = json.loads(line)
                order.append((row["index"], offset))
                groups |= dict.fromkeys(row["groups"])
            offset += len(line)
    schema = pa.schema(
        [(name, pa.type_for_alias(kind)) for name, kind in _TYPES.items()]
        + [(f"group_{name}", pa.string()) for name in groups]
    )
    temporary = folder / ".rows.parquet.new"
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for batch in _batches(folder / "rows.jsonl", [at for _, at in sorted(order)]):
            writer.write_table(pa.Table.from_pylist([_clean(flat(r)) for r in batch], schema))
    os.replace(temporary, folder / "rows.parquet")
    return folder / "rows.parquet"


def _batches(path: Path, offsets: list[int]) -> Iterable[list[Any]]:
    with path.open("rb") as file:
        for start in range(0, len(offsets), _BATCH):
            batch = []
            for offset in offsets[start : start + _BATCH]:
                file.seek(offset)
                batch.append(json.loads(file.readline()))
            yield batch


def _clean(row: dict[str, Any]) -> dict[str, Any]:
    """Replace lone surrogates, which JSON keeps and parquet cannot hold."""
    return {
        key: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for key, value in row.items()
    }
