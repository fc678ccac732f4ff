"""COCO-Stuff's pixel maps: which class each pixel of a test scene has.

The layout of stuffthingmaps_trainval2017.zip (github nightrome/cocostuff): stuffthingmaps/val2017/
with a PNG per picture, a byte per pixel: the id of its class minus 1, 255 for none. Things have
their outlines as painted, backgrounds what they are made of. Pictures are in val2017/. Imports
harness.world, PIL when it writes.
"""

from pathlib import Path
from typing import Any

from harness.world import lore
from harness.world._shapes_place import background
from harness.world._shapes_scene import parts_of
from harness.world.formats import _val2017
from harness.world.scene import Scene, World

STUFF = {
    "cabinet": 98, "carpet": 101, "clouds": 106, "counter": 107, "curtain": 109,
    "door-stuff": 112, "floor-tile": 117, "floor-wood": 118, "grass": 124, "house": 128,
    "pavement": 140, "road": 149, "sand": 154, "sea": 155, "sky-other": 157, "tree": 169,
    "wall-other": 173, "wall-tile": 176, "window-blind": 180, "window-other": 181,
}  # fmt: skip
"""COCO-Stuff's ids of what the backgrounds are made of."""
_OF_FILL = {
    "tiles": "wall-tile", "wall office": "wall-other", "wall bedroom": "wall-other",
    "house 1": "house", "house 2": "house", "house 3": "house",
    "sky": "sky-other", "sun": "sky-other", "cloud": "clouds",
    "floor": "floor-tile", "floor 2": "floor-tile", "carpet": "carpet", "carpet 2": "carpet",
    "planks": "floor-wood", "planks 2": "floor-wood", "tree": "tree", "trunk": "tree",
    "road": "road", "line": "road", "pane": "window-other", "frame": "", "grass": "grass",
    "grass 2": "grass", "cabinet": "cabinet", "pavement": "pavement", "door": "door-stuff",
    "curtain": "curtain", "sea": "sea", "foam": "sea", "sand": "sand", "sand 2": "sand",
    "blinds": "window-blind", "worktop": "counter", "worktop edge": "counter",
}  # fmt: skip
"""What a part of a background is; parts that are not listed are lines on what lies under them."""
NOTHING = 255


def write(world: World, folder: Path) -> None:
    """Write the test scenes into `folder`."""
    (folder / "stuffthingmaps/val2017").mkdir(parents=True, exist_ok=True)
    for scene in _val2017.place(world, folder):
        name = Path(_val2017.file_name(scene)).with_suffix(".png")
        pixels(scene).save(folder / "stuffthingmaps/val2017" / name)


def pixels(scene: Scene) -> Any:
    """Return a PIL image (mode L) with the id minus 1 of what is seen, or 255."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (scene.width, scene.height), NOTHING)
    brush = ImageDraw.Draw(image)
    for part in background(scene):
        word = _OF_FILL.get(part.fill)
        if word is None:
            continue
        if scene.indoors and word == "sky-other":
            word = "window-other"
        brush.polygon(part.points, fill=STUFF[word] - 1 if word else NOTHING)
    for thing in sorted(scene.things, key=lambda thing: thing.depth):
        for part in parts_of(scene, thing):
            brush.polygon(part.points, fill=lore.KINDS[thing.kind].coco - 1)
    return image
