"""What every converter shares: making a record, choosing by lot, boxes, writing with a manifest.

Lots are drawn per image from (seed, source, image): a conversion is a function of its files and
its seed, and adding an image changes nothing for the others. Imports the standard library.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError
from tasks._data import inside, read_json

Pairs = Sequence[tuple[str, str]]
"""Questions with their answers, in the order of the conversation."""
Record = dict[str, Any]
IMAGE = "<image>"


@dataclass(frozen=True)
class Raw:
    """The folder with a data set's official files, and what a conversion may draw from."""

    folder: Path
    seed: int = 0
    turns: int = 0
    """Most question-answer pairs of one record; 0: no limit."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Settings of one converter."""

    def json(self, name: str, kind: type | None = None) -> Any:
        """Return the JSON file `name`. Raises DataError when it is missing or damaged."""
        return read_json(inside(self.folder, name), kind)

    def first(self, *names: str) -> Path:
        """Return the first of these files that is there. Raises DataError naming all of them."""
        for name in names:
            if (path := inside(self.folder, name)).is_file():
                return path
        raise DataError(f"{self.folder}: expected {' or '.join(names)} in it")

    def lot(self, *what: object) -> Random:
        """Return a generator of its own for `what`, always the same one."""
        return Random("/".join(map(str, (self.seed, *what))))


def record(id: str, image: str | None, pairs: Pairs, image_last: bool = False) -> Record:
    """Return one conversation; the picture stands in its first turn, on a line of its own."""
    turns = []
    for at, (question, answer) in enumerate(pairs):
        text = question.strip()
        if image is not None and at == 0:
            text = f"{text}\n{IMAGE}" if image_last else f"{IMAGE}\n{text}"
        turns.append({"from": "human", "value": text})
        turns.append({"from": "gpt", "value": answer.strip()})
    made: Record = {"id": id}
    if image is not None:
        made["image"] = image
    return made | {"conversations": turns}


def per_image(
    raw: Raw, source: str, asked: Mapping[str, list[tuple[str, str]]], path: Callable[[str], str]
) -> Iterator[Record]:
    """Yield one record per image: all its questions, in an order drawn by lot."""
    for image, pairs in asked.items():
        order = list(pairs)
        raw.lot(source, image).shuffle(order)
        yield record(f"{source}-{image}", path(image), order[: raw.turns or None])


def majority(answers: Iterable[str]) -> str:
    """Return the commonest answer; among equals the one that was given first."""
    counts = Counter(answer.strip() for answer in answers)
    if not counts:
        raise DataError("a question has no answers")
    return max(counts, key=lambda answer: counts[answer])


def on_square(
    box: tuple[float, float, float, float], size: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Return a box as fractions of the picture padded to a square, as LLaVA-1.5 sees it.

    The picture is centred by whole pixels (halves rounded down), as the processor pads it.

    Args:
        box: left, top, right, bottom in pixels of the original.
        size: width and height of the original in pixels.
    """
    width, height = size
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    x1, y1, x2, y2 = box
    return (x1 + left) / side, (y1 + top) / side, (x2 + left) / side, (y2 + top) / side


def off_square(
    box: tuple[float, float, float, float], size: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Undo `on_square`: from fractions of the padded square to pixels of the original."""
    width, height = size
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    x1, y1, x2, y2 = (value * side for value in box)
    return x1 - left, y1 - top, x2 - left, y2 - top


def written(box: tuple[float, float, float, float]) -> str:
    """Return a box as text: four fractions of two decimals in brackets."""
    return "[" + ", ".join(f"{min(max(value, 0.0), 1.0):.2f}" for value in box) + "]"


def write(
    out: Path, source: str, records: Iterable[Record], raw: Raw, images: Path | None = None
) -> dict[str, Any]:
    """Write records and, beside them, a manifest; return what it says.

    The manifest has a first line about the whole and one line per record: id, image, digest of
    the image's bytes (with `images`), number of turns. An image named twice is read once.

    Raises:
        DataError: an id comes twice, an image is missing, or there are no records.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.partial")
    digest, known, seen, rows = sha256(), {}, set(), []
    with partial.open("w", encoding="utf-8") as file:
        for made in records:
            if made["id"] in seen:
                raise DataError(f"{source}: the id '{made['id']}' comes twice")
            seen.add(made["id"])
            line = json.dumps(made, ensure_ascii=False) + "\n"
            digest.update(line.encode())
            file.write(line)
            row = {"id": made["id"], "turns": len(made["conversations"]) // 2}
            if image := made.get("image"):
                row["image"] = image
                if images is not None and image not in known:
                    known[image] = _digest(images, image)
                row |= {"sha256": known[image]} if image in known else {}
            rows.append(row)
    if not rows:
        partial.unlink()
        raise DataError(f"{source}: no records came out of {raw.folder}")
    partial.replace(out)
    whole = {
        "source": source,
        "records": len(rows),
        "images": len({row["image"] for row in rows if "image" in row}),
        "pairs": sum(row["turns"] for row in rows),
        "sha256": digest.hexdigest(),
        "seed": raw.seed,
        "turns": raw.turns,
        "options": dict(raw.options),
    }
    lines = [json.dumps(line, ensure_ascii=False) for line in (whole, *rows)]
    manifest = out.with_name(f"{out.stem}.manifest.jsonl")
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return whole


def _digest(images: Path, name: str) -> str:
    path = inside(images, name)
    if not path.is_file():
        raise DataError(f"{path}: no such image; is --images the folder that holds '{name}'?")
    return sha256(path.read_bytes()).hexdigest()
