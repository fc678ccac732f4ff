"""VLMEvalKit: prediction tables `<model>_<dataset>.xlsx` (or tsv, csv, json) with score files.

A table has the data set's columns (index, question, answer, A to D, category) and prediction. Its
evaluation writes `..._auxmatch` (extracted, score) or `..._<judge>_result` (hit, log) beside it and
the numbers in `..._score.csv` or `..._acc.csv`. Sources: vlmeval/inference.py, smp/file.py and
dataset/image_{yorn,mcq,vqa}.py. Pickles beside them are never opened.

Imports the standard library, harness.errors and the nouns of a log; openpyxl for xlsx.
"""

import csv
import io
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import DataError, MissingExtra
from harness.importers._log import (
    Known,
    Log,
    Logged,
    Row,
    Theirs,
    below,
    digest,
    ids_of,
    loads,
    number,
    one_file,
    read_bytes,
    text,
    whole,
)

TITLE = "vlmevalkit"
FAILED = "Failed to obtain answer"
"""How the text begins that stands for an answer that could not be had."""
TABLES = (".xlsx", ".tsv", ".csv", ".json")
_EXCEL_LIMIT = 32_767
"""Characters that a cell holds; longer answers are cut without a word."""
_MEAN = {"Overall": "accuracy"}
TASKS: Mapping[str, Known] = {
    "POPE": Known(
        "pope",
        "pope/vlmeval",
        {
            "Overall.acc": "accuracy",
            "Overall.precision": "precision",
            "Overall.recall": "recall",
            "Overall.Overall": "f1",
        },
        unit=1.0,
        notes={"Overall.Overall": "its headline of POPE is the F1 of all splits together"},
    ),
    "GQA_TestDev_Balanced": Known("gqa", "gqa/vlmeval", _MEAN, unit=1.0),
    "ScienceQA_TEST": Known("scienceqa/img", "", _MEAN),
    "MME": Known("mme", "", {"perception": "perception", "reasoning": "cognition"}, unit=1.0),
    "MMBench_DEV_EN": Known("mmbench", "", {"Overall": "circular"}),
    "MMBench_DEV_CN": Known("mmbench/cn", "", {"Overall": "circular"}),
    "SEEDBench_IMG": Known("seed_bench", "", _MEAN),
    "A-OKVQA": Known("aokvqa/official", "", _MEAN),
    "TextVQA_VAL": Known("textvqa", "", _MEAN, unit=1.0),
    "VizWiz": Known("vizwiz", "", _MEAN, unit=1.0),
    "MMVet": Known("mm_vet"),
    "LLaVABench": Known("llava_bench", notes={"Overall": "failed reviews count as -1 there"}),
}
_SCORES = re.compile(
    r"_(auxmatch|(?:exact_matching|openai|(?:chat)?gpt[^_]*)(?:_result)?|result|score|acc)$"
)
"""Endings of what its evaluation writes beside a prediction table."""


def sniff(path: Path) -> bool:
    """Whether a file or folder holds its prediction tables."""
    if path.is_dir():
        return bool(_predictions(path))
    if path.suffix.lower() not in TABLES:
        return False
    try:
        head = next(iter(_table(path)), {})
    except (DataError, MissingExtra):
        return path.suffix.lower() == ".xlsx" and zipfile.is_zipfile(path)
    return {"index", "prediction"} <= head.keys()


def _predictions(path: Path) -> list[Path]:
    found = below(path, *(f"*{suffix}" for suffix in TABLES))
    return [file for file in found if not _SCORES.search(file.stem) and sniff(file)]


def read(path: Path) -> Log:
    """Read a prediction table and the score files beside it. Raises DataError for damage."""
    if path.is_dir():
        path = one_file(path, _predictions(path), "prediction table (index, prediction)")
    table = list(_table(path))
    if not table or not {"index", "prediction"} <= table[0].keys():
        names = ", ".join(table[0]) if table else "no rows"
        raise DataError(f"{path}: a prediction table has 'index' and 'prediction', found {names}")
    stem = _SCORES.sub("", path.stem)
    model, task = _named(stem)
    files = {path.name: digest(path)}
    scored = _scored(path, stem, table, files)
    cut = sum(len(text(row["prediction"])) >= _EXCEL_LIMIT for row in table)
    empty = sum(row["prediction"] in (None, "") for row in table)
    notes = ["the table does not say how answers were produced: the task's own settings are shown"]
    if cut:
        notes.append(f"{cut:,} answers are as long as a cell can be: the table cut them")
    if empty:
        notes.append(
            f"{empty:,} cells are empty: an empty reply and one that the table dropped (text that "
            "looks like an address) are the same there, so they are missing here"
        )
    if not scored:
        notes.append("no score file beside the table: its own scores are unknown")
    return Log(
        tool=TITLE,
        path=path,
        files=files,
        rows=[
            _row(f"{path.name}, row {at}", at, row, scored.get(_key(row["index"]), {}))
            for at, row in enumerate(table)
        ],
        task=task,
        model=model,
        aggregates=_aggregates(path, stem, files),
        notes=notes,
    )


def _named(stem: str) -> tuple[str, str]:
    """Return model and data set of `<model>_<dataset>`; both names may hold underscores."""
    for name in sorted(TASKS, key=len, reverse=True):
        if stem.endswith(f"_{name}"):
            return stem.removesuffix(f"_{name}"), name
    model, _, task = stem.rpartition("_")
    return model, task


def _row(where: str, at: int, row: Row, scored: Row) -> Logged:
    said = row["prediction"]
    words = None if said in (None, "") else str(said)
    failure = words if words is not None and words.startswith(FAILED) else ""
    letters = [letter for letter in "ABCDEFGH" if row.get(letter) not in (None, "")]
    parts = tuple(part.strip() for part in text(row.get("category")).split(",") if part.strip())
    columns = ("score", "hit", "extracted", "res", "log")
    metrics = {name: scored[name] for name in columns if scored.get(name) is not None}
    value = scored.get("score", scored.get("hit"))
    read = scored.get("extracted", scored.get("res"))
    return Logged(
        where=where,
        text=None if failure else words,
        failure=failure,
        options=tuple(str(row[letter]) for letter in letters),
        question=_said(row.get("question")),
        image=_said(row.get("image_path")),
        target=None if row.get("answer") is None else str(row["answer"]),
        ids={name: _key(value) for name, value in ids_of({k: _plain(v) for k, v in row.items()})},
        position=at,
        parts=parts,
        theirs=Theirs(_truth(value), None if read is None else str(read), metrics),
    )


def _said(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    """Return whole numbers as such: a table may hold 7 as 7.0."""
    found = whole(value) if isinstance(value, float) else None
    return value if found is None else found


def _key(value: Any) -> str:
    return str(_plain(value))


def _truth(value: Any) -> float | None:
    """Return a score that may be written as a number or a truth value."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return float(value.lower() == "true")
    return number(value)


def _scored(path: Path, stem: str, table: list[Row], files: dict[str, str]) -> dict[str, Row]:
    """Return the rows of the file with the tool's own score per sample, by index."""
    if {"score", "hit"} & table[0].keys():
        return {_key(row["index"]): row for row in table}
    for beside in sorted(path.parent.glob(f"{_escaped(stem)}_*")):
        if beside.suffix.lower() not in TABLES or beside == path:
            continue
        try:
            rows = list(_table(beside))
        except DataError:
            continue  # a table of numbers, or of another layout: not the one that is looked for
        if rows and "index" in rows[0] and {"score", "hit"} & rows[0].keys():
            files[beside.name] = digest(beside)
            return {_key(row["index"]): row for row in rows}
    return {}


def _escaped(stem: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", stem)


def _aggregates(path: Path, stem: str, files: dict[str, str]) -> dict[str, float]:
    """Return the numbers of `_score.csv` or `_acc.csv`: "Overall.acc" of a row named Overall."""
    for ending in ("_score.csv", "_acc.csv"):
        beside = path.with_name(f"{stem}{ending}")
        if not beside.exists():
            continue
        files[beside.name] = digest(beside)
        numbers = {}
        for row in _table(beside):
            name = text(row.get("split"))
            name = "" if name in ("", "none") else f"{name}."
            for column, value in row.items():
                if (read := number(value)) is not None:
                    numbers[name + column] = read
        return numbers
    return {}


def _table(path: Path) -> Iterator[Row]:
    """Yield the rows of a table. Raises DataError, or MissingExtra for xlsx without openpyxl."""
    kind = path.suffix.lower()
    if kind == ".xlsx":
        return _xlsx(path)
    if kind == ".json":
        found = loads(path, read_bytes(path))
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise DataError(f"{path}: expected a list of rows")
        return iter(found)
    return _separated(path, "," if kind == ".csv" else "\t")


def _separated(path: Path, delimiter: str) -> Iterator[Row]:
    before = csv.field_size_limit(sys.maxsize)  # process-wide, so it is put back
    try:
        said = read_bytes(path).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(said, newline=""), delimiter=delimiter, strict=True)
        return _named_rows(path, [tuple(row) for row in reader if row])
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from error
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: damaged table ({error})") from error
    finally:
        csv.field_size_limit(before)


def _xlsx(path: Path) -> Iterator[Row]:
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise MissingExtra(
            "openpyxl", f"{path}: reading xlsx", "pip install -e '.[import]', or save it as tsv"
        ) from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, InvalidFileException) as error:
        raise DataError(f"{path}: cannot be read as xlsx: {error}") from error
    try:
        return _named_rows(path, [tuple(row) for row in book.worksheets[0].values])
    finally:
        book.close()


def _named_rows(path: Path, table: Sequence[tuple[Any, ...]]) -> Iterator[Row]:
    header = [str(name) if name is not None else "" for name in table[0]] if table else []
    if len(set(header)) < len(header):
        raise DataError(f"{path}: a column name comes twice: {', '.join(header)}")
    for number_, cells in enumerate(table[1:], 2):
        if len(cells) != len(header):
            raise DataError(
                f"{path}, row {number_}: {len(cells)} columns, the header has {len(header)}"
            )
    return (dict(zip(header, cells, strict=True)) for cells in table[1:])
