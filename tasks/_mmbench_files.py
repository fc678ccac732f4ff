"""MMBench's files: the published .tsv with pictures in base64, or the tables of lmms-lab/MMBench.

A question may stand in several rows, one per rotation of its options; the index of a rotated row
is that of the question plus a multiple of 1,000,000. Used by tasks/mmbench.py alone.
"""

import binascii
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image, Source
from judges.choice import LETTERS
from tasks._data import data_folder, file_sha256, unique
from tasks._hub import Table, fetch, find_tables

STEP = 1_000_000
PUBLISHED = 1_164
_LICENSE = "Apache-2.0"
_REFERENCE = 64
"""Shorter image cells hold the index of the row that has the picture."""


@dataclass(frozen=True, slots=True)
class Row:
    """One question with its options in one order."""

    index: int
    question: str
    hint: str
    options: tuple[str, ...]
    gold: int
    image: Image
    groups: Mapping[str, str]

    @property
    def base(self) -> int:
        """The index of the question."""
        return self.index % STEP

    @property
    def rotation(self) -> int:
        """Which rotation it is; 0 is the question as published."""
        return self.index // STEP


@dataclass
class Rows:
    """All rows and where they came from."""

    rows: list[Row]
    source: Source
    notes: list[str] = field(default_factory=list)


def load(data: str | None, language: str) -> Rows:
    """Read the rows at `data`; `language` is "en" or "cn" and picks the file of a folder.

    Raises DataError when nothing is recognised, a row has no answer, options or picture, or the
    published dev split has another number of questions than was published.
    """
    if data is not None and data.startswith("hf:"):
        root, address = fetch(data, config=language), data
    else:
        root = data_folder(data, "mmbench", hub="lmms-lab/MMBench")
        address = str(root)
    found = _tsv(root, address, language) or _tables(root, address, language)
    if found is None:
        raise DataError(
            f"{root}: no MMBench questions ({language}). Expected mmbench_dev_20230712.tsv, "
            "mmbench_dev_cn_20231003.tsv (OpenCompass), or the tables of lmms-lab/MMBench"
        )
    unique((str(row.index) for row in found.rows), f"mmbench in {address}")
    _check(found, address)
    return found


def rotated(row: Row) -> Iterator[Row]:
    """Yield every rotation of a question's options, itself first."""
    for turn in range(len(row.options)):
        yield replace(
            row,
            index=row.base + turn * STEP,
            options=(*row.options[turn:], *row.options[:turn]),
            gold=(row.gold - turn) % len(row.options),
        )


def _check(found: Rows, address: str) -> None:
    bases = {row.base for row in found.rows}
    questions = len(bases)
    if alone := bases - {row.base for row in found.rows if row.rotation == 0}:
        raise DataError(
            f"mmbench in {address}: the question {min(alone)} is there in rotated rows only; the "
            "file is a part of another"
        )
    if questions == PUBLISHED:
        return
    if "2023" in found.source.version and "dev" in found.source.version:
        raise DataError(
            f"mmbench in {address}: not the published set; fetch {found.source.version} again\n"
            f"  questions  expected {PUBLISHED:,}  found {questions:,}   <-"
        )
    found.notes.append(
        f"{questions:,} questions; the dev split of published numbers has {PUBLISHED:,}: not "
        "comparable with them"
    )


def _tsv(root: Path, address: str, language: str) -> Rows | None:
    files = [root] if root.is_file() else sorted({*root.glob("*.tsv"), *root.glob("*/*.tsv")})
    if root.is_dir():
        files = [path for path in files if ("cn" in path.name.lower()) == (language == "cn")]
        files = [path for path in files if "dev" in path.name.lower()] or files
    if not files:
        return None
    if len(files) > 1:
        names = ", ".join(str(path.relative_to(root)) for path in files)
        raise DataError(f"{root}: several files could be meant ({names}); name one with --data")
    cells = _cells(files[0])
    pictures = _pictures(files[0], cells)
    rows = [
        _row(f"{files[0]}, row {at}", cell, pictures)
        for at, cell in enumerate(cells, 2)  # row 1 is the header
    ]
    hashes = {files[0].name: file_sha256(files[0])}
    return Rows(rows, Source(address, files[0].stem, language, _LICENSE, hashes))


def _cells(file: Path) -> list[dict[str, str]]:
    """Read the table with pandas, as the benchmark does; nothing is taken for a missing value."""
    import pandas as pd

    try:
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise DataError(f"{file}: not a tab-separated table ({error})") from error
    for name in ("index", "question", "image"):
        if name not in table.columns:
            raise DataError(f"{file}: no column '{name}'; it has {', '.join(table.columns)}")
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]


def _pictures(
    file: Path, cells: list[dict[str, str]]
) -> Callable[[str, Mapping[str, Any], int], Image]:
    """Return a function from a row to its picture; each distinct picture is kept once."""
    by_index = {cell["index"].strip(): cell["image"] for cell in cells}
    known: dict[str, Image] = {}

    def find(where: str, cell: Mapping[str, Any], index: int) -> Image:
        text = cell["image"]
        if len(text) <= _REFERENCE and text.strip().isdecimal():
            text = by_index.get(text.strip(), "")
        if len(text) <= _REFERENCE:
            raise DataError(f"{where}: no picture in base64, found {cell['image'][:20]!r}")
        name = sha256(text.encode()).hexdigest()[:16] + ".jpg"
        if name not in known:
            known[name] = Image(name, lambda: _decoded(where, text))
        return known[name]

    return find


def _decoded(where: str, text: str) -> bytes:
    try:
        return b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{where}: the picture is not base64 ({error})") from error


def _tables(root: Path, address: str, language: str) -> Rows | None:
    files = find_tables(root, config=language, split="dev") if root.is_dir() else []
    if not files:
        return None
    table = Table(files)

    def find(where: str, cell: Mapping[str, Any], index: int) -> Image:
        image = table.image(at, "image", f"{index % STEP}.jpg")
        if image is None:
            raise DataError(f"{where}: no picture")
        return image

    rows = []
    for at, cell in table.rows():
        rows.append(_row(f"{files[0]}, row {at}", cell, find))
    return Rows(rows, Source(address, f"lmms-lab/MMBench {language}", "dev", _LICENSE))


def _row(
    where: str, cell: Mapping[str, Any], picture: Callable[[str, Mapping[str, Any], int], Image]
) -> Row:
    text = {name: str(value) for name, value in cell.items() if value is not None}
    gold = text.get("answer", "").strip()
    if _absent(gold):
        raise DataError(
            f"{where}: no answer in it. Test answers are not public: the server of OpenCompass "
            "scores them; use the dev split"
        )
    if not text.get("index", "").strip().isdecimal():
        raise DataError(f"{where}: the index {text.get('index')!r} is not a whole number")
    options = []
    for letter in LETTERS[:4]:
        # as published "None" is no option, unless it is the right one
        if _absent(text.get(letter, "")) and not (letter == gold and text.get(letter)):
            break
        options.append(text[letter])
    if gold not in tuple(LETTERS[: len(options)]):
        raise DataError(f"{where}: the answer {gold[:20]!r} is none of its {len(options)} options")
    hint = text.get("hint", "")
    index = int(text["index"])
    groups = {name: text[name] for name in ("category", "l2-category") if text.get(name)}
    return Row(
        index=index,
        question=text.get("question", ""),
        hint="" if _absent(hint) else hint,
        options=tuple(options),
        gold=LETTERS.index(gold),
        image=picture(where, cell, index),
        groups=groups,
    )


def _absent(text: str) -> bool:
    return text.strip().lower() in ("", "nan", "none")
