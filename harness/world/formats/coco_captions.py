"""COCO 2014: instances and five captions per picture, train2014 and val2014.

The layout of cocodataset.org: annotations/instances_{train,val}2014.json,
annotations/captions_{train,val}2014.json, pictures in train2014/ and val2014/. What the COCO tasks
read, and the raw material of stage 1 and of captioning. Imports harness.world.
"""

from pathlib import Path

from harness.world.formats import _coco
from harness.world.scene import Split, World

PARTS: dict[Split, str] = {"train": "train2014", "test": "val2014"}


def write(world: World, folder: Path) -> None:
    """Write both splits into `folder`."""
    for split, part in PARTS.items():
        scenes = world.split(split)
        _coco.dump(_coco.instances(scenes), folder / f"annotations/instances_{part}.json")
        _coco.dump(_coco.captions(world, scenes), folder / f"annotations/captions_{part}.json")
        for scene in scenes:
            world.place(scene, folder / part / _coco.file_name(scene))
