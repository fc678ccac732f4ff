"""A run folder: what was asked, of what, with what, and every answer. Survives kill -9.

    runs/<id>/run.json       what, with what, where, when, status, metrics; replaced atomically
    runs/<id>/rows.jsonl     one line per sample in order of completion; only ever appended to
    runs/<id>/rows.parquet   the same rows in the task's order, derived when the run ends

A row is one write to the file, so a crash leaves at most one half-written last line: readers pass
over it and `--resume` cuts it off and asks that sample again. Everything that people look at reads
this folder and nothing else. `SCHEMA` goes up when a reader of today would misread a file.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import DataError, RunStopped, UsageError

SCHEMA = 1
DONE = ("scored", "unparsed")
"""Outcomes that resume keeps; failed, missing and unjudged samples are asked again."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """A run folder, opened for reading."""

    folder: Path
    run: Mapping[str, Any] = field(repr=False)

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Every metric by name: value, low, high, n, clusters."""
        return dict(self.run.get("metrics") or {})

    @property
    def counts(self) -> dict[str, int]:
        """Samples by outcome: total, scored, unparsed, unjudged, failed, missing."""
        return dict(self.run.get("counts") or {})

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order of completion."""
        return read_rows(self.folder)

    def frame(self) -> Any:
        """Return the rows as a pandas DataFrame, in the task's order."""
        import pandas as pd

        path = self.folder / "rows.parquet"
        if path.exists():
            return pd.read_parquet(path)
        from harness.parquet import flat

        return pd.DataFrame([flat(row) for row in self.rows()])


def read(folder: Path | str) -> Record:
    """Open a run folder. Raises DataError when it is none, or of another schema."""
    folder = Path(folder)
    path = folder / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: not a run folder (it has no run.json)") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not isinstance(run, dict) or run.get("schema") != SCHEMA:
        found = run.get("schema") if isinstance(run, dict) else type(run).__name__
        raise DataError(
            f"{path}: schema {found}, this version of Sightline reads schema {SCHEMA}; "
            "use the version that wrote it"
        )
    return Record(folder, run)


def read_rows(folder: Path) -> Iterator[Row]:
    """Yield the rows of a run folder; a half-written last line is passed over.

    Raises DataError naming the line when any other line is damaged.
    """
    path = folder / "rows.jsonl"
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: damaged row ({error})") from error


class Writer:
    """The one process that may write a run folder. Use as a context manager."""

    def __init__(self, folder: Path, header: Mapping[str, Any], *, resume: bool = False) -> None:
        """Create the folder, or open it again to go on.

        Raises UsageError when it exists and `resume` is off, when another process writes it, or
        when it holds a different run; DataError when its files are damaged.
        """
        self.folder = folder
        self.header = dict(header)
        self.done: set[str] = set()
        exists = (folder / "run.json").exists() or (folder / "rows.jsonl").exists()
        if exists and not resume:
            raise UsageError(
                f"{folder} already holds a run: go on with it by --resume, or name another --out"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / ".lock").open("w")
        except OSError as error:
            raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error
        try:
            self._take_lock()
            if exists:
                self._reopen()
            self.save(status="running")
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._rows = os.open(folder / "rows.jsonl", flags, 0o644)
        except BaseException:
            self._lock.close()
            raise
        self._size = os.fstat(self._rows).st_size

    def write(self, row: Row) -> None:
        """Append one row in a single write. Raises RunStopped when the disk is full."""
        line = json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"
        try:
            written = os.write(self._rows, line)
            if written < len(line):  # a full disk takes a part first; the next write says why
                written += os.write(self._rows, line[written:])
            if written < len(line):
                raise OSError(f"{written} of {len(line)} bytes written")
        except OSError as error:
            os.ftruncate(self._rows, self._size)
            raise RunStopped(
                f"{self.folder}: the disk takes no more rows ({error.strerror or error}). All "
                "rows so far are kept; make room and go on with --resume"
            ) from error
        self._size += len(line)

    def save(self, **changes: Any) -> None:
        """Replace run.json atomically with the header and `changes`."""
        self.header.update(changes)
        text = json.dumps(self.header, indent=1)
        temporary = self.folder / ".run.json.new"
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.folder / "run.json")
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise RunStopped(
                f"{self.folder}/run.json cannot be written ({error.strerror}). The rows are kept; "
                "make room and go on with --resume"
            ) from error

    def close(self) -> None:
        """Sync the rows and let go of the folder."""
        os.fsync(self._rows)
        os.close(self._rows)
        self._lock.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{self.folder}: another process is writing this run") from error

    def _reopen(self) -> None:
        if (self.folder / "run.json").exists():
            before = read(self.folder).run
            self._same_run(before)
            self.header = {**self.header, "id": before["id"], "started": before["started"]}
            self.header["resumed"] = [*before.get("resumed", []), self.header["now"]]
        self.done = _repair(self.folder / "rows.jsonl")

    def _same_run(self, before: Mapping[str, Any]) -> None:
        differs = [
            f"{name}: the folder has {old!r}, asked is {new!r}"
            for name, old, new in _identity(before, self.header)
            if old != new
        ]
        if differs:
            raise UsageError(
                f"{self.folder} holds another run and cannot be resumed as this one:\n  "
                + "\n  ".join(differs)
            )


def _identity(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in ("task", "model", "seed", "limit"):
        key = {"task": "name", "model": "address"}.get(name)
        yield (name, before[name][key], now[name][key]) if key else (name, before[name], now[name])
    yield "model options", before["model"].get("options"), now["model"].get("options")
    for name in ("data", "scorer", "decoding"):
        yield f"{name} fingerprint", before["fingerprint"].get(name), now["fingerprint"].get(name)


def _repair(path: Path) -> set[str]:
    """Cut a half-written last line, drop rows to ask again, and return the ids that are done."""
    if not path.exists():
        return set()
    done: set[str] = set()
    again = 0
    good = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            good += len(line)
            row = _parse(path, number, line)
            if row["id"] in done:
                raise DataError(f"{path}, line {number}: the id '{row['id']}' was written twice")
            if row["status"] in DONE:
                done.add(row["id"])
            else:
                again += 1
    if again:
        _keep_done(path)
    else:
        os.truncate(path, good)
    return done


def _keep_done(path: Path) -> None:
    temporary = path.with_name(".rows.jsonl.new")
    with temporary.open("wb") as out, path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n") and _parse(path, number, line)["status"] in DONE:
                out.write(line)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


def _parse(path: Path, number: int, line: bytes) -> Row:
    try:
        row: Row = json.loads(line)
        row["id"], row["status"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}, line {number}: damaged row ({error}); remove this line to ask it again"
        ) from error
    return row
