"""The corpus of LSKD: question, answer and rationale about numbered regions, one triple a line.

    {"id", "image", "width", "height", "source", "split", "index", "region", "region_all",
     "references": [{"name", "boxes": [[x1, y1, x2, y2]], "obj_guess"}],
     "question", "answer", "rationale": [tokens], "style": "ids" | "descriptions",
     "provenance": {...}, "prediction": null | critic's score}

Tokens are words, marks and lists of region ids, as in the file that the authors released. Ids count
from 0, and so does the text: id 0 is written `[0]` (paper, Figure 5). A list of several ids is
written `[0] , [1]`. Boxes are pixels of the original picture. This module alone reads, writes and
checks such lines. May import harness.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal, cast

from harness.errors import DataError

Style = Literal["ids", "descriptions"]
STYLES: tuple[Style, ...] = ("ids", "descriptions")
PARTS = ("question", "answer", "rationale")
Token = str | tuple[int, ...]
"""A word or mark, or the ids of one mention."""
Tokens = tuple[Token, ...]
Box = tuple[float, float, float, float]

_GROUP = r"\[\s*[0-9]{1,6}(?:\s*,\s*[0-9]{1,6})*\s*\]"
_TOKEN = re.compile(
    rf"{_GROUP}(?:\s*,\s*{_GROUP})*"  # one mention: [0], [0, 1] or [0] , [1]
    r"|'(?:s|re|ve|ll|d|m|t)\b"
    r"|\w+(?:[-'\u2019]\w+)*"
    r"|\S",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[0-9]+")
_MENTION = re.compile(_GROUP)
_KNOWN = frozenset((
    "id", "image", "width", "height", "source", "split", "index", "region", "region_all",
    "references", "question", "answer", "rationale", "style", "provenance", "prediction",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reference:
    """One region of a picture."""

    name: str
    """Its id as a string."""
    boxes: tuple[Box, ...]
    """Left, top, right, bottom in pixels of the original picture."""
    obj_guess: str = ""
    """What a detector takes it for."""


@dataclass(frozen=True, slots=True)
class Triple:
    """One question with its answer and rationale."""

    id: str
    image: str
    """File of the picture, below the folder of pictures."""
    question: Tokens
    answer: Tokens
    rationale: Tokens
    region: tuple[int, ...] = ()
    """Ids that the triple is about, in order of first mention."""
    region_all: tuple[int, ...] = ()
    """Ids that the teacher could choose from."""
    references: tuple[Reference, ...] = ()
    width: int = 0
    """Of the original picture in pixels; 0: not known (the released file does not say)."""
    height: int = 0
    source: str = ""
    """Which pictures or which kind of prompt; retention is told by it."""
    split: str = "train"
    index: int | str = 0
    """Number of the triple among those of its picture and style."""
    style: Style = "ids"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    prediction: float | None = None
    """The critic's score, 0 to 1; None before it was asked."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the line (a critic's labels), written back as they were read."""

    def boxes(self, region: int) -> tuple[Box, ...]:
        """Return the boxes of a region in pixels. Raises DataError for one without reference."""
        for reference in self.references:
            if reference.name == str(region):
                return reference.boxes
        raise DataError(f"triple {self.id}: region {region} has no boxes")


def tokens(said: str) -> Tokens:
    """Split a text into tokens; `[0]`, `[0, 1]` and `[0] , [1]` become lists of ids."""
    found: list[Token] = []
    for match in _TOKEN.finditer(said):
        word = match.group()
        if _MENTION.match(word):
            found.append(tuple(int(number) for number in _NUMBER.findall(word)))
        else:
            found.append(word)
    return tuple(found)


def words(said: Iterable[Token], names: Mapping[int, str] | None = None) -> str:
    """Join tokens with spaces; `names` says what is written for an id, by default `[id]`."""
    out: list[str] = []
    for token in said:
        if isinstance(token, str):
            out.append(token)
        else:
            out.append(" , ".join(f"[{id}]" if names is None else names[id] for id in token))
    return " ".join(out)


def text(triple: Triple, names: Mapping[int, str] | None = None, *, rationale: bool = True) -> str:
    """Return `question Answer: ... Rationale: ...`, as the released code puts it together."""
    out = f"{words(triple.question, names)} Answer: {words(triple.answer, names)}"
    return f"{out} Rationale: {words(triple.rationale, names)}" if rationale else out


def mentioned(*parts: Iterable[Token]) -> tuple[int, ...]:
    """Return the ids in token lists, in order of first mention."""
    ids = (id for part in parts for token in part if not isinstance(token, str) for id in token)
    return tuple(dict.fromkeys(ids))


def read(path: Path) -> Iterator[Triple]:
    """Yield the triples of a file. Raises DataError that names the line of a bad one.

    Lines of the released file have no id, size, style and provenance; they get an id of source,
    split, index and line, and a style by whether they mention ids.
    """
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                triple = _line(line, f"{path}, line {number}", number)
                if triple.id in seen:
                    raise DataError(f"{path}, line {number}: the id '{triple.id}' stands twice")
                seen.add(triple.id)
                yield triple
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no corpus of triples ({error})") from error


def _line(line: str, where: str, number: int) -> Triple:
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise TypeError("not an object")
        triple = from_row(row, number)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise DataError(f"{where}: no triple ({type(error).__name__}: {error})") from error
    fault = validate(triple)
    if fault:
        raise DataError(f"{where}: {fault}")
    return triple


def from_row(row: Mapping[str, Any], number: int = 0) -> Triple:
    """Return the triple of a parsed line, unchecked. Raises KeyError, TypeError or ValueError."""
    parts = [_tokens(row[part]) for part in PARTS]
    ids = mentioned(*parts)
    source, split = str(row.get("source") or ""), str(row.get("split") or "train")
    index = row.get("index", 0)
    style = row.get("style") or ("ids" if ids else "descriptions")
    references = tuple(_reference(one) for one in row.get("references") or ())
    region = row.get("region")
    score = row.get("prediction")
    return Triple(
        id=str(row.get("id") or f"{source}/{split}/{index}/{number}"),
        image=str(row["image"]),
        question=parts[0],
        answer=parts[1],
        rationale=parts[2],
        region=ids if region is None else _ids(region),
        region_all=_ids(row.get("region_all") or ids),
        references=references,
        width=int(row.get("width") or 0),
        height=int(row.get("height") or 0),
        source=source,
        split=split,
        index=index if isinstance(index, int) else str(index),
        style=cast(Style, style),
        provenance=dict(row.get("provenance") or {}),
        prediction=None if score is None else float(score),
        extra={key: value for key, value in row.items() if key not in _KNOWN},
    )


def _tokens(found: Any) -> Tokens:
    if not isinstance(found, list):
        raise TypeError(f"a list of tokens is expected, found {type(found).__name__}")
    return tuple(token if isinstance(token, str) else _ids(token) for token in found)


def _ids(found: Any) -> tuple[int, ...]:
    if not isinstance(found, list | tuple) or not all(type(id) is int for id in found):
        raise TypeError(f"a list of region ids is expected, found {found!r}")
    return tuple(found)


def _reference(row: Mapping[str, Any]) -> Reference:
    boxes = []
    for box in row["boxes"]:
        left, top, right, bottom = (float(x) for x in box[:4])  # a fifth number is a score
        boxes.append((left, top, right, bottom))
    return Reference(str(row["name"]), tuple(boxes), str(row.get("obj_guess") or ""))


def validate(triple: Triple) -> str:
    """Return what is wrong with a triple, or an empty string."""
    parts = [getattr(triple, part) for part in PARTS]
    ids = set(mentioned(*parts))
    every = set(triple.region_all)
    strings = [token for part in parts for token in part if isinstance(token, str)]
    named = [reference.name for reference in triple.references]
    checks = (
        ("no image", not triple.image or "\0" in triple.image),
        (f"unknown style '{triple.style}'", triple.style not in STYLES),
        *((f"the {name} is empty", not part) for name, part in zip(PARTS, parts, strict=True)),
        ("an empty token", any(not token.strip() for token in strings)),
        ("an empty list of ids", any(token == () for part in parts for token in part)),
        ("words that read as an id", any(_misread(part) for part in parts)),
        ("a negative id", any(id < 0 for id in ids | every | set(triple.region))),
        ("an id twice", len(set(triple.region)) < len(triple.region)
         or len(every) < len(triple.region_all) or len(set(named)) < len(named)),
        ("ids in the style descriptions", triple.style == "descriptions" and bool(ids)),
        ("no id in the style ids", triple.style == "ids" and not ids),
        ("a mentioned id is not in `region`", not ids <= set(triple.region)),
        ("`region` is not part of `region_all`", not set(triple.region) <= every),
        ("a bad box", any(_bad(box, triple) for one in triple.references for box in one.boxes)),
        ("a score outside 0 to 1", triple.prediction is not None
         and not 0 <= triple.prediction <= 1),
    )  # fmt: skip
    return next((what for what, wrong in checks if wrong), "")


def _misread(part: Tokens) -> bool:
    return mentioned(tokens(words(part))) != mentioned(part)


def _bad(box: Sequence[float], triple: Triple) -> bool:
    left, top, right, bottom = box
    good = all(map(isfinite, box)) and left < right and top < bottom
    if triple.width and triple.height:  # a detector may be off by a part of a pixel
        good = good and min(left, top) >= -1
        good = good and right <= triple.width + 1 and bottom <= triple.height + 1
    return not good


def to_row(triple: Triple) -> dict[str, Any]:
    """Return a triple as plain JSON values, in the order of the format."""
    return {
        "id": triple.id,
        "image": triple.image,
        "width": triple.width,
        "height": triple.height,
        "source": triple.source,
        "split": triple.split,
        "index": triple.index,
        "region": list(triple.region),
        "region_all": list(triple.region_all),
        "references": [
            {"name": one.name, "boxes": [list(box) for box in one.boxes],
             "obj_guess": one.obj_guess}
            for one in triple.references
        ],
        **{part: [t if isinstance(t, str) else list(t) for t in getattr(triple, part)]
           for part in PARTS},
        "style": triple.style,
        "provenance": dict(triple.provenance),
        "prediction": triple.prediction,
        **triple.extra,
    }  # fmt: skip


def to_line(triple: Triple) -> str:
    """Return a triple as a line of the corpus, with its newline."""
    return json.dumps(to_row(triple), ensure_ascii=False, separators=(",", ":")) + "\n"


def write(path: Path, found: Iterable[Triple]) -> int:
    """Write a corpus, the whole file or none; returns how many. Raises DataError for a bad one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    count = 0
    with part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        for triple in found:
            fault = validate(triple)
            if fault:
                raise DataError(f"triple {triple.id}: {fault}")
            file.write(to_line(triple))
            count += 1
    part.replace(path)
    return count
