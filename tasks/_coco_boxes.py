"""From class scores of given boxes to detections that hit or miss: RegionCLIP's steps, COCO's rule.

RegionCLIP's zero-shot inference (microsoft/RegionCLIP, `CLIP_fast_rcnn_R_50_C4_ovd_zsinf.yaml`)
takes every class of every box for a detection, drops those below a probability of 0.001, lets none
stand that overlaps a better one of its class by more than half, and keeps 100 per picture. Hits
are decided as by `COCOeval.evaluateImg` of pycocotools at an overlap of 0.5. Imports numpy inside.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from judges.classification import softmax

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST = 0.001
OVERLAP = 0.5
MOST = 100
"""Detections of one picture, of all classes together."""
Box = Sequence[float]
"""Left, top, right, bottom."""
Crowds = Mapping[str, Sequence[tuple[int, Box]]]
"""Picture to (class, box) of its crowds: what is found there is neither hit nor miss."""
Row = Mapping[str, Any]


def derive(crowds: Crowds, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return what each row's box was found to be, given all boxes of its picture.

    `detections` of a row: `label`, the number of its class; `at`, its place in the task; `found`,
    [class, probability, 1 for a hit or 0 for a miss] of each detection that has its box.
    """
    pictures: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: int(row["index"])):
        pictures.setdefault(row["cluster"], []).append(row)
    extras = {}
    for name, group in pictures.items():
        labels = [row["choices"].index(row["target"]) for row in group]
        boxes = [row["regions"][0]["box"] for row in group]
        scores = [softmax(row["answer"]["scores"]) for row in group]
        found = detections(boxes, labels, scores, crowds.get(name, ()))
        for row, label, entries in zip(group, labels, found, strict=True):
            stat = {"label": label, "at": row["index"], "found": entries}
            extras[row["id"]] = {"stats": {"detections": stat}}
    return extras


def detections(
    boxes: Sequence[Box],
    labels: Sequence[int],
    scores: Sequence[Sequence[float]],
    crowds: Sequence[tuple[int, Box]] = (),
) -> list[list[list[float]]]:
    """Return for each box of one picture [class, score, hit] of the detections that have it.

    Args:
        boxes: the given boxes, each with the object that it is drawn around.
        labels: the class of each object.
        scores: (boxes, classes), all positive, compared between boxes.
        crowds: class and box of each crowd.
    """
    import numpy as np

    table = np.array(scores, np.float64)
    places = np.array(boxes, np.float64).reshape(-1, 4)
    shared = overlaps(places, places)
    alive = (table > LEAST) & ~_beaten(shared, table)
    rows, classes = np.nonzero(alive)
    best = np.lexsort((classes, rows, -table[rows, classes]))[:MOST]
    blurred = [
        (label, overlaps(places, np.array([box], np.float64), crowd=True)[:, 0])
        for label, box in crowds
    ]
    taken: set[int] = set()
    found: list[list[list[float]]] = [[] for _ in boxes]
    objects: dict[int, list[int]] = {}
    for number, label in enumerate(labels):
        objects.setdefault(label, []).append(number)
    for row, label in zip(rows[best].tolist(), classes[best].tolist(), strict=True):
        free = [n for n in objects.get(label, ()) if n not in taken and shared[row, n] >= OVERLAP]
        if free:  # of equal overlaps pycocotools takes the last
            taken.add(max(free, key=lambda n: (shared[row, n], n)))
        elif any(label == other and near[row] >= OVERLAP for other, near in blurred):
            continue
        found[row].append([label, float(table[row, label]), float(bool(free))])
    return found


def overlaps(one: "Floats", other: "Floats", *, crowd: bool = False) -> "Floats":
    """Return intersection over union (n, m) of boxes (n, 4) and (m, 4); 0 for empty boxes.

    With `crowd`, the intersection is divided by the area of the first box alone.
    """
    import numpy as np

    near = np.maximum(one[:, None, :2], other[None, :, :2])
    far = np.minimum(one[:, None, 2:], other[None, :, 2:])
    inside = np.clip(far - near, 0, None).prod(axis=-1)
    area, others = ((b[:, 2:] - b[:, :2]).prod(axis=-1) for b in (one, other))
    whole = area[:, None] if crowd else area[:, None] + others[None] - inside
    shared: Floats = np.zeros(inside.shape)
    np.divide(inside, whole, out=shared, where=whole > 0)
    return shared


def _beaten(shared: "Floats", scores: "Floats") -> "NDArray[np.bool_]":
    """Return (boxes, classes): whether a better box of that class lies on the same place."""
    import numpy as np

    close = (shared > OVERLAP) & ~np.eye(len(shared), dtype=bool)
    beaten = np.zeros(scores.shape, bool)
    crowded = np.flatnonzero(close.any(axis=1))
    for label in range(scores.shape[1] if len(crowded) else 0):
        for row in crowded[np.argsort(-scores[crowded, label], kind="stable")].tolist():
            if not beaten[row, label]:
                beaten[close[row], label] |= _worse(scores[:, label], row)[close[row]]
    return beaten


def _worse(scores: "Floats", row: int) -> "NDArray[np.bool_]":
    """Return which boxes come after `row`: a lower score, or the same and later in the list."""
    import numpy as np

    later = np.arange(len(scores)) > row
    worse: NDArray[np.bool_] = (scores < scores[row]) | ((scores == scores[row]) & later)
    return worse
