"""Test scenes as COCO 2017 has them: twelve digits, no split in the name. Imports harness.world."""

from pathlib import Path

from harness.world.scene import Scene, World

MOST = 2_499
"""Pictures at most: below half the published 5,000, so that nobody takes them for these."""


def file_name(scene: Scene) -> str:
    """Return what COCO 2017 calls a picture."""
    return f"{scene.id:012d}.jpg"


def place(world: World, folder: Path) -> tuple[Scene, ...]:
    """Put the pictures of test scenes into `folder`/val2017 and return the scenes."""
    scenes = world.split("test")[:MOST]
    for scene in scenes:
        world.place(scene, folder / "val2017" / file_name(scene))
    return scenes
