"""Hugging Face tables: parquet or arrow files on disk, or the Hub where it can be reached.

Rows are read with pyarrow, so image bytes stay as published and are fetched only when a model
looks. `hf:owner/name[@revision]` addresses need the package `datasets` (extra `hub`), which fetches
the files; afterwards they are read as files.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import DataError, MissingExtra
from harness.types import Image


class Table:
    """Rows of one split. `rows()` are without binary columns; `image(row, column)` is lazy."""

    def __init__(self, files: list[Path]) -> None:
        """Open parquet or arrow `files`, in the order given."""
        self._parts = [part for file in files for part in _parts(file)]
        if not self._parts:
            raise DataError("no parquet or arrow rows were found")

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (row number, fields), leaving out columns that hold images."""
        number = 0
        for part in self._parts:
            for row in part.rows():
                yield number, row
                number += 1

    def image(self, number: int, column: str, name: str) -> Image | None:
        """Return the image of a row, or None where the cell is empty."""
        part, at = self._locate(number)
        if not part.has_image(column, at):
            return None
        return Image(name, lambda: part.image(column, at))

    def _locate(self, number: int) -> tuple["_Part", int]:
        for part in self._parts:
            if number < part.length:
                return part, number
            number -= part.length
        raise IndexError(number)


class _Part:
    """One record batch or row group, read when needed and kept while it is in use."""

    def __init__(self, load: Callable[[list[str] | None], Any], schema: Any, length: int) -> None:
        self.length = length
        self._load = load
        self._plain = [f.name for f in schema if not _is_image(f.type)]
        self._images = {f.name for f in schema if _is_image(f.type)}
        self._valid: dict[str, list[bool]] = {}

    def rows(self) -> Iterator[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._load(self._plain).to_pylist()
        yield from rows

    def has_image(self, column: str, at: int) -> bool:
        if column not in self._images:
            return False
        if column not in self._valid:
            self._valid[column] = self._load([column]).column(column).is_valid().to_pylist()
        return self._valid[column][at]

    def image(self, column: str, at: int) -> bytes:
        data = self._cells(column)[at]
        if data is None:
            raise DataError(f"column '{column}', row {at}: no image bytes in this cell")
        return data

    def _cells(self, column: str) -> list[bytes | None]:
        return _cells(self, column)

    def read_column(self, column: str) -> list[bytes | None]:
        cells = self._load([column]).column(column).to_pylist()
        return [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]


@lru_cache(maxsize=4)  # a few row groups: neighbours are asked for together
def _cells(part: _Part, column: str) -> list[bytes | None]:
    return part.read_column(column)


def _is_image(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return "bytes" in {kind.field(i).name for i in range(kind.num_fields)}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _parts(file: Path) -> Iterator[_Part]:
    import pyarrow as pa

    try:
        yield from (_parquet if file.suffix == ".parquet" else _arrow)(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: not a readable table ({error}); fetch the file again") from error


def _parquet(file: Path) -> Iterator[_Part]:
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file, memory_map=True)
    for group in range(opened.num_row_groups):
        yield _Part(
            lambda columns, group=group: opened.read_row_group(group, columns=columns),  # type: ignore[misc]
            opened.schema_arrow,
            opened.metadata.row_group(group).num_rows,
        )


def _arrow(file: Path) -> Iterator[_Part]:
    import pyarrow as pa

    source = pa.memory_map(str(file))  # batches point into the map: nothing is copied
    try:
        reader = pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        reader = pa.ipc.open_file(source)
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    else:
        batches = list(reader)
    for batch in batches:
        yield _Part(
            lambda columns, batch=batch: batch.select(columns) if columns else batch,  # type: ignore[misc]
            reader.schema,
            batch.num_rows,
        )


def find_tables(folder: Path, *, config: str = "", split: str = "") -> list[Path]:
    """Return the table files of a split below `folder`, or [] when there are none.

    Understands a Hub checkout (`<config>/<split>-00000-of-00001.parquet`), `save_to_disk`
    (`<split>/data-*.arrow`) and a bare folder of parquet files.
    """
    files = sorted([*folder.rglob("*.parquet"), *folder.rglob("*.arrow")])
    files = [f for f in files if not f.name.startswith("cache-")]
    for word in (config, split):
        named = [f for f in files if _names(f.relative_to(folder), word)]
        files = named if word and (named or _any_named(files, folder)) else files
    return files


def _names(path: Path, word: str) -> bool:
    return bool(word) and (word in path.parts[:-1] or path.name.split("-")[0].split(".")[0] == word)


def _any_named(files: list[Path], folder: Path) -> bool:
    """Whether the files speak of splits or configs at all, so that an absent one is absent."""
    return any(len(f.relative_to(folder).parts) > 1 or "-of-" in f.name for f in files)


def fetch(address: str, *, config: str | None = None) -> Path:
    """Download `hf:owner/name[@revision]` and return the local snapshot folder.

    Raises MissingExtra without the extra `hub`, DataError when the Hub cannot be reached.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtra(
            "huggingface_hub", address, "In the checkout: pip install -e '.[hub]'"
        ) from error
    name, _, revision = address.removeprefix("hf:").partition("@")
    patterns = [f"{config}/*"] if config else ["*.parquet", "**/*.parquet"]
    try:
        return Path(
            snapshot_download(
                name, repo_type="dataset", revision=revision or None, allow_patterns=patterns
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise DataError(
            f"{address}: the Hugging Face Hub did not give this data set: "
            f"{type(error).__name__}: {str(error).splitlines()[0]}. Download it where there is a "
            "network, and give the folder with --data"
        ) from error
