"""ELEVATER: nine of its twenty data sets in the forms in which they come.

Li et al. 2022 (arXiv 2204.08790), Elevater_Toolkit_IC and vision-datasets; the forms are those that
tasks/_elevater_layouts.py describes:

    mnist                     its own idx files, gzipped
    cifar-10, rendered-sst2   a folder per class
    dtd                       a folder per class, zipped by split
    eurosat_clip, kitti-distance   the toolkit's index, pictures beside it
    gtsrb                     the toolkit's index, pictures in zip files
    fer-2013, voc-2007-classification   the toolkit's COCO-like file; VOC's pictures are scenes

Class names are the official ones; classes that cannot be drawn so that nobody mistakes them have no
pictures. Train and test pictures are drawn from different sources. Imports harness.world.
"""

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from harness.world.formats import _coco
from harness.world.formats import _elevater_pictures as pictures
from harness.world.formats._elevater_signs import sign
from harness.world.formats._elevater_words import CLASSES, DRAWN, PLAIN, TEMPLATES
from harness.world.scene import Split, World

SPLITS: tuple[Split, Split] = ("train", "test")
VOC = {
    "bicycle": "bicycle",
    "bird": "bird",
    "boat": "boat",
    "bottle": "bottle",
    "bus": "bus",
    "car": "car",
    "cat": "cat",
    "chair": "chair",
    "dog": "dog",
    "horse": "horse",
    "person": "person",
    "potted plant": "pottedplant",
}
"""What a kind of the world is called in VOC."""
VOC_MOST = {"train": 2_500, "test": 4_900}
Made = tuple[int, int, Any]
"""Position of the class, number within it, PIL image."""
Writer = Callable[[Path, str, Split, Iterator[Made]], None]


def write(world: World, folder: Path) -> None:
    """Write the data sets, and the names of their classes, into `folder`."""
    names = {
        name: {"classes": list(classes), "templates": list(TEMPLATES.get(name, PLAIN))}
        for name, classes in CLASSES.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(names, indent=1) + "\n"
    (folder / "classes_and_templates.json").write_text(text, encoding="utf-8")
    for name, (paint, writer) in _SETS.items():
        for split in SPLITS:
            writer(folder / name, name, split, _drawn(world, name, split, paint))
    for split in SPLITS:
        _trees(folder / "rendered-sst2", "rendered-sst2", split, _reviews(world, split))
        _voc(world, folder / "voc-2007-classification", split)


def per_class(world: World, split: Split) -> int:
    """Return how many pictures a class has: enough for five shots, more in a larger world."""
    count = len(world.scenes)
    return min(60, max(6, count // 100)) if split == "train" else min(30, max(3, count // 200))


def _drawn(
    world: World, name: str, split: Split, paint: Callable[[Random, int], Any]
) -> Iterator[Made]:
    for place in DRAWN.get(name, range(len(CLASSES[name]))):
        for number in range(per_class(world, split)):
            yield place, number, paint(world.draw("elevater", name, split, place, number), place)


def _reviews(world: World, split: Split) -> Iterator[Made]:
    """Yield rendered sentences; no sentence is in both splits."""
    for place, words in enumerate((pictures.BAD, pictures.GOOD)):
        sentences = pictures.reviews(world.draw("elevater", "reviews", place), words)
        half = len(sentences) // 2
        mine = sentences[:half] if split == "train" else sentences[half:]
        for number, sentence in enumerate(mine[: 4 * per_class(world, split)]):
            yield place, number, pictures.written(sentence)


def _png(image: Any) -> bytes:
    out = BytesIO()
    image.save(out, "PNG", compress_level=4)
    return out.getvalue()


def _idx(folder: Path, name: str, split: Split, made: Iterator[Made]) -> None:
    """Write MNIST's files: sizes and bytes, big-endian, gzipped without a time."""
    found = sorted(made, key=lambda entry: entry[1])  # the classes take turns
    word = {"train": "train", "test": "t10k"}[split]
    side = found[0][2].width
    pixels = struct.pack(">IIII", 0x803, len(found), side, side) + b"".join(
        image.tobytes() for _, _, image in found
    )
    labels = struct.pack(">II", 0x801, len(found)) + bytes(place for place, _, _ in found)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, raw in (("images-idx3", pixels), ("labels-idx1", labels)):
        path = folder / f"{word}-{kind}-ubyte.gz"
        path.write_bytes(gzip.compress(raw, compresslevel=6, mtime=0))


def _trees(folder: Path, name: str, split: Split, made: Iterator[Made]) -> None:
    for place, number, image in made:
        target = folder / split / CLASSES[name][place] / f"{number:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_png(image))


def _zipped_trees(folder: Path, name: str, split: Split, made: Iterator[Made]) -> None:
    members = {
        f"{CLASSES[name][place]}/{CLASSES[name][place]}_{number:04d}.png": image
        for place, number, image in made
    }
    _zip(folder / f"{split}.zip", members)


def _index(folder: Path, name: str, split: Split, made: Iterator[Made]) -> None:
    lines = []
    for place, number, image in made:
        target = folder / split / f"{place:02d}_{number:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_png(image))
        lines.append(f"{split}/{target.name} {place}\n")
    (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")


def _zipped_index(folder: Path, name: str, split: Split, made: Iterator[Made]) -> None:
    members: dict[str, Any] = {}
    lines = []
    for place, number, image in made:
        member = f"{place:05d}/{number:05d}.png"
        members[member] = image
        lines.append(f"{split}.zip@{member} {place}\n")
    _zip(folder / f"{split}.zip", members)
    (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")


def _zipped_coco(folder: Path, name: str, split: Split, made: Iterator[Made]) -> None:
    members: dict[str, Any] = {}
    images: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    for at, (place, number, image) in enumerate(made, 1):
        member = f"{place}/{number:05d}.png"
        members[member] = image
        images.append(
            {
                "id": at,
                "width": image.width,
                "height": image.height,
                "file_name": member,
                "zip_file": f"{split}.zip",
            }
        )
        marks.append({"id": at, "category_id": place + 1, "image_id": at})
    _zip(folder / f"{split}.zip", members)
    _meta(folder, name, split, images, marks)


def _voc(world: World, folder: Path, split: Split) -> None:
    """Write scenes with all their VOC classes; a scene without any has none, as VOC allows."""
    classes = CLASSES["voc-2007-classification"]
    images: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    for scene in world.split(split)[: VOC_MOST[split]]:
        name = f"{scene.id:06d}.jpg"
        world.place(scene, folder / split / name)
        images.append(
            {
                "id": scene.id,
                "width": scene.width,
                "height": scene.height,
                "file_name": f"{split}/{name}",
            }
        )
        for kind in sorted({thing.kind for thing in scene.things} & set(VOC)):
            marks.append(
                {
                    "id": len(marks) + 1,
                    "category_id": classes.index(VOC[kind]) + 1,
                    "image_id": scene.id,
                }
            )
    _meta(folder, "voc-2007-classification", split, images, marks)


def _meta(
    folder: Path, name: str, split: Split, images: list[dict[str, Any]], marks: list[dict[str, Any]]
) -> None:
    categories = [{"id": at, "name": word} for at, word in enumerate(CLASSES[name], 1)]
    document = {"images": images, "annotations": marks, "categories": categories}
    _coco.dump(document, folder / f"{split}.json")


def _zip(path: Path, members: dict[str, Any]) -> None:
    """Write pictures into a zip file whose bytes depend on nothing else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(path, "w", ZIP_STORED) as archive:
        for name, image in members.items():
            archive.writestr(ZipInfo(name, (2014, 1, 1, 0, 0, 0)), _png(image))


def _named(name: str, paint: Callable[[Random, str], Any]) -> Callable[[Random, int], Any]:
    return lambda draw, place: paint(draw, CLASSES[name][place])


_SETS: dict[str, tuple[Callable[[Random, int], Any], Writer]] = {
    "mnist": (_named("mnist", pictures.digit), _idx),
    "cifar-10": (_named("cifar-10", pictures.thing), _trees),
    "dtd": (_named("dtd", pictures.texture), _zipped_trees),
    "eurosat_clip": (_named("eurosat_clip", pictures.land), _index),
    "fer-2013": (_named("fer-2013", pictures.feeling), _zipped_coco),
    "gtsrb": (sign, _zipped_index),
    "kitti-distance": (_named("kitti-distance", pictures.distance), _index),
}
