"""Class names of the ELEVATER data sets that the world writes, in the toolkit's order and spelling.

Names and order are those of Elevater_Toolkit_IC (datasets/prompts.py), because labels are positions
in these lists. `DRAWN` says which classes have pictures: those that can be drawn so that nobody
takes one for another. A table; imports nothing of ours.
"""

CLASSES: dict[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "cifar-10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    "dtd": (
        *("banded", "blotchy", "braided", "bubbly", "bumpy", "chequered", "cobwebbed", "cracked"),
        *("crosshatched", "crystalline", "dotted", "fibrous", "flecked", "freckled", "frilly"),
        *("gauzy", "grid", "grooved", "honeycombed", "interlaced", "knitted", "lacelike", "lined"),
        *("marbled", "matted", "meshed", "paisley", "perforated", "pitted", "pleated"),
        *("polka-dotted", "porous", "potholed", "scaly", "smeared", "spiralled", "sprinkled"),
        *("stained", "stratified", "striped", "studded", "swirly", "veined", "waffled", "woven"),
        *("wrinkled", "zigzagged"),
    ),
    "eurosat_clip": (
        "annual crop land",
        "forest",
        "brushland or shrubland",
        "highway or road",
        "industrial buildings or commercial buildings",
        "pasture land",
        "permanent crop land",
        "residential buildings or homes or apartments",
        "river",
        "lake or sea",
    ),
    "fer-2013": ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"),
    "gtsrb": (
        *(f"red and white circle {n} kph speed limit" for n in (20, 30, 50, 60, 70, 80)),
        "end / de-restriction of 80 kph speed limit",
        *(f"red and white circle {n} kph speed limit" for n in (100, 120)),
        "red and white circle red car and black car no passing",
        "red and white circle red truck and black car no passing",
        "red and white triangle road intersection warning",
        "white and yellow diamond priority road",
        "red and white upside down triangle yield right-of-way",
        "stop",
        "empty red and white circle",
        "red and white circle no truck entry",
        "red circle with white horizonal stripe no entry",
        "red and white triangle with exclamation mark warning",
        "red and white triangle with black left curve approaching warning",
        "red and white triangle with black right curve approaching warning",
        "red and white triangle with black double curve approaching warning",
        "red and white triangle rough / bumpy road warning",
        "red and white triangle car skidding / slipping warning",
        "red and white triangle with merging / narrow lanes warning",
        "red and white triangle with person digging / construction / road work warning",
        "red and white triangle with traffic light approaching warning",
        "red and white triangle with person walking warning",
        "red and white triangle with child and person walking warning",
        "red and white triangle with bicyle warning",
        "red and white triangle with snowflake / ice warning",
        "red and white triangle with deer warning",
        "white circle with gray strike bar no speed limit",
        "blue circle with white right turn arrow mandatory",
        "blue circle with white left turn arrow mandatory",
        "blue circle with white forward arrow mandatory",
        "blue circle with white forward or right turn arrow mandatory",
        "blue circle with white forward or left turn arrow mandatory",
        "blue circle with white keep right arrow mandatory",
        "blue circle with white keep left arrow mandatory",
        "blue circle with white arrows indicating a traffic circle",
        "white circle with gray strike bar indicating no passing for cars has ended",
        "white circle with gray strike bar indicating no passing for trucks has ended",
    ),
    "kitti-distance": (
        "a photo i took of a car on my left or right side.",
        "a photo i took with a car nearby.",
        "a photo i took with a car in the distance.",
        "a photo i took with no car.",
    ),
    "rendered-sst2": ("negative", "positive"),
    "voc-2007-classification": (
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
        *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
        *("train", "tvmonitor"),
    ),
}
TEMPLATES: dict[str, tuple[str, ...]] = {
    "mnist": ("the number {}.",),
    "dtd": ("a {} texture.",),
    "eurosat_clip": ("{} seen from above.",),
    "fer-2013": ("a {} face.",),
    "gtsrb": ("a {} traffic sign.",),
    "kitti-distance": ("{}",),
    "rendered-sst2": ("a {} review.",),
}
"""Plain templates of our own; the toolkit's are its users' to bring (docs/tasks/elevater.md)."""
PLAIN = ("a photo of a {}.",)
DRAWN: dict[str, tuple[int, ...]] = {
    "dtd": tuple(
        CLASSES["dtd"].index(name)
        for name in (
            *("chequered", "cracked", "crosshatched", "grid", "honeycombed", "polka-dotted"),
            *("spiralled", "sprinkled", "striped", "zigzagged"),
        )
    ),
    "gtsrb": (
        *(0, 1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 26),
        *(32, 33, 34, 35, 36, 37, 38, 39),
    ),
}
"""Positions of the classes with pictures, where these are not all of them."""
