"""Boxes, captions and counts of the training scenes, from which LocVLM's data are built.

`instances_train2014.json` is COCO's format, with the categories of this world under COCO's ids.
`unique_objects.json` has an entry for each thing that is the only one of its category in its
picture: what a perfect captioner would say of it (`caption`, and `relational` where it stands in
an undisputed relation to another). `counts.json` has the number of things of each category that is
there; a category that is not named is not there. Pictures: train2014/. Train split alone.
Imports harness.world alone.
"""

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats._paper import document
from harness.world.lore import KINDS
from harness.world.scene import Scene, Thing, World

_DATE = "2014-01-01 00:00:00"
"""One date for all, so that the same seed gives the same bytes."""


def write(world: World, folder: Path) -> None:
    """Write instances, captions of unique objects and counts, with the pictures."""
    scenes = world.split("train")
    document(folder / "instances_train2014.json", _instances(world, scenes))
    captions = []
    for scene, draw in world.each("train", "regions"):
        captions.extend(_unique(scene, draw))
    document(folder / "unique_objects.json", captions)
    counts = {
        str(scene.id): dict(sorted(Counter(thing.kind for thing in scene.things).items()))
        for scene in scenes
    }
    document(folder / "counts.json", counts)
    for scene in scenes:
        world.place(scene, folder / "train2014" / _name(scene))


def _name(scene: Scene) -> str:
    return f"COCO_train2014_{scene.id:012d}.jpg"


def annotation_id(scene: Scene, thing: Thing) -> int:
    """Return a number that no other thing of the world has."""
    return scene.id * 1000 + thing.id


def xywh(thing: Thing) -> list[float]:
    """Return a box as COCO has it: left, top, width, height in pixels."""
    left, top, right, bottom = thing.box
    return [round(float(x), 2) for x in (left, top, right - left, bottom - top)]


def _instances(world: World, scenes: tuple[Scene, ...]) -> dict[str, Any]:
    return {
        "info": {
            "description": f"scene world, seed {world.seed}",
            "url": "",
            "version": "1.0",
            "year": 2014,
            "contributor": "sightline world",
            "date_created": _DATE,
        },
        "images": [
            {
                "license": 1,
                "file_name": _name(scene),
                "coco_url": "",
                "height": scene.height,
                "width": scene.width,
                "date_captured": _DATE,
                "flickr_url": "",
                "id": scene.id,
            }
            for scene in scenes
        ],
        "licenses": [{"url": "", "id": 1, "name": "made by sightline world"}],
        "annotations": [
            {
                "segmentation": [[round(float(x), 2) for xy in thing.outline for x in xy]],
                "area": round(_area(thing.outline), 2),
                "iscrowd": 0,
                "image_id": scene.id,
                "bbox": xywh(thing),
                "category_id": KINDS[thing.kind].coco,
                "id": annotation_id(scene, thing),
            }
            for scene in scenes
            for thing in scene.things
        ],
        "categories": [
            {"supercategory": kind.family, "id": kind.coco, "name": name}
            for name, kind in KINDS.items()
        ],
    }


def _area(outline: tuple[tuple[float, float], ...]) -> float:
    """Return the area of a polygon by the shoelace formula."""
    turned = (*outline[1:], outline[0])
    return abs(sum(a * d - b * c for (a, b), (c, d) in zip(outline, turned, strict=True))) / 2


def _unique(scene: Scene, draw: Random) -> list[dict[str, Any]]:
    """Return the captions of the things that are the only ones of their category."""
    found = []
    for thing in scene.things:
        if len(scene.of_kind(thing.kind)) > 1:
            continue
        entry = {
            "image_id": scene.id,
            "file_name": _name(scene),
            "annotation_id": annotation_id(scene, thing),
            "category_id": KINDS[thing.kind].coco,
            "category": thing.kind,
            "bbox": xywh(thing),
            "caption": wording.article(draw.choice((wording.look, wording.full_look))(thing)),
        }
        related = [r for r in scene.relations if r.subject == thing.id]
        if related:
            relation = draw.choice(related)
            other = wording.the(scene, scene.thing(relation.object))
            entry["relational"] = f"{entry['caption']} {relation.name} {other}"
        found.append(entry)
    return found
