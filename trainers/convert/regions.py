"""RefCOCO and Visual Genome regions, in both directions: describe a box, find a description.

Boxes are fractions of the picture padded to a square, two decimals (issue haotian-liu/LLaVA#606).
The wording, the number of regions per record and which of RefCOCO's three sets were taken are not
documented: UNVERIFIED. Directions are drawn by lot, turn by turn. Imports the standard library.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError
from tasks._data import inside
from tasks._pickle import read_pickle
from trainers.convert.common import Raw, Record, on_square, record, written

DESCRIBE = "Please provide a short description for this region: "
FIND = "Please provide the bounding box coordinate of the region this sentence describes: "
_SETS = {"refcoco": "refs(unc).p", "refcoco+": "refs(unc).p", "refcocog": "refs(umd).p"}
_TURNS = 10
"""Regions of one record where no other number is named: a picture of Visual Genome has fifty."""

Region = tuple[tuple[float, float, float, float], str]
"""Left, top, right, bottom in pixels; and what it is called."""


def refcoco(raw: Raw) -> Iterator[Record]:
    """Convert the training splits of RefCOCO, RefCOCO+ and RefCOCOg, one record per image and set.

    Option `sets`: which of them, joined by commas.
    """
    names = raw.options.get("sets", ",".join(_SETS)).split(",")
    for name in names:
        if name not in _SETS:
            raise UsageError(f"sets={','.join(names)}: known are {', '.join(_SETS)}")
        yield from _refcoco(raw, name)


def _refcoco(raw: Raw, name: str) -> Iterator[Record]:
    folder = inside(raw.folder, name)
    instances = raw.json(f"{name}/instances.json", dict)
    sizes = {
        row["id"]: (row["file_name"], row["width"], row["height"]) for row in instances["images"]
    }
    boxes = {row["id"]: row["bbox"] for row in instances["annotations"]}
    said: dict[int, list[Region]] = {}
    for ref in _train(folder / _SETS[name]):
        left, top, width, height = boxes[ref["ann_id"]]
        box = (left, top, left + width, top + height)
        regions = said.setdefault(ref["image_id"], [])
        regions += [(box, sentence["sent"]) for sentence in ref["sentences"]]
    for image, regions in said.items():
        if image not in sizes:
            raise DataError(f"{folder / 'instances.json'}: no image {image}")
        file, width, height = sizes[image]
        path = f"coco/train2017/{int(Path(file).stem.split('_')[-1]):012d}.jpg"
        yield _both_ways(raw, f"{name}-{image}", path, regions, (width, height))


def _train(path: Path) -> Iterable[dict[str, Any]]:
    found = read_pickle(path)
    train = [ref for ref in found if ref.get("split") == "train"]
    if not train:
        raise DataError(f"{path}: no region of the split 'train' in it")
    return train


def vg(raw: Raw) -> Iterator[Record]:
    """Convert Visual Genome's region_descriptions.json with image_data.json, a record per image."""
    meta = {row.get("image_id", row.get("id")): row for row in raw.json("image_data.json", list)}
    for row in raw.json("region_descriptions.json", list):
        image = row["id"]
        if image not in meta:
            raise DataError(f"image_data.json: no image {image}")
        size = (meta[image]["width"], meta[image]["height"])
        regions = [
            ((r["x"], r["y"], r["x"] + r["width"], r["y"] + r["height"]), r["phrase"].strip())
            for r in row["regions"]
        ]
        regions = [region for region in regions if region[1]]
        if regions:
            folder = "VG_100K_2" if "VG_100K_2" in str(meta[image].get("url", "")) else "VG_100K"
            yield _both_ways(raw, f"vg-{image}", f"vg/{folder}/{image}.jpg", regions, size)


def _both_ways(
    raw: Raw, id: str, image: str, regions: list[Region], size: tuple[int, int]
) -> Record:
    """Return a conversation about some regions of an image, each asked for in one direction."""
    lot = raw.lot(id)
    order = list(dict.fromkeys(regions))
    lot.shuffle(order)
    pairs = []
    for box, phrase in order[: raw.turns or _TURNS]:
        place = written(on_square(box, size))
        describe = lot.random() < 0.5
        pairs.append((DESCRIBE + place, phrase) if describe else (FIND + phrase, place))
    return record(id, image, pairs)
