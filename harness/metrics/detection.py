"""Average precision of detections whose hits and misses are already known.

The curve is that of pycocotools (`COCOeval.accumulate`): detections of a class from all pictures
by falling score, the precision made to fall only, read at 101 recalls, averaged; classes without
an annotated object are left out of the mean. Which detection hits an object depends on its own
picture alone and is decided by the task (tasks/_coco_boxes.py).

The value is no function of a few sums, so there is the value and what it becomes without each
picture; the sums are made of these differences, as harness/metrics/classification.py makes them.
Registered in harness/stats.py, whose types it uses; imports numpy inside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.stats import Floats, Frame, Sums

    Ints = NDArray[np.int64]

RECALLS = 101
_CHUNK = 4_000_000  # numbers held at a time


@dataclass(frozen=True)
class Found:
    """The detections of one class, by falling score, and the objects that there are."""

    pictures: "Ints"
    """(n,) in which picture each detection lies."""
    hits: "NDArray[np.bool_]"
    """(n,) whether it is a hit."""
    objects: "Ints"
    """(pictures,) objects of the class in each picture."""


def average_precision(
    table: "Frame", mask: "NDArray[np.bool_]", options: Mapping[str, Any]
) -> "Sums":
    """Mean over classes of the average precision.

    `options`: `value`, the statistic that holds {"label": class of the row's object, "at": its
    place in the task, "found": [[class, score, hit], ...]}, the detections that have its box;
    `classes`, the numbers of the classes that count.
    """
    import numpy as np

    from harness.metrics.classification import _sums

    column = table.columns[f"stat:{options['value']}"]
    rows = [i for i in np.flatnonzero(mask).tolist() if column[i] is not None]
    kept, first, pictures = np.unique(table.clusters[rows], return_index=True, return_inverse=True)
    totals, counts = np.zeros(len(kept)), np.zeros(len(kept))
    whole: list[float] = []
    for one in _by_class([column[i] for i in rows], pictures, len(kept), options["classes"]):
        value, without = _curve(one)
        whole.append(value)
        left = one.objects < one.objects.sum()
        totals += np.where(left, without, 0.0)
        counts += left
    value = sum(whole) / len(whole) if whole else float("nan")
    blank = np.full(len(kept), np.nan)
    left_out = np.divide(totals, counts, out=blank, where=counts > 0)
    sums = _sums(table, np.array(rows, np.int64)[first], value, left_out)
    return replace(sums, n=len(rows) if whole else 0)


def _by_class(
    values: Sequence[Mapping[str, Any]], pictures: "Ints", size: int, classes: Sequence[int]
) -> Iterator[Found]:
    """Yield the detections of each class of which there are objects.

    Equal scores keep the order of the task's samples, as pycocotools keeps that of the pictures.
    """
    import numpy as np

    labels = np.array([value["label"] for value in values], np.int64)
    counts = [len(value["found"]) for value in values]
    flat = [entry for value in values for entry in value["found"]]
    found = np.array(flat, np.float64).reshape(-1, 3)
    where = np.repeat(pictures, counts)
    at = np.repeat(np.array([value["at"] for value in values], np.int64), counts)
    for number in classes:
        objects = np.bincount(pictures[labels == number], minlength=size)
        if not objects.any():
            continue
        mine = np.flatnonzero(found[:, 0] == number)
        order = mine[np.lexsort((at[mine], -found[mine, 1]))]
        yield Found(where[order], found[order, 2] > 0, objects)


def _curve(one: Found) -> "tuple[float, Floats]":
    """Return the average precision, and what it is without each picture."""
    import numpy as np

    total = int(one.objects.sum())
    hits, misses = np.flatnonzero(one.hits), np.flatnonzero(~one.hits)
    before = hits - np.arange(len(hits))
    value = float(_area(before, total))
    without = np.full(len(one.objects), value)
    owners, hit_owners = one.pictures[misses], one.pictures[hits]
    later = np.searchsorted(hits, misses)  # the first hit that each miss comes before
    order = np.argsort(owners, kind="stable")
    ends = np.searchsorted(owners[order], np.arange(len(one.objects) + 1))
    for picture in np.flatnonzero(one.objects).tolist():
        mine = later[order[ends[picture] : ends[picture + 1]]]
        gone = np.bincount(mine, minlength=len(hits) + 1)[:-1].cumsum()
        stays = hit_owners != picture
        left = total - int(one.objects[picture])
        without[picture] = _area((before - gone)[stays], left) if left else np.nan
    others = np.setdiff1d(owners, np.flatnonzero(one.objects))
    step = max(1, _CHUNK // max(len(hits), 1))
    for start in range(0, len(others), step):
        part = others[start : start + step]
        rows = np.searchsorted(part, owners)
        there = (rows < len(part)) & (part[np.minimum(rows, len(part) - 1)] == owners)
        gone = np.zeros((len(part), len(hits) + 1))
        np.add.at(gone, (rows[there], later[there]), 1.0)
        without[part] = _area(before - gone[:, :-1].cumsum(axis=1), total)
    return value, without


def _area(before: "NDArray[Any]", total: int) -> "Floats":
    """Return the average precision of hits (..., h) with so many misses before each of them."""
    import numpy as np

    count = before.shape[-1]
    if not count:
        return np.zeros(before.shape[:-1])
    rank = np.arange(1, count + 1)
    precision = rank / (rank + before)
    best = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    enough = np.searchsorted(np.arange(total + 1) / total, np.linspace(0, 1, RECALLS))
    reached = enough[enough <= count]
    area: Floats = best[..., np.maximum(reached, 1) - 1].sum(axis=-1) / RECALLS
    return area
