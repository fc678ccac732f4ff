"""Which objects are in a picture or video, from three published annotations.

COCO instances (tasks/_coco_instances.py), the ADE20K scene-parsing benchmark
(ADEChallengeData2016: objectInfo150.txt and one mask per image) and ActivityNet 1.3. Used by
tasks/hallucination.py alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image
from tasks._coco_instances import load as load_coco
from tasks._data import data_folder, file_sha256, image_finder, inside, read_json, read_text

FRAMES = 8
"""Frames of a video that are shown, evenly spaced (LocVLM-Vid-B+ saw eight)."""
COCO = """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light,
fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear,
zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball,
kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup,
fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut,
cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear,
hair drier, toothbrush"""
SAME_THING = frozenset({"motorbike", "minibike", "bike", "sofa", "television", "bag"})
"""What ADE20K calls things of a COCO category."""
ADE_VALIDATION = 2_000
ACT_VALIDATION = 4_926
"""Videos of the published validation split."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture or video and the names that are true of it."""

    id: str
    present: tuple[str, ...]
    pictures: tuple[Image, ...]


@dataclass(frozen=True)
class Scenes:
    """All scenes of a data set and all names that could be asked for."""

    scenes: tuple[Scene, ...]
    names: tuple[str, ...]
    path: Path
    version: str
    split: str
    files: Mapping[str, str]
    license: str


def coco(data: str | None) -> Scenes:
    """Read COCO instances; an object is present where it is annotated, crowds included."""
    found = load_coco(data, "hallucination")
    scenes = tuple(
        Scene(s.id, tuple(dict.fromkeys(t.name for t in s.things)), (found.image(s.file),))
        for s in found.scenes
    )
    files = {found.path.name: file_sha256(found.path)}
    return Scenes(scenes, found.names, found.path, found.version, found.split, files, "CC BY 4.0")


def coco_words() -> frozenset[str]:
    """Return COCO's 80 names, the last word of each, and ADE20K's words for the same things."""
    names = [name.strip() for name in COCO.replace("\n", " ").split(",")]
    return frozenset(names) | {name.split()[-1] for name in names} | SAME_THING


def ade(data: str | None) -> Scenes:
    """Read the validation split of ADEChallengeData2016, without classes that COCO has too.

    A class is COCO's when one of its synonyms is a COCO name or the last word of one ("table",
    "ball"). An object is present where one pixel of the mask is of its class.
    """
    root = data_folder(data, "hallucination")
    info = next((p for p in (root / "objectInfo150.txt", root) if p.is_file()), None)
    masks = (info.parent if info else root) / "annotations" / "validation"
    if info is None or not masks.is_dir():
        raise DataError(
            f"{root}: no ADE20K scene parsing data. Expected ADEChallengeData2016 with "
            "objectInfo150.txt, annotations/validation/*.png and images/validation/*.jpg"
        )
    classes = _ade_classes(info)
    theirs = coco_words()
    names = {
        number: synonyms[0] for number, synonyms in classes.items() if theirs.isdisjoint(synonyms)
    }
    image = image_finder(info.parent, ("images/validation",))
    scenes = tuple(
        Scene(path.stem, _ade_present(path, names), (image(f"{path.stem}.jpg"),))
        for path in sorted(masks.glob("*.png"))
    )
    version = "ADEChallengeData2016" if len(scenes) == ADE_VALIDATION else "custom"
    files = {info.name: file_sha256(info)}
    return Scenes(scenes, tuple(names.values()), info, version, "validation", files, "BSD-3-Clause")


def _ade_classes(path: Path) -> dict[int, list[str]]:
    """Return the synonyms of each class: the last of six columns, after a header."""
    classes: dict[int, list[str]] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        cells = line.split(maxsplit=5)
        if number == 1 or not cells:
            continue
        if len(cells) != 6 or not cells[0].isdecimal():
            raise DataError(f"{path}, line {number}: expected Idx Ratio Train Val Stuff Name")
        classes[int(cells[0])] = [name.strip().lower() for name in cells[5].split(",")]
    return classes


def _ade_present(path: Path, names: Mapping[int, str]) -> tuple[str, ...]:
    from PIL import Image as Pictures

    try:
        with Pictures.open(path) as mask:
            if mask.mode not in ("L", "P"):
                raise DataError(f"{path}: a mask of mode {mask.mode}, expected one byte per pixel")
            counts = mask.histogram()
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not a readable mask ({error})") from error
    return tuple(name for number, name in names.items() if counts[number])


def activitynet(data: str | None) -> Scenes:
    """Read the validation videos of ActivityNet 1.3; what is present are their labels."""
    root = data_folder(data, "hallucination")
    found = [root] if root.is_file() else sorted(root.glob("activity_net.v1-3*.json"))
    if not found:
        raise DataError(
            f"{root}: no ActivityNet labels. Expected activity_net.v1-3.min.json, and frames of "
            "the videos in frames/<video id>/"
        )
    path = found[0]
    frames = _frames(path.parent)
    labels: dict[str, None] = {}
    scenes = []
    at = "database"
    try:
        for video, entry in sorted(read_json(path, dict)["database"].items()):
            at = f"video {video}"
            ours = list(dict.fromkeys(str(a["label"]).lower() for a in entry["annotations"]))
            labels |= dict.fromkeys(ours)
            if entry["subset"] == "validation":
                scenes.append(Scene(video, tuple(ours), frames(video)))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}, {at}: not ActivityNet labels ({type(error).__name__}: {error}); expected "
            "database {video: {subset, annotations [{label}]}}"
        ) from error
    version = "1.3" if len(scenes) == ACT_VALIDATION else "custom"
    files = {path.name: file_sha256(path)}
    names = tuple(sorted(labels))
    return Scenes(tuple(scenes), names, path, version, "validation", files, "MIT")


def _frames(root: Path) -> Callable[[str], tuple[Image, ...]]:
    """Return a function from a video's id to its frames: those of frames/<id> or frames/v_<id>."""
    folder = root / "frames"

    def find(video: str) -> tuple[Image, ...]:
        if not folder.is_dir():
            return (Image(video),)
        for name in (video, f"v_{video}"):
            here = inside(folder, name)
            files: list[Any] = sorted(p for p in here.glob("*.*") if p.is_file())
            if files:
                taken = min(FRAMES, len(files))
                places = [(2 * k + 1) * len(files) // (2 * taken) for k in range(taken)]
                return tuple(Image(f"{video}/{files[at].name}", files[at]) for at in places)
        return (Image(video, folder / video / "no frames here"),)

    return find
