"""Zero-shot detection: the val2017 instances whose boxes tasks/coco_det_zeroshot.py asks about.

COCO's layout (cocodataset.org): annotations/instances_val2017.json with the test scenes, pictures
in val2017/. 25 of the world's 30 categories are among the 65 of the open-vocabulary split. Imports
harness.world.
"""

from pathlib import Path

from harness.world.formats import _coco, _val2017
from harness.world.scene import World


def write(world: World, folder: Path) -> None:
    """Write the test scenes into `folder`."""
    scenes = _val2017.place(world, folder)
    document = _coco.instances(scenes, _val2017.file_name)
    _coco.dump(document, folder / "annotations/instances_val2017.json")
