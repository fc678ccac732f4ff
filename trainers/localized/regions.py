"""Regions for LSKD from any detector's file in COCO's format: which boxes get a number.

Taken are an instances file (images, annotations, categories; annotations may have a `score`) or a
list of COCO results beside an instances file that has images and categories. The paper's detector
is a ViTDet; its filters are not given, these are ours. May import harness and trainers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError
from trainers.localized.verbal import Box, Seen, Verbal
from trainers.locating import Item, Picture, read_categories, read_instances
from trainers.pseudo import read_detections


@dataclass(frozen=True, slots=True)
class Filters:
    """Which boxes are kept."""

    threshold: float = 0.5
    """Lowest score that is believed."""
    most: int = 10
    """Regions of a picture; the best ones."""
    least: float = 0.002
    """Smallest share of the picture's area."""
    overlap: float = 0.8
    """A box is dropped when its intersection over union with a better one is at least this."""

    def __post_init__(self) -> None:
        """Name what cannot be."""
        if self.most < 1 or not 0 <= self.least < 1 or not 0 < self.overlap <= 1:
            raise UsageError(
                "at least 1 region, the smallest share of area between 0 and 1, the overlap above "
                f"0 and at most 1; found {self.most}, {self.least:g}, {self.overlap:g}"
            )


def read(
    detections: Path, instances: Path | None, filters: Filters
) -> list[tuple[Picture, tuple[Seen, ...]]]:
    """Return all pictures of a file with their numbered regions, by the pictures' ids.

    Raises:
        DataError: A file is not what it should be.
        UsageError: A list of results came without an instances file.
    """
    try:
        document = json.loads(detections.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{detections}: no detections ({error})") from error
    if isinstance(document, dict):
        pictures, _ = read_instances(detections)
        rows = {int(row["id"]): row for row in document["annotations"]}
    elif instances is None:
        raise UsageError(
            f"{detections} is a list of results, which names no picture and no category; give "
            "--instances FILE, an instances file with both"
        )
    else:
        known, _ = read_instances(instances)
        pictures = read_detections(detections, known, read_categories(instances), filters.threshold)
        rows = dict(enumerate(document))
    scores = {number: _score(row, detections, number) for number, row in rows.items()}
    return [(picture, numbered(picture, scores, filters)) for picture in pictures]


def _score(row: Any, path: Path, number: int) -> float:
    try:
        return float(row.get("score", 1.0))
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}, annotation {number}: no score ({error})") from error


def numbered(picture: Picture, scores: dict[int, float], filters: Filters) -> tuple[Seen, ...]:
    """Return the regions of a picture: best first, numbered from 0, inside the picture."""
    width, height = picture.size
    good: list[tuple[Item, Box]] = []
    for item in sorted(picture.items, key=lambda item: (-scores[item.id], -item.area, item.id)):
        box = _inside(item.box, width, height)
        area = (box[2] - box[0]) * (box[3] - box[1])
        if item.crowd or scores[item.id] < filters.threshold:
            continue
        if min(box[2] - box[0], box[3] - box[1]) < 1 or area < filters.least * width * height:
            continue
        if all(iou(box, other) < filters.overlap for _, other in good):
            good.append((item, box))
    return tuple(
        Seen(number, box, item.kind, score=scores[item.id])
        for number, (item, box) in enumerate(good[: filters.most])
    )


def _inside(box: Box, width: int, height: int) -> Box:
    left, top, right, bottom = box
    return (
        round(min(max(left, 0.0), width), 2),
        round(min(max(top, 0.0), height), 2),
        round(min(max(right, 0.0), width), 2),
        round(min(max(bottom, 0.0), height), 2),
    )


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Return intersection over union of two boxes; 0 where both are empty."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    both = max(across, 0.0) * max(down, 0.0)
    whole = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - both
    return both / whole if whole > 0 else 0.0


def verbal(
    picture: Picture, seen: tuple[Seen, ...], images: Path, source: str, split: str
) -> tuple[Verbal | None, str]:
    """Return a picture with nothing said yet, or (None, why it cannot be used)."""
    from PIL import Image

    path = images / picture.file
    try:
        if not path.resolve().is_relative_to(images.resolve()):
            return None, "image is outside the folder"
        data = path.read_bytes()
        with Image.open(path) as opened:
            size = opened.size
    except FileNotFoundError:
        return None, "image is missing"
    except Exception:  # PIL raises half a dozen kinds for files that are not pictures
        return None, "image does not open"
    if size != picture.size:
        return None, "image has another size than its detections"
    if not seen:
        return None, "no region passes the filters"
    return Verbal(
        picture.id, picture.file, *size, sha256(data).hexdigest(), source, split, seen
    ), ""
