"""COCO's annotation files of some scenes: instances and captions, as cocodataset.org has them.

Used by every format that is built on COCO. The categories are those of the world, under COCO's own
ids and names. Imports harness.world.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.world import lore, wording
from harness.world.scene import Scene, Thing, World

_INFO = {
    "description": "Scene world in the format of COCO 2014",
    "url": "",
    "version": "1.0",
    "year": 2014,
    "contributor": "sightline world",
    "date_created": "2014/01/01",
}
_LICENSES = [{"url": "", "id": 1, "name": "Apache-2.0"}]


def file_name(scene: Scene) -> str:
    """Return what COCO 2014 calls the picture: train scenes are train2014, test ones val2014."""
    part = {"train": "train2014", "test": "val2014"}[scene.split]
    return f"COCO_{part}_{scene.id:012d}.jpg"


def instances(scenes: Sequence[Scene], name: Callable[[Scene], str] = file_name) -> dict[str, Any]:
    """Return the document `instances_*.json` of these scenes."""
    return {
        "info": _INFO,
        "images": images(scenes, name),
        "licenses": _LICENSES,
        "annotations": [_instance(scene, thing) for scene in scenes for thing in scene.things],
        "categories": [
            {"supercategory": kind.family, "id": kind.coco, "name": word}
            for word, kind in lore.KINDS.items()
        ],
    }


def captions(world: World, scenes: Sequence[Scene]) -> dict[str, Any]:
    """Return the document `captions_*.json`: five captions of each scene."""
    rows = []
    for scene in scenes:
        for number, text in enumerate(five(world, scene)):
            rows.append({"image_id": scene.id, "id": scene.id * 10 + number, "caption": text})
    return {
        "info": _INFO,
        "images": images(scenes, file_name),
        "licenses": _LICENSES,
        "annotations": rows,
    }


def five(world: World, scene: Scene) -> tuple[str, ...]:
    """Return the five captions of a scene; the same wherever they are asked for."""
    return wording.captions(scene, world.draw("captions", scene.id), 5)


def images(scenes: Iterable[Scene], name: Callable[[Scene], str]) -> list[dict[str, Any]]:
    """Return COCO's list of images."""
    return [
        {
            "license": 1,
            "file_name": name(scene),
            "coco_url": "",
            "height": scene.height,
            "width": scene.width,
            "date_captured": "2014-01-01 00:00:00",
            "flickr_url": "",
            "id": scene.id,
        }
        for scene in scenes
    ]


def annotation_id(scene: Scene, thing: Thing) -> int:
    """Return the id of a thing's annotation, unique in the world."""
    return scene.id * 100 + thing.id


def box_of(thing: Thing) -> list[float]:
    """Return COCO's box: left, top, width, height, rounded to hundredths."""
    left, top, right, bottom = thing.box
    return [round(left, 2), round(top, 2), round(right - left, 2), round(bottom - top, 2)]


def dump(document: Any, path: Path) -> None:
    """Write a JSON document as the official files are: one line, ASCII."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def dump_lines(rows: Iterable[Any], path: Path) -> None:
    """Write one JSON document per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _instance(scene: Scene, thing: Thing) -> dict[str, Any]:
    flat = [round(number, 2) for point in thing.outline for number in point]
    return {
        "segmentation": [flat],
        "area": round(_area(thing.outline), 2),
        "iscrowd": 0,
        "image_id": scene.id,
        "bbox": box_of(thing),
        "category_id": lore.KINDS[thing.kind].coco,
        "id": annotation_id(scene, thing),
    }


def _area(points: Sequence[tuple[float, float]]) -> float:
    """Return the area of a closed polygon."""
    turned = zip(points, [*points[1:], points[0]], strict=True)
    return abs(sum(x * b - a * y for (x, y), (a, b) in turned)) / 2
