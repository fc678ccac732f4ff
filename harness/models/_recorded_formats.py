"""Reading files of answers: what each tool writes becomes a list of entries.

Recognised by their content: LLaVA's answer lines (`llava`), the official GQA prediction list
(`gqa`), ScienceQA's result file with option indices (`scienceqa`), the analysis that LLaVA's
ScienceQA script writes (`llava-scienceqa`), the reviews of LLaVA's judge (`llava-review`), an
object of texts by id (`ids`), POPE's answer lines without ids (`pope`), and any JSON lines, JSON
list, csv or tsv with an id and an answer column. Text is kept exactly as found.

Imports the standard library and harness.errors only.
"""

import csv
import gzip
import io
import json
import math
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import DataError, UsageError, unknown

FORMATS = {
    "auto": "whatever the content shows",
    "llava": "JSON lines of LLaVA: question_id, prompt, text",
    "gqa": "the official GQA list: questionId, prediction; ids unknown to the task are ignored",
    "scienceqa": "a ScienceQA result file: results {id: index}, outputs {id: text}",
    "llava-scienceqa": "what LLaVA's ScienceQA script writes: correct [...], incorrect [...]",
    "llava-review": "reviews of LLaVA's judge: question_id, content; for --judge recorded:FILE",
    "ids": "a JSON object {id: text}, as MM-Vet's results",
    "pope": "JSON lines of POPE: question, answer; joined by position, every question compared",
    "refer": "predictions of lichengunc/refer2 and its kin: predictions [{ref_id, sent}]",
    "refer-order": "the same, sorted by ref_id and joined by position: for data without ref_ids",
    "jsonl": "JSON lines with an id and an answer field",
    "json": "a JSON list of objects with an id and an answer field",
    "csv": "comma-separated columns with a header",
    "tsv": "tab-separated columns with a header",
}
_IDS = ["id", "question_id", "questionId", "qid", "sample_id", "index", "doc_id", "pid", "uid"]
_ANSWERS = [
    "answer",
    "prediction",
    "text",
    "response",
    "pred",
    "output",
    "pred_ans",
    "model_answer",
    "generated_text",
]
_PROMPTS = ("prompt", "question")
_NOT_ASKED = ("Unknown", "FAILED")
"""What LLaVA's ScienceQA script writes as question and prediction where an answer is missing."""

Row = dict[str, Any]


class Columns(NamedTuple):
    """Which fields hold what; None: found by their usual names."""

    id: str | None = None
    answer: str | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One recorded answer."""

    where: str
    """"line 12": for errors."""
    id: str | None
    """None in formats that join by position."""
    text: str | None = None
    """None: the file has no text for it."""
    choice: int | None = None
    scores: tuple[float, ...] = ()
    prompt: str = ""
    """What was asked, as far as the file tells."""


@dataclass(frozen=True)
class Recording:
    """A file of answers."""

    path: Path
    sha256: str
    format: str
    entries: Sequence[Entry]
    by_id: Mapping[str, Entry] = field(repr=False)

    @property
    def has_ids(self) -> bool:
        """Whether answers are joined by id; by position otherwise."""
        return bool(self.by_id)


def read(path: Path, format: str, columns: Columns) -> Recording:
    """Read a file of answers.

    Raises DataError naming the line for damage, a field that lacks or an id that comes twice;
    UsageError when several columns could be the id or the answer, or none is.
    """
    if format not in FORMATS:
        raise unknown("format of recorded answers", format, FORMATS)
    raw, digest = _bytes(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from error
    kind, document, rows = _open(path, text, format)
    kind, entries = _entries(path, kind, document, rows, columns)
    if format == "refer-order" and kind == "refer":
        kind, entries = format, _in_order(path, entries)
    if format not in ("auto", kind) and not (format in _CONTAINERS and kind in ("llava", "gqa")):
        raise DataError(
            f"{path}: asked to read it as '{format}' ({FORMATS[format]}), but it looks like "
            f"'{kind}' ({FORMATS[kind]})"
        )
    if not entries:
        raise DataError(f"{path}: no answers in it")
    return Recording(path, digest, kind, entries, _by_id(path, entries))


_CONTAINERS = ("json", "jsonl", "csv", "tsv")


def _bytes(path: Path) -> tuple[bytes, str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"recorded answers {path}: {error.strerror or error}") from error
    digest = sha256(raw).hexdigest()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: damaged gzip file ({error})") from error
    return raw, digest


def _open(path: Path, text: str, format: str) -> tuple[str, Any, Iterable[tuple[str, Row]]]:
    """Return (container, the JSON document or None, rows with where they stand)."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if format in ("csv", "tsv") or (format == "auto" and suffix in (".csv", ".tsv")):
        kind = format if format != "auto" else suffix[1:]
        return kind, None, _table(path, text, "," if kind == "csv" else "\t")
    try:
        document = _loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
        return "jsonl", None, _lines(path, text)  # a second document follows the first
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not usable JSON: {error}") from error
    if isinstance(document, dict):
        return "jsonl", document, [("line 1", document)]
    if not isinstance(document, list):
        raise DataError(f"{path}: expected a list of answers, found a {type(document).__name__}")
    return "json", None, _objects(path, document)


def _once(pairs: list[tuple[str, Any]]) -> Row:
    """Build a JSON object, refusing a key that comes twice: the last would silently win."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"the key {twice!r} comes twice in one object")
    return found


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once)


def _lines(path: Path, text: str) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise DataError(f"{path}, line {number}: not usable JSON ({reason})") from error
        yield f"line {number}", _object(path, f"line {number}", row)


def _objects(path: Path, document: list[Any]) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(document, 1):
        yield f"entry {number}", _object(path, f"entry {number}", row)


def _object(path: Path, where: str, row: Any) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{path}, {where}: expected an object, found a {type(row).__name__}")
    return row


def _table(path: Path, text: str, delimiter: str) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a csv or tsv; fields may hold line breaks and be of any length."""
    before = csv.field_size_limit(sys.maxsize)  # process-wide, so it is put back
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise DataError(f"{path}, line 1: a column name comes twice: {', '.join(header)}")
        table: list[tuple[str, Row]] = []
        for cells in reader:
            where = f"line {reader.line_num}"
            if cells and len(cells) != len(header):
                raise DataError(
                    f"{path}, {where}: {len(cells)} columns, the header has {len(header)}"
                )
            if cells:
                table.append((where, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: damaged table ({error})") from error
    finally:
        csv.field_size_limit(before)
    return iter(table)


def _entries(
    path: Path, kind: str, document: Any, rows: Iterable[tuple[str, Row]], columns: Columns
) -> tuple[str, list[Entry]]:
    """Return the format that was recognised and its entries."""
    if isinstance(document, dict) and isinstance(document.get("results"), dict):
        return "scienceqa", _indices(path, document)
    if isinstance(document, dict) and isinstance(document.get("correct"), list):
        listed = [*document["correct"], *(document.get("incorrect") or [])]
        asked = [
            (where, row)
            for where, row in _objects(path, listed)
            if (row.get("question"), row.get("pred")) != _NOT_ASKED
        ]
        return "llava-scienceqa", _columns(path, asked, Columns("question_id", "pred", "question"))
    if isinstance(document, dict) and isinstance(document.get("predictions"), list):
        told = list(_objects(path, document["predictions"]))
        return "refer", _columns(path, told, Columns("ref_id", "sent"))
    rows = list(rows)
    names = set(rows[0][1]) if rows else set()
    texts = document and all(isinstance(value, str) for value in document.values())
    if texts and names.isdisjoint(_IDS) and not columns.id:
        return "ids", [Entry(f"id {key}", key, value) for key, value in document.items()]
    if kind == "jsonl" and names >= {"question_id", "content", "tuple"} and not columns.id:
        return "llava-review", _columns(path, rows, Columns("question_id", "content"))
    if names >= {"question", "answer"} and not columns.id and names.isdisjoint(_IDS):
        return "pope", [
            Entry(where, None, _text(path, where, row, "answer"), prompt=_asked(row, "question"))
            for where, row in rows
        ]
    if kind == "json" and names == {"questionId", "prediction"}:
        kind = "gqa"
    elif kind == "jsonl" and names >= {"question_id", "prompt", "text"}:
        kind = "llava"
    return kind, _columns(path, rows, columns)


def _in_order(path: Path, entries: Sequence[Entry]) -> list[Entry]:
    """Return entries without ids, in the order of their numbers."""
    numbers = _by_id(path, entries)
    if not all(number.isdecimal() for number in numbers):
        raise DataError(f"{path}: every ref_id must be a whole number to sort by it")
    return [replace(numbers[number], id=None) for number in sorted(numbers, key=int)]


def _indices(path: Path, document: Row) -> list[Entry]:
    results, outputs = document["results"], document.get("outputs") or {}
    strangers = [key for key in outputs if key not in results]
    if strangers:
        raise DataError(
            f"{path}: 'outputs' has {len(strangers)} ids that 'results' lacks, as {strangers[0]!r}"
        )
    return [
        Entry(f"id {key}", key, outputs.get(key), choice=_index(path, f"id {key}", value))
        for key, value in results.items()
    ]


def _columns(path: Path, rows: Sequence[tuple[str, Row]], columns: Columns) -> list[Entry]:
    """Read rows by the columns named, or by the usual names in the first row."""
    if not rows:
        return []
    names = list(rows[0][1])
    scored = {"choice", "scores"}.intersection(names)
    id_field = columns.id or _one(path, "id", names, _IDS)
    optional = bool(scored) and not columns.answer
    answer = columns.answer or _one(path, "answer", names, _ANSWERS, optional)
    prompt = columns.prompt or next((name for name in _PROMPTS if name in names), None)
    entries = []
    for where, row in rows:
        for name in (id_field, answer, columns.prompt):
            if name is not None and name not in row:
                raise DataError(f"{path}, {where}: no field '{name}'; it has {', '.join(row)}")
        entries.append(
            Entry(
                where,
                _identity(path, where, row[id_field]),
                _text(path, where, row, answer) if answer else None,
                _index(path, where, row["choice"]) if row.get("choice") not in (None, "") else None,
                _scores(path, where, row["scores"]) if row.get("scores") else (),
                _asked(row, prompt) if prompt else "",
            )
        )
    return entries


def _one(
    path: Path, what: str, names: list[str], usual: Sequence[str], optional: bool = False
) -> Any:
    found = [name for name in usual if name in names]
    if len(found) == 1 or (optional and not found):
        return found[0] if found else None
    reason = f"{' and '.join(found)} could all be" if found else "none of them is called like"
    raise UsageError(
        f"{path}: its columns are {', '.join(name or '(unnamed)' for name in names)}; {reason} the "
        f"{what}. Name it by --option {what}_field=COLUMN"
    )


def _identity(path: Path, where: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{path}, {where}: {value!r} is not an id (a text or a whole number)")
    return str(value)


def _text(path: Path, where: str, row: Row, name: str) -> str | None:
    if name not in row:
        raise DataError(f"{path}, {where}: no field '{name}'; it has {', '.join(row)}")
    value = row[name]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return json.dumps(value)
    kind = type(value).__name__
    raise DataError(f"{path}, {where}: the answer '{name}' is a {kind}, not a text")


def _asked(row: Row, name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _index(path: Path, where: str, value: Any) -> int:
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < -1:
        raise DataError(
            f"{path}, {where}: {value!r} is not the position of a choice (0 is the first, -1 none)"
        )
    return value


def _scores(path: Path, where: str, value: Any) -> tuple[float, ...]:
    if isinstance(value, str):
        try:
            value = _loads(value)
        except (ValueError, RecursionError):
            value = None
    numbers: list[Any] = value if isinstance(value, list) else [None]
    if not all(type(x) in (int, float) and math.isfinite(x) for x in numbers):
        raise DataError(f"{path}, {where}: 'scores' must be a list of finite numbers")
    return tuple(float(x) for x in numbers)


def _by_id(path: Path, entries: Sequence[Entry]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.id is None:
            continue
        if entry.id in found:
            raise DataError(
                f"{path}: the id '{entry.id}' comes twice ({found[entry.id].where} and "
                f"{entry.where}); each sample may have one answer"
            )
        found[entry.id] = entry
    return found
