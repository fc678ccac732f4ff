"""Hal-COCO, Hal-ADE and Hal-Act: the annotations from which tasks/hallucination.py asks.

COCO's val2014 instances of the test scenes; ADE20K's scene parsing layout (ADEChallengeData2016:
objectInfo150.txt, annotations/validation/*.png, images/validation/*.jpg), whose classes here are
what the backgrounds are made of; ActivityNet 1.3 (activity_net.v1-3.min.json, frames/<id>/), whose
activities are what the people of the clips do. Imports harness.world, PIL when it writes.
"""

import shutil
from pathlib import Path
from typing import Any

from harness.world._shapes_place import background
from harness.world._shapes_scene import parts_of
from harness.world.formats import _coco
from harness.world.scene import Clip, Scene, World

ADE = {
    "wall": (1, "wall"),
    "building": (2, "building, edifice"),
    "sky": (3, "sky"),
    "floor": (4, "floor, flooring"),
    "tree": (5, "tree"),
    "road": (7, "road, route"),
    "windowpane": (9, "windowpane, window"),
    "grass": (10, "grass"),
    "cabinet": (11, "cabinet"),
    "sidewalk": (12, "sidewalk, pavement"),
    "door": (15, "door, double door"),
    "curtain": (19, "curtain, drape, drapery, mantle, pall"),
    "sea": (27, "sea"),
    "sand": (47, "sand"),
    "blind": (64, "blind, screen"),
    "countertop": (71, "countertop"),
}
"""Class -> ADE20K's number and name. None of them is a COCO class."""
_OF_FILL = {
    "tiles": "wall", "wall office": "wall", "wall bedroom": "wall",
    "house 1": "building", "house 2": "building", "house 3": "building",
    "sky": "sky", "sun": "sky", "cloud": "sky",
    "floor": "floor", "floor 2": "floor", "carpet": "floor", "carpet 2": "floor",
    "planks": "floor", "planks 2": "floor",
    "tree": "tree", "trunk": "tree", "road": "road", "line": "road", "frame": "",
    "pane": "windowpane", "grass": "grass", "grass 2": "grass", "cabinet": "cabinet",
    "pavement": "sidewalk", "door": "door", "curtain": "curtain", "sea": "sea", "foam": "sea",
    "sand": "sand", "sand 2": "sand", "blinds": "blind",
    "worktop": "countertop", "worktop edge": "countertop",
}  # fmt: skip
"""What a part of a background is; parts that are not listed are lines on what lies under them."""
FEWEST_PIXELS = 60
"""A class of which less is seen is left out of the mask: nobody could tell that it is there."""
ACTIVITIES = {
    "stand": "standing still",
    "walk": "walking",
    "wave": "waving a hand",
    "sit": "sitting",
    "hold": "holding something",
    "read": "reading a book",
    "drink": "drinking",
    "eat": "eating fruit",
    "point": "pointing",
    "fly": "flying a kite",
    "type": "typing on a laptop",
}


def write(world: World, folder: Path) -> None:
    """Write the three sources, which do not get into each other's way, into `folder`."""
    scenes = world.split("test")
    _coco.dump(_coco.instances(scenes), folder / "annotations/instances_val2014.json")
    (folder / "annotations/validation").mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        world.place(scene, folder / "val2014" / _coco.file_name(scene))
        name = f"ADE_val_{scene.id:08d}"
        world.place(scene, folder / "images/validation" / f"{name}.jpg")
        mask(scene).save(folder / "annotations/validation" / f"{name}.png")
    lines = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    lines += [f"{number}\t0.0\t0\t0\t1\t{name}" for number, name in ADE.values()]
    (folder / "objectInfo150.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _activities(world, folder)


def mask(scene: Scene) -> Any:
    """Return a PIL image (mode L) with the ADE20K number of what is seen; 0 for all else."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (scene.width, scene.height))
    brush = ImageDraw.Draw(image)
    for part in background(scene):
        word = _OF_FILL.get(part.fill)
        if word is not None:
            if scene.indoors and word == "sky":
                word = "windowpane"
            brush.polygon(part.points, fill=ADE[word][0] if word else 0)
    for thing in sorted(scene.things, key=lambda thing: thing.depth):
        for part in parts_of(scene, thing):
            brush.polygon(part.points, fill=0)
    rare = {value for value, count in enumerate(image.histogram()) if count < FEWEST_PIXELS}
    return image.point([0 if value in rare else value for value in range(256)])


def _activities(world: World, folder: Path) -> None:
    database: dict[str, Any] = {}
    for clip in world.clips:
        name = video_name(clip)
        database[name] = {
            "duration": 2.0,
            "subset": {"train": "training", "test": "validation"}[clip.split],
            "resolution": f"{clip.frames[0].width}x{clip.frames[0].height}",
            "url": "",
            "annotations": [{"segment": [0.0, 2.0], "label": label} for label in done(clip)],
        }
        if clip.split == "test":
            for number, frame in enumerate(world.frames(clip)):
                target = folder / "frames" / name / f"{number:02d}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(frame, target)
    document = {"version": "VERSION 1.3", "taxonomy": [], "database": database}
    _coco.dump(document, folder / "activity_net.v1-3.min.json")


def video_name(clip: Clip) -> str:
    """Return an id as ActivityNet's, of eleven characters."""
    return f"world{clip.id:06d}"


def done(clip: Clip) -> list[str]:
    """Return what the people of a clip do in any of its frames, sorted."""
    actions = {t.person.action for scene in clip.frames for t in scene.people if t.person}
    return sorted(ACTIVITIES[action] for action in actions)
