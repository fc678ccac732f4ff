"""Boxes over pictures: what was asked about or right, and what models said, with their overlap.

A row has the regions of its question (`regions`), and may have boxes that its scorer took the
answer to say: `stats["boxes"]`, each {"box": [left, top, right, bottom], "label", "image"} or four
numbers, in pixels of the original image. A text is never taken for a box here: only the scorer
knows its grid. Standard library only.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reports._page_numbers import NONE

MOST = 40
"""Boxes of one answer that are drawn."""
_FAR = 1e6
Box = dict[str, Any]


def said(row: Mapping[str, Any], regions: Sequence[Mapping[str, Any]]) -> list[Box]:
    """Return the boxes of an answer: `box`, `label`, `image`, and `iou` with the nearest region.

    What is no box is left out: a scorer is trusted with its numbers, not with drawing.
    """
    stats = row.get("stats")
    found = stats.get("boxes") if isinstance(stats, Mapping) else None
    boxes = []
    for one in (found if isinstance(found, list) else [])[:MOST]:
        box = _box(one)
        if box is not None:
            boxes.append(box | {"iou": _best(box, regions)})
    return boxes


def _box(found: Any) -> Box | None:
    more = found if isinstance(found, Mapping) else {}
    corners = more.get("box") if more else found
    if not isinstance(corners, list | tuple) or len(corners) != 4:
        return None
    if not all(_plain(x) for x in corners):
        return None
    left, top, right, bottom = (float(x) for x in corners)
    image = more.get("image", 0)
    if left > right or top > bottom or not isinstance(image, int):
        return None
    return {
        "box": [round(x, 1) for x in (left, top, right, bottom)],
        "label": str(more.get("label") or "")[:60],
        "image": int(image),
    }


def _plain(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -_FAR < value < _FAR  # not so for NaN; whole numbers of any size


def _best(box: Box, regions: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the overlap with the region that is meant: of the same label, else the nearest."""
    here = [r for r in regions if r["image"] == box["image"]]
    named = [r for r in here if box["label"] and r["label"] == box["label"]]
    overlaps = [overlap(box["box"], r["box"]) for r in named or here]
    return round(max(overlaps), 3) if overlaps else None


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return intersection over union of two boxes (left, top, right, bottom); 0 without an area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either > 0 else 0.0


def drawn(entry: Mapping[str, Any], at: int) -> list[Box]:
    """Return what the template draws over picture `at`: regions, then what was said."""
    return [
        {**_place(box["box"]), "label": _tag(box), "kind": kind, "told": told}
        for kind, name, box in _all(entry)
        if box["image"] == at
        for told in [f"{name}{box['label'] or ''} {_corners(box['box'])}{_iou(box)}".strip()]
    ]


def _all(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    paired, any_said = "b" in entry, any(side.get("bx") for side in _sides(entry))
    for region in entry.get("r") or ():
        yield "region", "region " if any_said or not region["label"] else "", region
    for kind, name in (("b", "baseline "), ("a", "this run " if paired else "answer ")):
        for box in (entry.get(kind) or {}).get("bx") or ():
            yield kind, name, box


def _sides(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry[key] for key in ("a", "b") if entry.get(key)]


def _corners(box: Sequence[float]) -> str:
    left, top, right, bottom = (round(float(x), 1) for x in box)
    return f"({left:g}, {top:g}) to ({right:g}, {bottom:g})"


def _tag(box: Mapping[str, Any]) -> str:
    """Return what stands in the picture."""
    iou = box.get("iou")
    return str(box["label"]) if iou is None else f"IoU {iou:.2f}"


def _iou(box: Mapping[str, Any]) -> str:
    if "iou" not in box:
        return ""
    return f", IoU {NONE if box['iou'] is None else format(box['iou'], '.2f')}"


def _place(box: Sequence[float]) -> dict[str, float]:
    left, top, right, bottom = (round(float(x), 1) for x in box)
    return {"x": left, "y": top, "w": round(right - left, 1), "h": round(bottom - top, 1)}
