"""Questions about videos in the layouts that people have, and frames as folders of pictures.

`<split>_q.json` with `<split>_a.json` (ActivityNet-QA, and the packages of Video-ChatGPT and its
successors), `<split>_qa.json` (MSVD-QA, MSRVTT-QA), `Test_frameqa_question.csv` (TGIF-QA). Videos
are not decoded: `frames/<video>/` holds the frames that the model shall see, in the order of their
names. Used by tasks/video_qa.py alone.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image
from tasks._data import inside, read_json, read_text

PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Set:
    """One of the four benchmarks and the split of it that is scored."""

    title: str
    split: str
    questions: int
    video: str = "{}"
    """Name of a video from the number that `<split>_qa.json` has."""


SETS = {
    "activitynet": Set("ActivityNet-QA", "test", 8_000),
    "msvd": Set("MSVD-QA", "val", 6_415, "vid{}"),
    "msrvtt": Set("MSRVTT-QA", "val", 12_278, "video{}"),
    "tgif": Set("TGIF-QA FrameQA", "test", 13_691),
}
CSV = ("Test_frameqa_question.csv", "test_frameqa_question.csv")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question; `kind` is the annotators' type, where there is one."""

    id: str
    video: str
    question: str
    answer: str
    kind: str | None = None


def read(root: Path, of: Set) -> tuple[list[Asked], list[Path]]:
    """Return the questions of a set's split and the files that hold them.

    Raises DataError when there are none, or a file is damaged.
    """
    split = of.split
    pair = [root / f"{split}_q.json", root / f"{split}_a.json"]
    if all(path.is_file() for path in pair):
        return list(_pairs(*pair)), pair
    whole = root / f"{split}_qa.json"
    if whole.is_file():
        return list(_whole(whole, of.video)), [whole]
    table = next((root / name for name in CSV if (root / name).is_file()), None)
    if table is not None and of is SETS["tgif"]:
        return list(_table(table)), [table]
    raise DataError(
        f"{root}: no questions of {of.title}. Expected {split}_q.json and {split}_a.json, or "
        f"{split}_qa.json" + (f", or {CSV[0]}" if of is SETS["tgif"] else "")
    )


def frame_finder(root: Path) -> Callable[[str], tuple[Image, ...]]:
    """Return a function from a video's name to its frames.

    Without a folder `frames` it gives one image without bytes: recorded answers can be judged, and
    a model that looks is told what is missing.
    """
    folder = root / "frames"
    known: dict[str, tuple[Image, ...]] = {}

    def find(video: str) -> tuple[Image, ...]:
        if video not in known:
            known[video] = _frames(folder, video)
        return known[video]

    return find


def _frames(folder: Path, video: str) -> tuple[Image, ...]:
    if not folder.is_dir():
        return (Image(video),)
    place = inside(folder, video)
    if not place.is_dir():
        return (Image(video, place),)  # reading it says what is missing
    paths = sorted(path for path in place.iterdir() if path.suffix.lower() in PICTURES)
    return tuple(Image(f"{video}/{path.name}", path) for path in paths) or (Image(video, place),)


def _pairs(questions: Path, answers: Path) -> Iterator[Asked]:
    """Join by question_id; the official script joins by position, in files of the same order."""
    gold = {
        _text(answers, at, row, "question_id"): row
        for at, row in enumerate(read_json(answers, list), 1)
    }
    for at, row in enumerate(read_json(questions, list), 1):
        name = _text(questions, at, row, "question_id")
        if name not in gold:
            raise DataError(f"{answers}: no answer to the question '{name}' of {questions.name}")
        kind = gold[name].get("type")
        yield Asked(
            name,
            _text(questions, at, row, "video_name"),
            _text(questions, at, row, "question"),
            _text(answers, at, gold[name], "answer"),
            None if kind is None else str(kind),
        )


def _whole(path: Path, video: str) -> Iterator[Asked]:
    for at, row in enumerate(read_json(path, list), 1):
        yield Asked(
            _text(path, at, row, "id"),
            video.replace("{}", _text(path, at, row, "video_id")),
            _text(path, at, row, "question"),
            _text(path, at, row, "answer"),
        )


def _table(path: Path) -> Iterator[Asked]:
    """Read TGIF-QA's tab-separated lines; they carry no ids, so their number is the id."""
    lines = read_text(path).splitlines()
    for at, row in enumerate(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
        names = ("gif_name", "question", "answer")
        video, question, answer = (_text(path, at + 1, row, name) for name in names)
        kind = row.get("type")
        yield Asked(str(at), video, question, answer, kind or None)


def _text(path: Path, at: int, row: Any, field: str) -> str:
    value = row.get(field) if isinstance(row, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{path}, entry {at}: no '{field}' (a text or a number) in it")
    return str(value)
