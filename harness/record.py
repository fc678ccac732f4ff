"""A run folder: what was asked, of what, with what, and every answer. Survives kill -9.

    runs/<id>/run.json       what, with what, where, when, status, metrics; replaced atomically
    runs/<id>/rows.jsonl     one line per sample in order of completion; only ever appended to
    runs/<id>/derived.jsonl  what a task computes of all answers together, by id; readers see it
                             in the rows. Replaced atomically; a run that goes on drops it
    runs/<id>/verdicts.jsonl what a judge said, one line per call; only ever appended to; readers
                             see it in the rows. Older judgings are in verdicts-<n>.jsonl
    runs/<id>/rows.parquet   the same rows in the task's order, derived when the run ends

A row is one write to the file, so a crash leaves at most one half-written last line: readers pass
over it and `--resume` cuts it off and asks that sample again. Everything that people look at reads
this folder and nothing else. `SCHEMA` goes up when a reader of today would misread a file.

A run that is finished is sealed: run.json holds the sha256 of the files with rows, so that an edit
by hand is seen even where it changes no number. A finished run may be kept in a store
(harness/store.py); `read` takes its address as well.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from harness import store, verdicts
from harness.errors import DataError, RunStopped, UsageError
from harness.seal import check_seal

SCHEMA = 1
DONE = ("scored", "unparsed")
"""Outcomes that resume keeps, beside answers that wait for a judge; failed and missing samples are
asked again."""

Row = dict[str, Any]
_encode = json.JSONEncoder(separators=(",", ":")).encode  # made once: `dumps` makes one per row


@dataclass(frozen=True)
class Record:
    """A run folder, opened for reading."""

    folder: Path
    run: Mapping[str, Any] = field(repr=False)
    address: str = ""
    """Where it is in a store; `folder` is then a copy that is not to be written to."""

    @property
    def sealed(self) -> bool:
        """Whether run.json holds digests of its rows; runs of older versions do not."""
        return bool(self.run.get("seal"))

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


def read(place: Path | str, files: Sequence[str] = ()) -> Record:
    """Open a run folder, or a run in a store, of which `files` may fetch only some.

    Raises DataError when it is none, or of another schema.
    """
    at = store.as_path(place)
    if isinstance(at, str) or store.is_run(at):
        folder, address = store.fetch(place, files), str(place)
    else:
        folder, address = at, ""
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
    return Record(folder, run, address)


def read_rows(folder: Path, *, vote: int | None = None) -> Iterator[Row]:
    """Yield the rows of a run folder with what was derived and judged for them.

    `vote` takes one vote of each judged row alone. A half-written last line is passed over. Raises
    DataError naming the line when any other line is damaged.
    """
    derived = {extra["id"]: extra for extra in read_lines(folder / "derived.jsonl")}
    judged = verdicts.outcomes(read_lines(folder / verdicts.FILE), vote)
    for row in read_lines(folder / "rows.jsonl"):
        if row["id"] in derived:
            row = _merged(row, derived[row["id"]])
        yield _merged(row, judged[row["id"]]) if waits(row) and row["id"] in judged else row


def waits(row: Row) -> bool:
    """Whether a row holds an answer that only a judge can score."""
    return row["status"] == "unjudged" and bool(row.get("answer"))


def read_lines(path: Path) -> Iterator[Row]:
    """Yield the lines of a file of a run folder as they stand; see `read_rows`."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row: Row = json.loads(line)
                row["id"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}, line {number}: damaged row ({error})") from error
            yield row


DERIVABLE = ("score", "parsed", "status", "error")
"""Fields of a row that something computed or judged afterwards may set; `stats` are added to."""


def _merged(row: Row, extra: Mapping[str, Any]) -> Row:
    """Return a row with what was computed for it afterwards."""
    changed = {name: extra[name] for name in DERIVABLE if name in extra}
    return {**row, **changed, "stats": {**row["stats"], **extra.get("stats", {})}}


def append(file: int, size: int, row: Row, folder: Path) -> int:
    """Append one line in a single write to a descriptor; `size` is its file's. Return the new size.

    Raises RunStopped when the disk is full; the file then ends with the line before.
    """
    line = _encode(row).encode("ascii") + b"\n"
    try:
        written = os.write(file, line)
        if written < len(line):  # a full disk takes a part first; the next write says why
            written += os.write(file, line[written:])
        if written < len(line):
            raise OSError(f"{written} of {len(line)} bytes written")
    except OSError as error:
        os.ftruncate(file, size)
        raise RunStopped(
            f"{folder}: the disk takes no more rows ({error.strerror or error}). All "
            "rows so far are kept; make room and go on with --resume"
        ) from error
    return size + len(line)


def save(folder: Path, run: Mapping[str, Any]) -> None:
    """Replace run.json atomically. Raises RunStopped when the disk is full."""
    temporary = folder / ".run.json.new"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(run, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / "run.json")
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunStopped(
            f"{folder}/run.json cannot be written ({error.strerror}). The rows are kept; "
            "make room and go on with --resume"
        ) from error


def _take(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UsageError(f"{folder}: another process is writing this run") from error


@contextmanager
def appending(
    folder: Path, name: str, prepare: Callable[[], None]
) -> Iterator[Callable[[Row], None]]:
    """Hold the folder alone and yield a function that appends a line to its file `name`.

    `prepare` is called when the folder is held, before the file is opened; a half-written last
    line is cut off. Raises UsageError when another process writes the folder, or nobody may.
    """
    try:
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error
    with lock:
        _take(lock, folder)
        prepare()
        path = folder / name
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = path.read_bytes().rfind(b"\n") + 1
            os.ftruncate(file, size)

            def write(row: Row) -> None:
                nonlocal size
                size = append(file, size, row, folder)

            yield write
            os.fsync(file)
        finally:
            os.close(file)


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
        self.before: Mapping[str, Any] = {}
        """run.json as an earlier attempt left it."""
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
            _take(self._lock, folder)
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
        self._size = append(self._rows, self._size, row, self.folder)

    def derive(self, extras: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace derived.jsonl by `extras`: what each id's row gains."""
        path = self.folder / "derived.jsonl"
        temporary = path.with_name(".derived.jsonl.new")
        try:
            with temporary.open("w", encoding="ascii") as file:
                for id, extra in extras.items():
                    file.write(json.dumps({"id": id, **extra}, separators=(",", ":")) + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise RunStopped(
                f"{path} cannot be written ({error.strerror}). The rows are kept; make room and "
                "go on with --resume"
            ) from error

    def save(self, **changes: Any) -> None:
        """Replace run.json atomically with the header and `changes`."""
        self.header.update(changes)
        save(self.folder, self.header)

    def close(self) -> None:
        """Sync the rows and let go of the folder."""
        os.fsync(self._rows)
        os.close(self._rows)
        self._lock.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reopen(self) -> None:
        if (self.folder / "run.json").exists():
            before = read(self.folder).run
            self._same_run(before)
            self.header = {**self.header, "id": before["id"], "started": before["started"]}
            self.header["resumed"] = [*before.get("resumed", []), self.header["now"]]
            self.header["seconds"] = before.get("seconds", 0.0)
            self.before = before
            try:
                check_seal(self.folder, before)
            except DataError as error:  # a damaged line may be removed; that it was stays known
                self.header["edited"] = [*before.get("edited", []), str(error)]
            if "judging" in before:  # verdicts on answers that are kept stay what they are
                for name in ("judging", "judgings"):
                    self.header[name] = before[name]
                judge = {"judge": before["fingerprint"]["judge"]}
                self.header["fingerprint"] = {**self.header["fingerprint"], **judge}
        self.done = _repair(self.folder / "rows.jsonl")
        (self.folder / "derived.jsonl").unlink(missing_ok=True)  # was of fewer rows

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
            if row["status"] in DONE or waits(row):
                done.add(row["id"])
            else:
                again += 1
    if again:
        _keep_done(path)
    else:
        os.truncate(path, good)
    return done


def _keep_done(path: Path) -> None:
    def good(row: Row) -> bool:
        return row["status"] in DONE or waits(row)

    temporary = path.with_name(".rows.jsonl.new")
    with temporary.open("wb") as out, path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n") and good(_parse(path, number, line)):
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
