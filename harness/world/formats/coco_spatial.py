"""COCO-Spatial: the val2014 instances from which tasks/coco_spatial.py builds its questions.

COCO's layout (cocodataset.org): annotations/instances_val2014.json with the test scenes, pictures
in val2014/. Which pictures have a triplet is the task's own rule. Imports harness.world.
"""

from pathlib import Path

from harness.world.formats import _coco
from harness.world.scene import World


def write(world: World, folder: Path) -> None:
    """Write the test scenes into `folder`."""
    scenes = world.split("test")
    _coco.dump(_coco.instances(scenes), folder / "annotations/instances_val2014.json")
    for scene in scenes:
        world.place(scene, folder / "val2014" / _coco.file_name(scene))
