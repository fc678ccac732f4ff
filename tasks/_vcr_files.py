"""VCR's files: the official val.jsonl, the film frames and their metadata; LSKD's text.

`vcr1annots.zip` has val.jsonl; `vcr1images.zip` has `<movie>/<frame>.jpg` and beside each frame a
.json with its boxes. VisualCOMET asks about the same frames and LSKD scores both in one way, so
tasks/visualcomet.py and tasks/_visualcomet_files.py use the frames and the text from here.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image, Source
from judges.regions import Box, drawn
from tasks._data import (
    expect_counts,
    file_sha256,
    image_finder,
    inside,
    read_json,
    read_jsonl,
    unique,
)

Tokens = tuple["str | tuple[int, ...]", ...]
"""Words, and tuples of object ids (from 0) that are mentioned together."""

PUBLISHED = {"questions": 26_534}
PLACES = ("val.jsonl", "vcr1annots/val.jsonl", "annotations/val.jsonl", "annots/val.jsonl")
FRAMES = ("vcr1images", "images/vcr1images", "../vcr1images", "../vcr/vcr1images")
"""Also beside the annotations' own folder, where vcr1annots.zip and VisualCOMET put theirs."""
LICENSE = "VCR dataset license (non-commercial research)"
_FIELDS = ("annot_id", "img_fn", "metadata_fn", "movie", "objects", "question", "answer_choices")
_LABELS = ("answer_label", "rationale_choices", "rationale_label")
_COUNT = 4
MAX_WORDS = 70
"""Of LSKD's text processor."""


@dataclass(frozen=True, slots=True)
class Row:
    """One question with four answers, and four rationales for the right answer."""

    id: str
    frame: str
    metadata: str
    movie: str
    objects: tuple[str, ...]
    """Class of each detection; its position is the object id."""
    question: Tokens
    answers: tuple[Tokens, ...]
    answer: int
    rationales: tuple[Tokens, ...]
    rationale: int


@dataclass(frozen=True)
class Rows:
    """The questions, where they came from, and the frames they are about."""

    rows: list[Row]
    source: Source
    frames: "Frames"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Meta:
    """What the metadata file of a frame says: boxes in its pixels, in the order of object ids."""

    boxes: tuple[Box, ...]
    width: float
    height: float


@dataclass
class Frames:
    """Film frames by name, as published and with regions drawn; each is made once."""

    root: Path
    _plain: dict[str, Image] = field(default_factory=dict)
    _drawn: dict[tuple[str, tuple[int, ...], tuple[int, ...]], Image] = field(default_factory=dict)
    _metas: dict[str, Meta | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look for the folders that may hold frames; there need be none."""
        self._find = image_finder(self.root, FRAMES)
        self._folders = [path for name in FRAMES if (path := self.root / name).is_dir()]

    def plain(self, name: str) -> Image:
        """Return a frame as it was published."""
        return self._find(name)

    def meta(self, name: str, objects: int | None = None) -> Meta | None:
        """Return the boxes of a frame; None where the data folder has no such file.

        Raises DataError when the file is damaged or has not one box per object.
        """
        if name not in self._metas:
            paths = [path for folder in self._folders if (path := inside(folder, name)).is_file()]
            self._metas[name] = _meta(paths[0]) if paths else None
        found = self._metas[name]
        if found is not None and objects is not None and len(found.boxes) != objects:
            raise DataError(
                f"{name}: {len(found.boxes)} boxes, but the questions name {objects} objects; "
                "annotations and images are of different versions"
            )
        return found

    def drawn(
        self, name: str, meta: Meta | None, ids: Sequence[int], slots: Sequence[int] | None = None
    ) -> Image:
        """Return a frame with the boxes of `ids` drawn in LSKD's colours when somebody looks.

        `slots` are the colours; without it the position in `ids`. The name of the picture says
        what is drawn, because names tell pictures apart.
        """
        ids = tuple(ids)
        slots = tuple(range(len(ids)) if slots is None else slots)
        plain = self.plain(name)
        if not ids:
            return plain
        key = name, ids, slots
        if key not in self._drawn:
            listed = ",".join(f"{i}:{slot}" for i, slot in zip(ids, slots, strict=True))
            self._drawn[key] = self._lazy(plain, f"{name}#lskd={listed}", meta, ids, slots)
        return self._drawn[key]

    def undrawable(self, name: str) -> Image:
        """Return a frame of which the boxes are not known: an error when somebody looks."""
        return self._lazy(self.plain(name), f"{name}#lskd", None, (), ())

    def _lazy(
        self,
        plain: Image,
        name: str,
        meta: Meta | None,
        ids: tuple[int, ...],
        slots: tuple[int, ...],
    ) -> Image:
        if plain.source is None:  # no frames at all: what is said then is said by Image
            return Image(name)
        return Image(name, partial(_render, plain, meta, ids, slots))


def _render(plain: Image, meta: Meta | None, ids: Sequence[int], slots: Sequence[int]) -> bytes:
    picture = plain.read()
    if meta is None:
        raise DataError(
            f"image {plain.name}: its regions are to be drawn, but the .json with their boxes is "
            "not beside it; vcr1images.zip has both"
        )
    return drawn(picture, [meta.boxes[i] for i in ids], "lskd", slots)


def _meta(path: Path) -> Meta:
    found = read_json(path, dict)
    try:
        boxes = tuple(_box(box) for box in found["boxes"])
        return Meta(boxes, float(found["width"]), float(found["height"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: expected boxes (left, top, right, bottom, score), width and height; "
            f"{type(error).__name__}: {error}"
        ) from error


def _box(numbers: Sequence[float]) -> Box:
    left, top, right, bottom = (float(number) for number in numbers[:4])
    if not (left <= right and top <= bottom):
        raise ValueError(f"the box {[left, top, right, bottom]} ends before it begins")
    return left, top, right, bottom


def head(context: str) -> tuple[str, int]:
    """Return LSKD's text for a context, "question: ... answer:", and how many words are left."""
    words = f"{context} Answer:".lower().split(" ")[:MAX_WORDS]
    return "question: " + " ".join(words), MAX_WORDS - len(words)


def cut(text: str, left: int) -> str:
    """Return the first `left` words of a text; the very same text where it has no more."""
    return text if text.count(" ") < left else " ".join(text.split(" ")[:left])


def processed(context: str, choices: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return LSKD's text for context and choices: "question: ... answer:" and what follows.

    Lower case, no space at the end, at most 70 words of context and choice together (a choice is
    cut, down to nothing where the context is that long); punctuation stays.
    """
    prompt, left = head(context)
    return prompt, tuple(cut(choice.lower().rstrip(" "), left) for choice in choices)


def root_of(data: str | None, task: str, what: str) -> Path:
    """Return the file or folder with the data of a task that no hub has.

    `what` says what should be there. Raises DataError when nothing was named or it does not exist.
    """
    if data is None:
        home = os.environ.get("SIGHTLINE_DATA")
        if home is None or not (Path(home) / task).exists():
            raise DataError(
                f"{task}: no data was named. Give --data FOLDER with {what}, or set SIGHTLINE_DATA "
                f"to a folder that has a '{task}' folder in it"
            )
        data = str(Path(home) / task)
    if data.startswith("hf:"):
        raise DataError(f"{task}: {data} cannot be used; no hub has {what}. Give a folder of them")
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"{task}: there is no file or folder {path}")
    return path


def load(data: str | None) -> Rows:
    """Read the validation questions of a folder or a .jsonl file in the official format.

    Raises DataError for files that are not what they claim to be, and for a set that could be the
    published one but has another number of questions.
    """
    root = root_of(data, "vcr", "val.jsonl of vcr1annots.zip and the folder vcr1images")
    path = _file(root)
    folder = path.parent if root.is_file() else root
    rows = [_row(path, line, found) for line, found in read_jsonl(path, need=_FIELDS)]
    published = len(rows) >= PUBLISHED["questions"] / 2
    notes: list[str] = []
    if published:
        expect_counts(f"VCR in {path}", PUBLISHED, {"questions": len(rows)})
    else:
        notes.append(
            f"a part of the validation set or a set of its own ({len(rows):,} questions, published "
            f"are {PUBLISHED['questions']:,}): not comparable with published numbers"
        )
        rows, repeats = _apart(rows)
        if repeats:
            notes.append(
                f"{repeats} rows repeat an annot_id; the second of an id is called '<annot_id>#2'"
            )
    unique((row.id for row in rows), f"VCR in {path}")
    source = Source(
        str(root), "val" if published else "", "val", LICENSE, {path.name: file_sha256(path)}
    )
    return Rows(rows, source, Frames(folder), tuple(notes))


def _apart(rows: list[Row]) -> tuple[list[Row], int]:
    """Number the rows that repeat an id (sets made from edited questions have such)."""
    seen: Counter[str] = Counter()
    out = []
    for row in rows:
        seen[row.id] += 1
        out.append(replace(row, id=f"{row.id}#{seen[row.id]}") if seen[row.id] > 1 else row)
    return out, len(rows) - len(seen)


def _file(root: Path) -> Path:
    if root.is_file():
        return root
    found = next((path for name in PLACES if (path := root / name).is_file()), None)
    if found is not None:
        return found
    others = sorted(str(path.relative_to(root)) for path in root.glob("**/*.jsonl"))[:5]
    hint = f". It has {', '.join(others)}: name one of them with --data" if others else ""
    raise DataError(
        f"{root}: no VCR questions. Expected val.jsonl (vcr1annots.zip of visualcommonsense.com), "
        f"also in vcr1annots/, with vcr1images/ beside it{hint}"
    )


def _row(path: Path, line: int, row: Mapping[str, Any]) -> Row:
    where = f"{path}, line {line}"
    missing = [name for name in _LABELS if name not in row]
    if missing:
        raise DataError(f"{where}: no {', '.join(missing)}; the test split has no labels, use val")
    objects = row["objects"]
    if not isinstance(objects, list) or not all(isinstance(name, str) for name in objects):
        raise DataError(f"{where}: 'objects' is no list of class names")
    for name in ("annot_id", "img_fn", "metadata_fn", "movie"):
        if not isinstance(row[name], str) or not row[name]:
            raise DataError(f"{where}: {name} is {row[name]!r}, expected a name")
    for name in ("answer_label", "rationale_label"):
        if row[name] not in range(_COUNT) or isinstance(row[name], bool):
            raise DataError(f"{where}: {name} is {row[name]!r}, expected 0 to {_COUNT - 1}")
    read = partial(_tokens, where, len(objects))
    choices = {name: row[name] for name in ("answer_choices", "rationale_choices")}
    for name, listed in choices.items():
        if not isinstance(listed, list) or len(listed) != _COUNT:
            raise DataError(f"{where}: {name} is not a list of {_COUNT}")
    return Row(
        row["annot_id"],
        row["img_fn"],
        row["metadata_fn"],
        row["movie"],
        tuple(objects),
        read("question", row["question"]),
        tuple(read("answer_choices", c) for c in choices["answer_choices"]),
        row["answer_label"],
        tuple(read("rationale_choices", c) for c in choices["rationale_choices"]),
        row["rationale_label"],
    )


def _tokens(where: str, objects: int, name: str, tokens: Any) -> Tokens:
    """Check a token list: words, and lists of ids of objects that there are."""
    if not isinstance(tokens, list):
        raise DataError(
            f"{where}: {name} is a {type(tokens).__name__}, expected a list of words and id lists "
            "(the fields called *_orig count objects from 1 and are not used)"
        )
    out: list[str | tuple[int, ...]] = []
    for token in tokens:
        if isinstance(token, str):
            out.append(token)
            continue
        ids: list[Any] = token if isinstance(token, list) else []
        if not ids or not all(type(i) is int and 0 <= i < objects for i in ids):
            raise DataError(
                f"{where}: {name} has {token!r}, expected a word or ids of its {objects} objects "
                "(0 is the first)"
            )
        out.append(tuple(ids))
    return tuple(out)
