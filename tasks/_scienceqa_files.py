"""ScienceQA's files: the official problems.json, lmms-lab/ScienceQA tables, or LLaVA's test file.

All three become the same problems; what a layout does not carry is None. A test set that could be
the published one is held against its published counts. Used by tasks/scienceqa.py alone.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image, Source
from judges.choice import LETTERS, lettered
from tasks._data import (
    data_folder,
    expect_counts,
    file_sha256,
    image_finder,
    read_json,
    unique,
)
from tasks._hub import Table, fetch, find_tables

SPLITS_SHA256 = "85c7820b9f136e57"
PUBLISHED = {
    "questions": 4_241,
    **{"NAT": 2_252, "SOC": 889, "LAN": 1_100, "TXT": 2_046, "IMG": 2_017, "NO": 1_435},
    **{"G1-6": 2_724, "G7-12": 1_517},
}
SUBJECTS = {"natural science": "NAT", "social science": "SOC", "language science": "LAN"}
_GRADE = re.compile(r"grade(\d{1,2})")
_OPTION = re.compile(r"\n([A-E])\. ")
_LICENSE = "CC BY-NC-SA 4.0"


@dataclass(frozen=True, slots=True)
class Problem:
    """One question; None where the files do not tell."""

    id: str
    choices: tuple[str, ...]
    answer: int
    """Position of the gold option."""
    image: Image | None
    hint: str | None
    question: str | None
    stem: str = ""
    """Context and question as LLaVA's file has them; empty in other layouts."""
    subject: str | None = None
    grade: str | None = None
    topic: str | None = None

    @property
    def has_text(self) -> bool:
        """Whether there is a context in words (TXT)."""
        return self.stem.startswith("Context: ") if self.hint is None else bool(self.hint)


@dataclass(frozen=True)
class Problems:
    """The problems of the test split and where they came from."""

    rows: list[Problem]
    source: Source
    notes: list[str] = field(default_factory=list)
    official_ids: bool = True


def load(data: str | None, part: str) -> Problems:
    """Read the test split at `data`; `part` is "", "img" or "text".

    Raises DataError when nothing is recognised, a file is damaged or partial, an id comes twice,
    or the published split has other counts than were published.
    """
    table = "ScienceQA-IMG" if part == "img" else "ScienceQA-FULL"
    if data is not None and data.startswith("hf:"):
        root, address = fetch(data, config=table), data
    else:
        root = data_folder(data, "scienceqa", hub="lmms-lab/ScienceQA")
        address = str(root)
    root = root.parent if root.name in ("problems.json", "llava_test_CQM-A.json") else root
    found = _official(root, address) or _tables(root, address, table) or _llava(root, address)
    if found is None:
        raise DataError(
            f"{root}: no ScienceQA problems. Expected problems.json and pid_splits.json (github "
            "lupantech/ScienceQA, data/scienceqa), the tables of lmms-lab/ScienceQA, or LLaVA's "
            "llava_test_CQM-A.json"
        )
    unique((problem.id for problem in found.rows), f"scienceqa in {address}")
    _check(found, images_only=all(p.image for p in found.rows))
    kept = [p for p in found.rows if not part or (p.image is not None) == (part == "img")]
    unique((problem.id for problem in kept), f"scienceqa/{part} in {address}" if part else address)
    return Problems(kept, found.source, found.notes, found.official_ids)


def classes(problem: Problem) -> dict[str, Any]:
    """Return the columns that the official script breaks results down by."""
    columns: dict[str, Any] = {
        "text": problem.has_text,
        "image": problem.image is not None,
        "neither": not problem.has_text and problem.image is None,
    }
    known = {"subject": problem.subject, "grade": problem.grade, "topic": problem.topic}
    return columns | {name: value for name, value in known.items() if value is not None}


def _check(found: Problems, images_only: bool) -> None:
    """Hold a split that could be the published one against its counts.

    Less than half of the published questions are a set of its own, not a damaged download: it is
    admitted, and the record says that it is not the published split.
    """
    size = PUBLISHED["IMG"] if images_only else PUBLISHED["questions"]
    if len(found.rows) < size / 2:
        found.notes.append(
            f"a part of the test split or a set of its own ({len(found.rows):,} questions, "
            f"published are {size:,}): not comparable with published numbers"
        )
        return
    counts = Counter(name for problem in found.rows for name in _counted(problem))
    known = {name: n for name, n in PUBLISHED.items() if name in counts}
    if images_only:  # subjects and grades of this subset were not published
        known = {"IMG": PUBLISHED["IMG"]}
    expect_counts(f"scienceqa in {found.source.address}", known, counts)


def _counted(problem: Problem) -> Iterator[str]:
    columns = classes(problem)
    yield "questions"
    for name, column in (("TXT", "text"), ("IMG", "image"), ("NO", "neither")):
        if columns[column]:
            yield name
    yield from (columns[name] for name in ("subject", "grade") if name in columns)


def _official(root: Path, address: str) -> Problems | None:
    path = root / "problems.json"
    if not path.is_file():
        return None
    problems: dict[str, Any] = read_json(path, dict)
    test, hashes, notes = _split_ids(root)
    if test is None:
        test = [id for id, row in problems.items() if row.get("split") == "test"]
        notes.append("no pid_splits.json: the test split is the one problems.json names")
    absent = [id for id in test if id not in problems]
    if absent:
        raise DataError(
            f"{path}: {len(absent):,} of the {len(test):,} test problems are not in it, e.g. "
            f"{', '.join(absent[:3])}; the file is partial"
        )
    image = image_finder(root, ("images/test", "test", "images"))
    rows = [_problem(f"{path}, problem '{id}'", id, problems[id], image) for id in test]
    hashes = {path.name: file_sha256(path), **hashes}
    return Problems(rows, Source(address, _version(hashes), "test", _LICENSE, hashes), notes)


def _split_ids(root: Path) -> tuple[list[str] | None, dict[str, str], list[str]]:
    path = root / "pid_splits.json"
    if not path.is_file():
        return None, {}, []
    splits = read_json(path, dict)
    if not isinstance(splits.get("test"), list):
        raise DataError(f"{path}: no list 'test' in it; it has {', '.join(splits)}")
    return [str(id) for id in splits["test"]], {path.name: file_sha256(path)}, []


def _version(hashes: Mapping[str, str]) -> str:
    known = hashes.get("pid_splits.json", "").startswith(SPLITS_SHA256)
    return f"pid_splits {SPLITS_SHA256}" if known else "custom"


def _problem(
    where: str, id: str, row: Mapping[str, Any], image: Callable[[str], Image] | None
) -> Problem:
    """Make a problem of an official row; `image` finds images (None: the row is of a table)."""
    try:
        question, choices, answer = row["question"], tuple(row["choices"]), row["answer"]
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: no field {error} in it") from error
    if not isinstance(answer, int) or not 0 <= answer < len(choices) <= len(LETTERS):
        raise DataError(f"{where}: the answer {answer!r} is none of its {len(choices)} choices")
    grade = _GRADE.fullmatch(str(row.get("grade")))
    return Problem(
        id=id,
        choices=choices,
        answer=answer,
        image=image(f"{id}/{row['image']}") if image and row.get("image") else None,
        hint=row.get("hint") or "",
        question=question,
        subject=SUBJECTS.get(str(row.get("subject"))),
        grade=("G1-6" if int(grade[1]) <= 6 else "G7-12") if grade else None,
        topic=row.get("topic") or None,
    )


def _tables(root: Path, address: str, config: str) -> Problems | None:
    from dataclasses import replace

    files = find_tables(root, config=config, split="test") if root.is_dir() else []
    if not files and root.is_dir() and config == "ScienceQA-IMG":
        files = find_tables(root, config="ScienceQA-FULL", split="test")
    if not files:
        if root.is_dir() and find_tables(root, config="ScienceQA-IMG", split="test"):
            raise DataError(
                f"{root}: only ScienceQA-IMG is here, the questions with an image; ask for "
                "scienceqa/img, or add ScienceQA-FULL"
            )
        return None
    table = Table(files)
    prefix = "IMG" if "ScienceQA-IMG" in files[0].parts else "FULL"
    rows = []
    for at, row in table.rows():
        problem = _problem(f"{files[0]}, row {at}", f"{prefix}-{at}", row, None)
        rows.append(replace(problem, image=table.image(at, "image", f"{prefix}-{at}.png")))
    hashes = {path.name: file_sha256(path) for path in files}
    source = Source(address, f"lmms-lab/ScienceQA {prefix}", "test", _LICENSE, hashes)
    note = "ids are row numbers of the tables, which carry no official ids"
    return Problems(rows, source, [note], official_ids=False)


def _llava(root: Path, address: str) -> Problems | None:
    path = root / "llava_test_CQM-A.json"
    if not path.is_file():
        return None
    pairs = _pairs(root / "test_QCM-A.json")
    image = image_finder(root, ("images/test", "test", "images"))
    rows = []
    for number, row in enumerate(read_json(path, list), 1):
        where = f"{path}, entry {number}"
        try:
            id, asked = str(row["id"]), row["conversations"][0]["value"]
            letter = row["conversations"][1]["value"]
        except (KeyError, IndexError, TypeError) as error:
            raise DataError(
                f"{where}: not an entry of LLaVA's question file ({error!r})"
            ) from error
        stem, choices = _cut(where, asked.replace("<image>", "", 1).strip("\n"))
        if letter not in tuple(LETTERS[: len(choices)]):
            raise DataError(f"{where}: the answer {letter!r} is none of its {len(choices)} options")
        hint, question = _halves(where, pairs, id, stem, choices, letter) if pairs else (None, None)
        picture = image(row["image"]) if "image" in row else None
        rows.append(Problem(id, choices, LETTERS.index(letter), picture, hint, question, stem))
    test, hashes, _ = _split_ids(root)
    if test is not None and set(test) != {row.id for row in rows}:
        raise DataError(f"{path}: its {len(rows):,} ids are not the test ids of pid_splits.json")
    used = [path, root / "test_QCM-A.json"] if pairs else [path]
    hashes = {**{p.name: file_sha256(p) for p in used}, **hashes}
    notes = ["no NAT, SOC, LAN, G1-6, G7-12, topic: LLaVA's file carries no subjects and grades"]
    return Problems(rows, Source(address, _version(hashes), "test", _LICENSE, hashes), notes)


def _cut(where: str, asked: str) -> tuple[str, tuple[str, ...]]:
    """Return what stands before the last run of options A, B, ..., and the options."""
    marks = list(_OPTION.finditer(asked))
    first = max((i for i, mark in enumerate(marks) if mark[1] == "A"), default=None)
    run = marks[first:] if first is not None else []
    if not run or [mark[1] for mark in run] != list(LETTERS[: len(run)]):
        raise DataError(f"{where}: no options 'A. ...', 'B. ...' at its end: {asked[-80:]!r}")
    ends = [*(mark.start() for mark in run[1:]), len(asked)]
    options = tuple(asked[mark.end() : end] for mark, end in zip(run, ends, strict=True))
    return asked[: run[0].start()], options


def _pairs(path: Path) -> dict[str, tuple[str, str]]:
    """Return {id: (input, caption)} of LLaVA's other test file, {} where it is not there."""
    if not path.is_file():
        return {}
    rows = read_json(path, dict).get("annotations")
    try:
        return {str(row["id"]): (row["input"], row["caption"]) for row in rows}
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not LLaVA's test_QCM-A.json ({error!r})") from error


def _halves(
    where: str,
    pairs: Mapping[str, tuple[str, str]],
    id: str,
    stem: str,
    choices: tuple[str, ...],
    letter: str,
) -> tuple[str, str]:
    """Return (hint, question) of a stem, told apart by the file that keeps them apart."""
    asked, answer = pairs.get(id, ("", ""))
    options = " ".join(lettered(choices, "(", ") "))
    head = asked.removesuffix(f"\nOptions: {options}")
    question, _, hint = head.partition("\nContext: ")
    hint = "" if hint == "N/A" else hint
    again = f"Context: {hint}\n{question}" if hint else question
    if head == asked or again != stem or answer != f"The answer is {letter}.":
        raise DataError(f"{where}: test_QCM-A.json asks or answers '{id}' differently")
    return hint, question
