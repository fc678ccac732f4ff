"""Sherlock's files: the leaderboard bundle of the comparison, and the regions of all its tasks.

The bundle (github allenai/sherlock, `leaderboard_eval/README.md`): `val_comparison_instances.json`
has one entry per (image, region, inference) with its `test_id`; `val_comparison_answer_key.json`
says by `test_id_map` which candidate of which image an entry is, and what two annotators gave each
candidate. Used by tasks/sherlock.py and tasks/_sherlock_matching.py alone.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image
from judges.sherlock import CANDIDATES
from tasks._data import data_folder, image_finder, read_json

Box = tuple[float, float, float, float]
IMAGES = ("images", "vcr1images", "images/vcr1images", "vg", "images/vg", "visual_genome")
PUBLISHED = 485
"""Images of the validation comparison."""


@dataclass(frozen=True, slots=True)
class Place:
    """A region on an image: what a model is shown."""

    name: str
    """The last two parts of the URL: `VG_100K/2371713.jpg`, `movieclips_X/Y@3.jpg`."""
    size: tuple[int, int]
    """Width and height that the boxes are pixels of."""
    boxes: tuple[Box, ...]
    """(left, top, right, bottom)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One image with its candidate inferences and what two annotators gave each."""

    id: str
    place: Place
    test_ids: tuple[str, ...]
    inferences: tuple[str, ...]
    annot1: tuple[float, ...]
    annot2: tuple[float, ...]


def root_of(data: str | None) -> Path:
    """Return the data folder or file. Raises DataError when there is none."""
    return data_folder(data, "sherlock")


def comparisons(root: Path) -> tuple[list[Comparison], list[Path]]:
    """Read the validation comparison below `root`; also the files that were read.

    Raises DataError when a file is not there or damaged, when a candidate of the key has no
    instance, or when the instances of one image do not show the same region.
    """
    key_path = _one(root, "comparison_answer_key")
    path = _one(root, "comparison_instances")
    key = read_json(key_path, dict)
    instances = dict(_instances(path))
    try:
        by_pair = {
            (str(pair["Input_iid"]), str(pair["candidate"])): test_id
            for test_id, pair in key["test_id_map"].items()
        }
        annotations = key["annotations"]
        found = [_comparison(a, by_pair, instances, key_path, path) for a in annotations]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{key_path}: not a comparison key ({type(error).__name__}: {error}); expected "
            "annotations [{Input_iid, candidates [{source_iid, annot1, annot2}]}] and test_id_map"
        ) from error
    return found, [key_path, path]


def place_of(image: Any, boxes: Any) -> Place:
    """Return where an entry's `image` and its boxes are. Raises KeyError, TypeError, ValueError."""
    url = str(image["url"])
    edges = tuple(
        (
            float(box["left"]),
            float(box["top"]),
            float(box["left"]) + float(box["width"]),
            float(box["top"]) + float(box["height"]),
        )
        for box in boxes
    )
    if not edges or not all(math.isfinite(x) for box in edges for x in box):
        raise ValueError(f"no usable box in {boxes!r}")
    if any(left > right or top > bottom for left, top, right, bottom in edges):
        raise ValueError(f"a box of negative size in {boxes!r}")
    size = int(image["width"]), int(image["height"])
    return Place("/".join(url.split("/")[-2:]), size, edges)


def shown(root: Path) -> Callable[[Place, bool], Image]:
    """Return a function that makes the image of a place, with its region drawn or without."""
    folder = root if root.is_dir() else root.parent
    here = any((folder / name).is_dir() for name in ("VG_100K", "VG_100K_2"))
    picture = image_finder(folder, (*IMAGES, ".") if here else IMAGES)

    def show(place: Place, draw: bool) -> Image:
        base = picture(place.name)
        if not draw:
            return base
        named = ";".join(",".join(f"{edge:.10g}" for edge in box) for box in place.boxes)
        source = None if base.source is None else partial(_drawn, base, place)
        return Image(f"{place.name}#{named}", source)

    return show


def _drawn(base: Image, place: Place) -> bytes:
    from PIL import Image as Pictures

    from judges.regions import drawn

    data = base.read()
    try:
        with Pictures.open(BytesIO(data)) as opened:
            size = opened.size
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"image {base.name}: not a picture ({error})") from error
    if size != place.size:
        raise DataError(
            f"image {base.name} is {size[0]}x{size[1]}, its boxes are for "
            f"{place.size[0]}x{place.size[1]}: use the images as published, not resized ones"
        )
    return drawn(data, place.boxes, "sherlock")


def _one(root: Path, what: str) -> Path:
    """Find `val_<what>.json` below the root; the test bundle has no key and cannot be scored."""
    if root.is_file():
        raise DataError(f"{root}: expected the folder with the files of the comparison bundle")
    for depth in ("", "val_comparison/", "*/val_comparison/"):
        found = sorted(root.glob(f"{depth}val_{what}.json"))
        if found:
            return found[0]
    hint = ""
    if test := next(iter(sorted(root.glob(f"**/test_{what}.json"))), None):
        hint = f"; {test.name} is of the test set, which has no key"
    elif any(root.glob("sherlock_val_with_split_idxs*")):
        hint = "; the corpus here serves sherlock/retrieval and sherlock/localization"
    raise DataError(
        f"{root}: no val_{what}.json. Expected the validation bundle of Sherlock's leaderboard "
        "(val_comparison.zip: answer_key, instances, instance_ids; github allenai/sherlock, "
        f"leaderboard_eval){hint}"
    )


def _instances(path: Path) -> Iterator[tuple[str, tuple[Place, str]]]:
    seen: set[str] = set()
    for number, row in enumerate(read_json(path, list), 1):
        try:
            test_id, inference = row["test_id"], row["inference"]
            place = place_of(row["image"], row["region"])
            if not isinstance(inference, str) or not isinstance(test_id, str):
                raise TypeError("test_id and inference must be texts")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}, entry {number}: not an instance ({type(error).__name__}: {error}); "
                "expected image {url, width, height}, region [{left, top, width, height}], "
                "inference, test_id"
            ) from error
        if test_id in seen:
            raise DataError(f"{path}, entry {number}: the test_id '{test_id}' comes twice")
        seen.add(test_id)
        yield test_id, (place, inference)


def _comparison(
    annotation: Any,
    by_pair: Mapping[tuple[str, str], str],
    instances: Mapping[str, tuple[Place, str]],
    key_path: Path,
    path: Path,
) -> Comparison:
    image = str(annotation["Input_iid"])
    candidates = annotation["candidates"]
    if not 1 <= len(candidates) <= CANDIDATES:
        raise DataError(
            f"{key_path}: image '{image}' has {len(candidates)} candidates, expected 1 to "
            f"{CANDIDATES}"
        )
    test_ids = []
    for candidate in candidates:
        pair = (image, str(candidate["source_iid"]))
        test_id = by_pair.get(pair, "")
        if test_id not in instances:
            where = f"{path.name} has no instance '{test_id}'" if test_id else "no test_id maps"
            raise DataError(
                f"{key_path}: the candidate '{pair[1]}' of image '{image}' is missing: {where}; "
                "the key and the instances must be of one bundle"
            )
        test_ids.append(test_id)
    places = {instances[test_id][0] for test_id in test_ids}
    if len(places) > 1:
        raise DataError(
            f"{path}: the candidates of image '{image}' show {len(places)} different regions; "
            "expected the image and region of the input for all of them"
        )
    return Comparison(
        image,
        places.pop(),
        tuple(test_ids),
        tuple(instances[test_id][1] for test_id in test_ids),
        tuple(_label(c["annot1"]) for c in candidates),
        tuple(_label(c["annot2"]) for c in candidates),
    )


def _label(value: Any) -> float:
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"an annotator's score is {value!r}")
    return found
