"""Names of COCO's and COCO-Stuff's classes, and the words with which a model is asked for them.

The 80 things and 91 kinds of stuff have their official ids (cocodataset.org, nightrome/cocostuff
`labels.txt`). The open-vocabulary split into 48 base and 17 novel classes is that of Bansal et al.
2018 (arXiv 1804.04340), on which RegionCLIP reports. Tables and small functions only.
"""

from collections.abc import Sequence
from pathlib import Path

from harness.errors import DataError
from tasks._data import read_json

THINGS = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train",
    8: "truck", 9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign",
    14: "parking meter", 15: "bench", 16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep",
    21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe", 27: "backpack",
    28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove",
    41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass",
    47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple",
    54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza",
    60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote",
    76: "keyboard", 77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink",
    82: "refrigerator", 84: "book", 85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear",
    89: "hair drier", 90: "toothbrush",
}  # fmt: skip
"""The 80 categories of COCO's instances by id."""
NOVEL = (
    "airplane", "bus", "cat", "dog", "cow", "elephant", "umbrella", "tie", "snowboard",
    "skateboard", "cup", "knife", "cake", "couch", "keyboard", "sink", "scissors",
)  # fmt: skip
"""The 17 classes that an open-vocabulary detector is not trained on."""
_LEFT_OUT = (
    "traffic light", "fire hydrant", "stop sign", "parking meter", "sports ball", "baseball bat",
    "baseball glove", "tennis racket", "wine glass", "hot dog", "potted plant", "dining table",
    "cell phone", "teddy bear", "hair drier",
)  # fmt: skip
BASE = tuple(n for n in THINGS.values() if n not in NOVEL and n not in _LEFT_OUT)
"""The 48 classes that it is trained on. 15 of the 80 are in neither set."""
_STUFF = (
    "banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage",
    "cardboard", "carpet", "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds",
    "counter", "cupboard", "curtain", "desk-stuff", "dirt", "door-stuff", "fence",
    "floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood", "flower", "fog",
    "food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill", "house",
    "leaves", "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net",
    "paper", "pavement", "pillow", "plant-other", "plastic", "platform", "playingfield",
    "railing", "railroad", "river", "road", "rock", "roof", "rug", "salad", "sand", "sea",
    "shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs", "stone", "straw",
    "structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable",
    "wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile",
    "wall-wood", "water-other", "waterdrops", "window-blind", "window-other", "wood",
)  # fmt: skip
STUFF = dict(enumerate(_STUFF, 92))
"""The 91 classes of COCO-Stuff by id."""
TEMPLATES = ("a photo of a {}.", "a photo of the {}.", "there is a {} in the scene.")
"""What is written around a class's name unless the data folder has a `templates.json`. Ours."""


def spoken(name: str) -> str:
    """Return a class's name as one would say it: "wall-brick" is "brick wall".

    The endings -other and -stuff, which tell labels apart, are left out.
    """
    noun, _, kind = name.partition("-")
    return noun if kind in ("", "other", "stuff") else f"{kind} {noun}"


def prompts(names: Sequence[str], root: Path) -> tuple[dict[str, tuple[str, ...]], str]:
    """Return the prompts of each class and, where they are not the data folder's own, a note.

    `templates.json` of the folder is a list of texts in which {} stands for the name; CLIP's own
    lists can be put there. Raises DataError where it is something else.
    """
    path = root / "templates.json"
    found: Sequence[str] = TEMPLATES
    note = f"prompts are {len(TEMPLATES)} templates of our own; no templates.json in the folder"
    if path.is_file():
        found, note = read_json(path, list), ""
        if not found or not all(isinstance(t, str) and "{}" in t for t in found):
            raise DataError(f"{path}: expected a list of texts with {{}} where the name goes")
    made = {name: tuple(t.replace("{}", spoken(name)) for t in found) for name in names}
    return made, note
