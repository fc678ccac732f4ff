"""COCO's instance annotations: which objects are where on which image.

`instances_<split>.json` of the official annotations (cocodataset.org, 2014 and 2017). Used by
tasks/coco_spatial.py and tasks/hallucination.py, which build their questions from it, and by
tasks/coco_det_zeroshot.py, which asks what is in the boxes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image
from tasks._data import data_folder, image_finder, read_json

IMAGES = {"val2014": 40_504, "train2014": 82_783, "val2017": 5_000, "train2017": 118_287}
"""Images of the published files."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One annotated object (or crowd)."""

    name: str
    box: tuple[float, float, float, float]
    """(left, top, right, bottom) in pixels."""
    id: str = ""
    """Of the annotation."""
    crowd: bool = False
    """Several objects in one box."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One image with its objects, in the order of the file."""

    id: str
    file: str
    width: float
    height: float
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Scenes:
    """The images of one annotation file, in the order of their ids."""

    path: Path
    split: str
    version: str
    """The split where the file has as many images as the published one, else `custom`."""
    names: tuple[str, ...]
    """All categories, in the order of their ids."""
    scenes: tuple[Scene, ...]
    image: Callable[[str], Image]


def load(data: str | None, task: str, splits: Sequence[str] = ("val2014", "val2017")) -> Scenes:
    """Read the instances at `data`: the file, or a folder with one (the first of `splits` wins).

    Raises DataError when there is none, several, or one that is damaged.
    """
    root = data_folder(data, task)
    path = root if root.is_file() else _find(root, splits)
    if root.is_file():
        root = root.parent.parent if root.parent.name == "annotations" else root.parent
    document = read_json(path, dict)
    names, scenes = _scenes(path, document)
    split = path.stem.removeprefix("instances_")
    version = split if IMAGES.get(split) == len(document["images"]) else "custom"
    folders = (split, f"images/{split}", "images", f"coco/{split}", f"coco/images/{split}")
    return Scenes(path, split, version, names, scenes, image_finder(root, folders))


def _find(root: Path, splits: Sequence[str]) -> Path:
    found = sorted({*root.glob("instances_*.json"), *root.glob("annotations/instances_*.json")})
    for split in splits:
        for path in found:
            if path.name == f"instances_{split}.json":
                return path
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"{root}: expected one file of COCO instance annotations (annotations/"
        f"instances_{splits[0]}.json), found {', '.join(p.name for p in found) or 'none'}"
        + ("; name the file with --data" if found else "")
    )


def _scenes(path: Path, document: Any) -> tuple[tuple[str, ...], tuple[Scene, ...]]:
    at = "categories"
    try:
        categories = {c["id"]: str(c["name"]) for c in document["categories"]}
        at = "images"
        images = {image["id"]: image for image in document["images"]}
        things: dict[Any, list[Thing]] = {id: [] for id in images}
        for row in document["annotations"]:
            at = f"annotation {row['id']}"
            left, top, width, height = (float(x) for x in row["bbox"])
            if not all(map(math.isfinite, (left, top, width, height))) or min(width, height) < 0:
                raise ValueError(f"bbox {row['bbox']}")
            box = (left, top, left + width, top + height)
            name, crowd = categories[row["category_id"]], bool(row.get("iscrowd"))
            things[row["image_id"]].append(Thing(name, box, str(row["id"]), crowd))
        scenes = []
        for id in sorted(images):
            at, image = f"image {id}", images[id]
            size = float(image["width"]), float(image["height"])
            scenes.append(Scene(str(id), str(image["file_name"]), *size, tuple(things[id])))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}, {at}: not COCO instances ({type(error).__name__}: {error}); expected "
            "categories [{id, name}], images [{id, file_name, width, height}], annotations "
            "[{id, image_id, category_id, bbox [left, top, width, height]}]"
        ) from error
    return tuple(categories[id] for id in sorted(categories)), tuple(scenes)
