"""What a log of another tool becomes, whatever its format, and how its files are read.

An importer is a file of this folder with TITLE, TASKS, `sniff(path)` and `read(path)`; the file
system is the registry. Nothing that a log says is executed, unpickled or followed as a path.

Imports the standard library, harness.errors and harness.types.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from harness.errors import DataError, UsageError
from harness.types import Metric

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Theirs:
    """What the other tool made of one answer."""

    score: float | None = None
    """Its score of this sample in its own unit; None: it has none, or none is in the log."""
    parsed: str | None = None
    """What it took the answer to be, where the log tells; "": it found nothing."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """All that the log says about the score, as it stands there."""
    outage: str = ""
    """Why the score is no judgement: its judge did not answer."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One sample of a log. What the log does not tell is empty."""

    where: str
    """"samples.jsonl, line 12": for errors and for people who look it up."""
    text: str | None = None
    """The model's words before any extraction; None: the log has none."""
    filtered: str | None = None
    """What the tool's scorer saw, where that is not `text`."""
    scores: tuple[float, ...] = ()
    """Log-likelihood of each option, in the order of `options`."""
    options: tuple[str, ...] = ()
    failure: str = ""
    """Why there is no answer, where the log says so or the text is an error in disguise."""
    question: str = ""
    """What was asked: the question or the whole prompt."""
    prompt: str = ""
    """The whole prompt, where the log has it."""
    image: str = ""
    target: str | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    """Fields of the log that could be the sample's id, by their names."""
    position: int | None = None
    """Which sample of the data set it was, counted from 0."""
    parts: tuple[str, ...] = ()
    """Parts of the data set it belongs to; a sample of each takes the answer."""
    theirs: Theirs = Theirs()
    stop: Literal["end", "length"] = "end"
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Log:
    """A log of one task."""

    tool: str
    path: Path
    """The file with the answers."""
    files: Mapping[str, str]
    """File name to sha256 of all that was read."""
    rows: Sequence[Logged]
    task: str = ""
    """What the tool calls the task."""
    version: str | None = None
    """Of the tool."""
    model: str = ""
    arguments: str = ""
    """The model's arguments as they were given; may hold secrets."""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    """How answers were produced, in the tool's words."""
    max_tokens: int | None = None
    temperature: float | None = None
    aggregates: Mapping[str, float] = field(default_factory=dict)
    """The tool's own numbers, in its own unit."""
    date: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """A task of another tool that is one of ours."""

    task: str
    """Our task, with its variant."""
    rule: str = ""
    """The variant of ours that scores as that tool does, which explains its scores."""
    metrics: Mapping[str, "str | Metric"] = field(default_factory=dict)
    """Its aggregates, as metrics of `rule`; or as a metric of ours where theirs is another thing"""
    unit: float = 100.0
    """What its aggregates are multiplied by to be compared with ours."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What a reader of an aggregate must know."""


def read_bytes(path: Path) -> bytes:
    """Return a file. Raises DataError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    return sha256(read_bytes(path)).hexdigest()


def loads(where: object, raw: bytes | str) -> Any:
    """Return a JSON document. Raises DataError saying where it is damaged."""
    try:
        return json.loads(raw)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}, line {error.lineno}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not usable JSON: {error}") from error


def first_row(path: Path) -> Row:
    """Return the first object of a JSON-lines file; empty where it is none."""
    try:
        with path.open("rb") as file:
            line = next((text for text in islice(file, 5) if text.strip()), b"{}")
        row = json.loads(line)
    except (OSError, ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def json_lines(path: Path, need: Sequence[str]) -> tuple[list[tuple[str, Row]], list[str]]:
    """Return the objects of a JSON-lines file with their places, and notes.

    Each must have the fields `need`.

    A last line that is cut off (the tool was killed while it wrote) is left out with a note.
    Raises DataError naming any other line that is damaged.
    """
    lines = read_bytes(path).split(b"\n")
    rows: list[tuple[str, Row]] = []
    notes: list[str] = []
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {at}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            if at == len(lines):  # no line break after it
                notes.append(f"log truncated: {where} is cut off and was left out")
                break
            raise DataError(f"{path}, line {at}: not usable JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {at}: expected an object, found {line[:40]!r}")
        lacks = [name for name in need if name not in row]
        if lacks:
            raise DataError(
                f"{path}, line {at}: no field {' and '.join(lacks)}; it has {', '.join(row)}. "
                "Is it a sample log of this tool?"
            )
        rows.append((where, row))
    if not rows:
        raise DataError(f"{path}: no samples in it")
    return rows, notes


def one_file(path: Path, found: Sequence[Path], what: str) -> Path:
    """Return the one file that is meant. Raises UsageError listing them, DataError for none."""
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(f"{path}: no {what} in it")
    listed = "".join(f"\n  {name}" for name in found[:20])
    more = f"\n  and {len(found) - 20} more" if len(found) > 20 else ""
    raise UsageError(f"{path} holds {len(found)} logs; import one of them at a time:{listed}{more}")


def below(path: Path, *patterns: str) -> list[Path]:
    """Return the files of a folder and of the two levels below it that match, sorted."""
    found = {
        file
        for depth in ("", "*/", "*/*/")
        for pattern in patterns
        for file in path.glob(depth + pattern)
        if file.is_file()
    }
    return sorted(found)


def once(rows: Iterable[Logged], path: Path) -> tuple[list[Logged], list[str]]:
    """Return the rows with each position once, and notes about those that came twice.

    Raises DataError where the answers differ: each sample may have one.
    """
    seen: dict[int, Logged] = {}
    kept: list[Logged] = []
    twice = 0
    for row in rows:
        before = seen.get(row.position) if row.position is not None else None
        if before is None:
            kept.append(row)
        elif (before.text, before.scores) != (row.text, row.scores):
            raise DataError(
                f"{path}: sample {row.position} has two answers ({before.where} and {row.where}): "
                "two runs were written to one file, or the run had repeats. Keep one of them"
            )
        else:
            twice += 1
        if row.position is not None:
            seen.setdefault(row.position, row)
    notes = [f"duplicates: {twice:,} samples stand twice with the same answer"] if twice else []
    return kept, notes


def number(value: Any) -> float | None:
    """Return a finite number, or None for anything else; a truth value is 1 or 0."""
    if not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def whole(value: Any) -> int | None:
    """Return a whole number from 0, or None."""
    found = number(value)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def text(value: Any) -> str:
    """Return a text; empty for anything else."""
    return value if isinstance(value, str) else ""


def listed(value: Any) -> list[Any]:
    """Return a list; empty for anything else."""
    return value if isinstance(value, list) else []


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object; empty for anything else."""
    return value if isinstance(value, dict) else {}


IDS = ("question_id", "questionId", "id", "qid", "index", "pid", "sample_id", "image_id", "idx")


def ids_of(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a document that could be its id."""
    for name in IDS:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            yield name, str(value)
