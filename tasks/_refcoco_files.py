"""RefCOCO, RefCOCO+ and RefCOCOg: regions with the expressions that people gave for them.

Two layouts: the official files of github lichengunc/refer (`refs(unc).p`, `refs(umd).p` or
`refs(google).p` beside `instances.json`, in a folder named like the data set), and flat lists
`<data set>_<split>.json` with one row per expression (img_id, sents, bbox, height, width). One
region is one entry of the pickle, or all rows of one img_id. Sets are held against their published
counts. The tables of lmms-lab are another division of the data and are not read.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image, Source
from tasks._data import data_folder, expect_counts, file_sha256, image_finder, read_json
from tasks._pickle import read_pickle

Box = tuple[float, float, float, float]
PUBLISHED = {
    ("refcoco", "testA"): {"regions": 1_975, "images": 750},
    ("refcoco", "testB"): {"regions": 1_810, "images": 750},
    ("refcoco", "val"): {"regions": 3_811, "images": 1_500},
    ("refcoco+", "testA"): {"regions": 1_975, "images": 750},
    ("refcoco+", "testB"): {"regions": 1_798, "images": 750},
    ("refcoco+", "val"): {"regions": 3_805, "images": 1_500},
    ("refcocog", "val"): {"regions": 2_573, "images": 1_300},
    ("refcocog", "test"): {"regions": 5_023, "images": 2_600},
}
"""The evaluation sets, in the order in which they are asked; unc for the first two, umd for g."""
DATASETS = ("refcoco", "refcoco+", "refcocog")
_DIVISIONS = {"refcoco": ("unc", "google"), "refcoco+": ("unc",), "refcocog": ("umd", "google")}
_IMAGES = (
    "train2014", "images/train2014", "coco/train2014", "coco/images/train2014",
    "images/mscoco/images/train2014", "mscoco/images/train2014", "images",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refer:
    """One region and what people called it."""

    dataset: str
    split: str
    number: str
    """The official ref_id; in flat lists the position of the region in its file, from 0."""
    official: bool
    """Whether `number` is a ref_id."""
    name: str
    """The official file name of the region without its ending: image and a number."""
    image: str
    box: Box
    """(left, top, width, height) in pixels, as published."""
    size: tuple[int, int]
    """Width and height of the image as published."""
    expressions: tuple[str, ...]


@dataclass(frozen=True)
class Regions:
    """All regions of the sets that were found."""

    rows: list[Refer]
    source: Source
    image: Callable[[str], Image]
    notes: tuple[str, ...]


def load(data: str | None) -> Regions:
    """Read every evaluation set at `data`: a folder of either layout, or one flat list.

    Raises DataError for files that are not what they claim to be, or when there are none.
    """
    root = data_folder(data, "refcoco")
    notes: list[str] = []
    files: dict[str, str] = {}
    rows: list[Refer] = []
    version = "flat"
    for folder in _official_folders(root):
        found, version = _official(folder, notes, files)
        rows += found
    if not rows:
        for path, key in _flat_files(root):
            rows += _flat(path, *key)
            files[path.name] = file_sha256(path)
    if not rows:
        raise DataError(
            f"{root}: no RefCOCO regions. Expected refcoco/refs(unc).p with refcoco/instances.json "
            "(likewise refcoco+ and refcocog; github lichengunc/refer), or lists named like "
            "refcoco+_testA.json"
        )
    order = {key: place for place, key in enumerate(PUBLISHED)}
    rows.sort(key=lambda r: order[r.dataset, r.split])  # stable: within a set as in its file
    _check(rows, root, version, notes)
    splits = "+".join(dict.fromkeys(f"{r.dataset}.{r.split}" for r in rows))
    source = Source(str(root), version, splits, files=files)
    folder = root if root.is_dir() else root.parent
    places = (folder, folder.parent)  # images are shared by the data sets and lie beside them
    here = next((p for p in places if any((p / name).is_dir() for name in _IMAGES)), folder)
    return Regions(rows, source, image_finder(here, _IMAGES), tuple(notes))


def _official_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    places = [root, *(root / name for name in DATASETS)]
    return [place for place in places if any(place.glob("refs(*).p"))]


def _official(folder: Path, notes: list[str], files: dict[str, str]) -> tuple[list[Refer], str]:
    dataset = folder.resolve().name
    if dataset not in DATASETS:
        raise DataError(
            f"{folder}: which data set is this? The folder of the official files must be named "
            f"{', '.join(DATASETS)}"
        )
    present = [by for by in _DIVISIONS[dataset] if (folder / f"refs({by}).p").is_file()]
    if not present:
        wanted = " or ".join(f"refs({by}).p" for by in _DIVISIONS[dataset])
        raise DataError(f"{folder}: no {wanted}; the published numbers of {dataset} need it")
    by, others = present[0], present[1:]
    if others:
        notes.append(f"{dataset}: refs({by}).p was taken, not refs({others[0]}).p")
    if by == "google":
        notes.append(f"{dataset}: the google division; not comparable with unc and umd numbers")
    path, instances = folder / f"refs({by}).p", folder / "instances.json"
    boxes, images = _instances(instances)
    refs = read_pickle(path)
    if not isinstance(refs, list):
        raise DataError(f"{path}: expected a list of regions, found a {type(refs).__name__}")
    rows = [_refer(path, dataset, at, ref, boxes, images) for at, ref in enumerate(refs)]
    for file in (path, instances):
        files[f"{dataset}/{file.name}"] = file_sha256(file)
    kept = [row for row in rows if (row.dataset, row.split) in PUBLISHED]
    if not kept:
        raise DataError(f"{path}: no region of val, test, testA or testB in it")
    return sorted(kept, key=lambda row: int(row.number)), by


def _instances(path: Path) -> tuple[dict[int, Box], dict[int, tuple[str, int, int]]]:
    """Return the box of each annotation, and file name and size of each image, by id."""
    found = read_json(path, dict)
    try:
        boxes = {a["id"]: _box(f"{path}, annotation {a['id']}", a) for a in found["annotations"]}
        images = {i["id"]: (str(i["file_name"]), *_size(i)) for i in found["images"]}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not COCO instances with boxes and images ({error!r})") from error
    return boxes, images


def _refer(
    path: Path,
    dataset: str,
    at: int,
    ref: Any,
    boxes: dict[int, Box],
    images: dict[int, tuple[str, int, int]],
) -> Refer:
    where = f"{path}, region {at}"
    try:
        number, split, name = int(ref["ref_id"]), str(ref["split"]), str(ref["file_name"])
        said = [sentence["sent"] for sentence in ref["sentences"]]
        box, (file, width, height) = boxes[ref["ann_id"]], images[ref["image_id"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where}: no region of lichengunc/refer, or instances.json is of another set "
            f"({error!r})"
        ) from error
    stem = name.rsplit(".", 1)[0]
    return Refer(
        dataset, split, str(number), True, stem, file, box, (width, height), _ascii(where, said)
    )


def _flat_files(root: Path) -> list[tuple[Path, tuple[str, str]]]:
    """Return the flat lists with their set, looked for at `root` and one folder below."""
    paths = [root] if root.is_file() else sorted([*root.glob("*.json"), *root.glob("*/*.json")])
    named = [(path, (*path.stem.rpartition("_")[::2],)) for path in paths]
    found: dict[tuple[str, str], Path] = {}
    for path, (dataset, split) in named:
        if (dataset, split) in PUBLISHED:
            other = found.setdefault((dataset, split), path)
            if other != path:
                raise DataError(f"{root} holds {dataset}_{split}.json twice: {other} and {path}")
    return [(path, key) for key, path in found.items()]


def _flat(path: Path, dataset: str, split: str) -> Iterator[Refer]:
    """Yield the regions of a list with one row per expression, in order of first appearance."""
    regions: dict[str, list[dict[str, Any]]] = {}
    for at, row in enumerate(read_json(path, list)):
        if not isinstance(row, dict) or not isinstance(row.get("img_id"), str):
            raise DataError(f"{path}, row {at}: expected an object with img_id, sents and bbox")
        rows = regions.setdefault(row["img_id"], [])
        if rows and rows[0].get("bbox") != row.get("bbox"):
            raise DataError(f"{path}, row {at}: {row['img_id']} has another box than before")
        rows.append(row)
    for at, (name, rows) in enumerate(regions.items()):
        where = f"{path}, {name}"
        try:
            box, size = _box(where, rows[0]), _size(rows[0])
            said = [row["sents"] for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{where}: expected sents, bbox, width and height ({error!r})"
            ) from error
        image = f"{name.rpartition('_')[0]}.jpg"
        yield Refer(dataset, split, str(at), False, name, image, box, size, _ascii(where, said))


def _box(where: str, row: dict[str, Any]) -> Box:
    left, top, width, height = (float(number) for number in row["bbox"])
    if not (width >= 0 and height >= 0 and abs(left) + abs(top) + width + height < 1e6):
        raise DataError(f"{where}: {row['bbox']} is no box (left, top, width, height)")
    return left, top, width, height


def _size(row: dict[str, Any]) -> tuple[int, int]:
    width, height = int(row["width"]), int(row["height"])
    if width < 1 or height < 1:
        raise ValueError(f"an image of {width} x {height}")
    return width, height


def _ascii(where: str, said: Iterable[Any]) -> tuple[str, ...]:
    """Return the expressions without what is not ASCII, as refEvaluation does."""
    found = tuple(said)
    if not found or not all(isinstance(text, str) for text in found):
        raise DataError(f"{where}: a region needs at least one expression; found {found!r:.80}")
    return tuple(text.encode("ascii", "ignore").decode() for text in found)


def _check(rows: list[Refer], root: Path, version: str, notes: list[str]) -> None:
    """Hold each set against its published counts; less than half is a set of somebody's own."""
    for key, published in PUBLISHED.items():
        regions = [row for row in rows if (row.dataset, row.split) == key]
        if not regions or version == "google":
            continue
        found = {"regions": len(regions), "images": len({row.image for row in regions})}
        if found["regions"] < published["regions"] / 2:
            notes.append(
                f"{key[0]} {key[1]}: {found['regions']:,} regions, published are "
                f"{published['regions']:,}: not comparable with published numbers"
            )
            continue
        expect_counts(f"{key[0]} {key[1]} in {root}", published, found)
