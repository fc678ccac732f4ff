"""A picture in words, as the teacher of LSKD reads it: one line of verbal.jsonl, and its text.

Park et al. 2023, section 2.1: global descriptors (places, objects, concepts, narratives), local
ones (regions with captions) and dynamic ones (questions and answers). Any of them may be missing,
and a prompt may leave one out (Table 2). What models said is put on single lines, so that it cannot
pass for a section of the prompt. May import harness and trainers.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness import fingerprint
from harness.errors import DataError, unknown
from trainers.localized.triples import Reference, Style

Box = tuple[float, float, float, float]
DROPS: Mapping[str, str] = {
    "concepts": "places, objects and concepts of CLIP",
    "narratives": "descriptions of the whole picture",
    "global": "both of these",
    "local": "captions of regions",
    "questions": "questions and answers",
}
"""What a prompt may leave out: the rows of Table 2."""
_LONGEST = 600
"""Letters of one line that a model said."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A region that a detector found."""

    id: int
    box: Box
    """Left, top, right, bottom in pixels of the original picture."""
    label: str
    """What the detector takes it for."""
    caption: str = ""
    """What a region captioner said about it."""
    score: float = 1.0

    @property
    def words(self) -> str:
        """The caption, or the label where there is none."""
        return self.caption or self.label


@dataclass(frozen=True, slots=True)
class Verbal:
    """A picture in words."""

    id: str
    image: str
    width: int
    height: int
    sha256: str
    """Of the picture's file."""
    source: str = ""
    split: str = "train"
    regions: tuple[Seen, ...] = ()
    places: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()
    narratives: tuple[str, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """By part: who said it, and by which calls."""

    @property
    def digest(self) -> str:
        """Hash of all that is said; provenance of what is made of it."""
        return fingerprint.digest(asdict(self))

    def references(self) -> tuple[Reference, ...]:
        """Return the regions as a corpus has them."""
        return tuple(Reference(str(seen.id), (seen.box,), seen.label) for seen in self.regions)


def line(said: object) -> str:
    """Return a text on one line, without characters that no picture needs, cut where it is long."""
    plain = " ".join(str(said).split())
    plain = "".join(letter for letter in plain if letter.isprintable())
    return plain if len(plain) <= _LONGEST else plain[:_LONGEST].rsplit(" ", 1)[0]


def check_drops(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of DROPS in their order. Raises UsageError for another one."""
    found = set(names)
    for name in sorted(found):
        if name not in DROPS:
            raise unknown("descriptor to drop", name, DROPS)
    return tuple(name for name in DROPS if name in found)


def context(verbal: Verbal, style: Style | None, drop: Collection[str] = ()) -> str:
    """Return the sections that a prompt shows.

    Args:
        verbal: The picture.
        style: `ids`: regions by number with boxes as parts of width and height; `descriptions`: by
            what they show, without numbers; None: as `descriptions` (for who asks questions).
        drop: Names of DROPS. Without `local`, `ids` keeps numbers, boxes and the detector's labels,
            because there would be nothing to name; `descriptions` shows no region.
    """
    bare = "concepts" in drop or "global" in drop
    parts = [] if bare else [
        _section("Place", verbal.places),
        _section("Objects", verbal.objects),
        _section("Concepts", verbal.concepts),
    ]  # fmt: skip
    if not {"narratives", "global"} & set(drop):
        parts.append(_section("Descriptions of the whole picture", verbal.narratives))
    parts.append(_regions(verbal, style, "local" in drop))
    if "questions" not in drop:
        told = [f"{question} {answer}" for question, answer in verbal.questions]
        parts.append(_section("Questions and answers", told))
    return "\n\n".join(part for part in parts if part)


def _section(title: str, lines: Iterable[str]) -> str:
    listed = [f"- {line(one)}" for one in lines if line(one)]
    return "\n".join([f"{title}:", *listed]) if listed else ""


def _regions(verbal: Verbal, style: Style | None, dropped: bool) -> str:
    if style != "ids":
        seen = [] if dropped else list(dict.fromkeys(one.words for one in verbal.regions))
        return _section("Regions of the picture", seen)
    lines = []
    for one in verbal.regions:
        left, top, right, bottom = one.box
        shares = (left / verbal.width, top / verbal.height,
                  right / verbal.width, bottom / verbal.height)  # fmt: skip
        place = ", ".join(f"{share:.2f}" for share in shares)
        lines.append(f"[{one.id}] {line(one.label if dropped else one.words)} ({place})")
    title = "Regions of the picture (left, top, right, bottom as parts of width and height):"
    return "\n".join([title, *lines]) if lines else ""


def to_row(verbal: Verbal) -> dict[str, Any]:
    """Return a picture in words as plain JSON values."""
    return asdict(verbal)


def read(path: Path) -> list[Verbal]:
    """Read verbal.jsonl. Raises DataError that names the line."""
    found: dict[str, Verbal] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no pictures in words ({error})") from error
    for number, said in enumerate(lines, 1):
        if not said.strip():
            continue
        try:
            verbal = _verbal(json.loads(said))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}: no picture in words ({type(error).__name__}: {error}); "
                "make such a file with `sightline lskd verbalise`"
            ) from error
        if verbal.id in found:
            raise DataError(f"{path}, line {number}: the id '{verbal.id}' stands twice")
        found[verbal.id] = verbal
    if not found:
        raise DataError(f"{path}: empty")
    return list(found.values())


def _verbal(row: Mapping[str, Any]) -> Verbal:
    width, height = int(row["width"]), int(row["height"])
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width} x {height}")
    seen = tuple(_seen(one) for one in row["regions"])
    if [one.id for one in seen] != list(range(len(seen))):
        raise ValueError("regions are numbered from 0 without gaps")
    lists = {
        name: tuple(str(one) for one in row.get(name) or ())
        for name in ("places", "objects", "concepts", "narratives")
    }
    asked = tuple((str(question), str(answer)) for question, answer in row.get("questions") or ())
    return Verbal(
        id=str(row["id"]),
        image=str(row["image"]),
        width=width,
        height=height,
        sha256=str(row["sha256"]),
        source=str(row.get("source") or ""),
        split=str(row.get("split") or "train"),
        regions=seen,
        questions=asked,
        provenance=dict(row.get("provenance") or {}),
        **lists,
    )


def _seen(row: Mapping[str, Any]) -> Seen:
    left, top, right, bottom = (float(x) for x in row["box"])
    if not (left < right and top < bottom):
        raise ValueError(f"box {row['box']}")
    label, caption = str(row["label"]), str(row.get("caption") or "")
    return Seen(int(row["id"]), (left, top, right, bottom), label, caption,
                float(row.get("score", 1.0)))  # fmt: skip


def write(path: Path, found: Iterable[Verbal]) -> None:
    """Write verbal.jsonl, the whole file or none."""
    write_lines(path, map(to_row, found))


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object on each line, the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    part.replace(path)
