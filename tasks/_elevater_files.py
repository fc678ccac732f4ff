"""Where ELEVATER's data sets lie, what their classes are called, and the pictures of a split.

A data set has a folder of its own, under its name or the toolkit's. The forms in which pictures
come are read by tasks/_elevater_layouts.py. Class names and templates come from the user's copy of
the toolkit's, or from classes.txt. Imports the harness, those layouts and the table of data sets.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from harness.errors import DataError
from harness.types import Image
from tasks._data import file_sha256, read_json
from tasks._elevater_layouts import LAYOUTS, Found, lines_of
from tasks._elevater_sets import IMAGENET, DataSet

NAMES = "classes_and_templates.json"
PLAIN = "a photo of a {}."
"""The template where the user has none; the toolkit has others for most data sets."""
SIDE = 224
"""Pixels of the square to which the one uncropped data set is resized."""


@dataclass(frozen=True, slots=True)
class Words:
    """What the classes of a data set are called and which sentences they are put into."""

    classes: tuple[str, ...]
    templates: tuple[str, ...]
    file: Path
    note: str = ""
    """What a reader of the number must know about them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a split, with the positions of its classes."""

    name: str
    labels: tuple[int, ...]
    image: Image


@dataclass(frozen=True, slots=True)
class Loaded:
    """A data set as it was found."""

    one: DataSet
    folder: Path
    words: Words
    test: list[Picture]


def load(root: Path, wanted: Sequence[DataSet]) -> tuple[list[Loaded], dict[str, str]]:
    """Return those of the `wanted` data sets that are in `root`, and the checksums of their names.

    Raises DataError when none is, or when one is there without pictures to test on.
    """
    names = find_names(root)
    found = []
    for one in wanted:
        folder = find_folder(root, one)
        if folder is None:
            continue
        words = read_words(folder, one, names)
        test = read_split(folder, one, words.classes, "test")
        if not test:
            raise DataError(
                f"{folder}: no test images of {one.name}. Expected test.txt or test.json of the "
                "toolkit, MNIST's t10k files, parquet files with image and label, or pictures in "
                "test/<class>/"
            )
        found.append(Loaded(one, folder, words, test))
    if not found:
        listed = ", ".join(one.name for one in wanted)
        raise DataError(f"{root}: no folder of a data set in it. Expected any of: {listed}")
    paths = {each.words.file for each in found}
    return found, {
        path.relative_to(path.parent.parent).as_posix(): file_sha256(path) for path in paths
    }


def find_folder(root: Path, one: DataSet) -> Path | None:
    """Return the folder of a data set: its name or the toolkit's, in `root` or `root` itself."""
    names = re.compile(rf"{re.escape(one.name)}|{re.escape(one.folder)}(_\d{{8}})?")
    if root.is_dir() and names.fullmatch(root.name):
        return root
    for parent in (root, root / "classification"):
        if parent.is_dir():
            found = sorted(p for p in parent.iterdir() if p.is_dir() and names.fullmatch(p.name))
            if found:
                return found[0]
    return None


def find_names(root: Path) -> Path | None:
    """Return the file of class names and templates in `root` or, for one data set, beside it."""
    return next((p for p in (root / NAMES, root.parent / NAMES) if p.is_file()), None)


def read_words(folder: Path, one: DataSet, names: Path | None) -> Words:
    """Return class names and templates from `names`, or from classes.txt and templates.txt.

    Of several names for a class the first one counts, as in the toolkit. Raises DataError when
    there are none or not as many as the data set has classes.
    """
    table = read_json(names, dict) if names else {}
    if names and one.name in table:
        entry, path = table[one.name], names
        try:
            classes = tuple(c if isinstance(c, str) else str(c[0]) for c in entry["classes"])
            templates = tuple(str(template) for template in entry["templates"])
        except (KeyError, TypeError, IndexError) as error:
            raise DataError(
                f"{names}, {one.name}: expected the lists 'classes' and 'templates' ({error!r})"
            ) from error
    else:
        path = folder / "classes.txt"
        if not path.is_file():
            raise DataError(
                f"{folder}: no class names. Put the toolkit's names and templates as {NAMES} "
                "({name: {classes: [...], templates: [...]}}) beside the data sets, or the names "
                "of the classes in the order of their labels, one a line, as classes.txt into "
                "this folder"
            )
        classes = lines_of(path)
        beside = folder / "templates.txt"
        templates = lines_of(beside) if beside.is_file() else (PLAIN,)
    if len(classes) != one.classes:
        raise DataError(f"{path}: {one.name} has {one.classes} classes, found {len(classes)} names")
    if not templates or not all("{}" in template for template in templates):
        raise DataError(f"{path}: every template must have a place {{}} for the class name")
    note = ""
    if len(templates) != one.templates:
        note = f"{one.name}: {len(templates)} prompt templates, the toolkit has {one.templates}"
    return Words(classes, templates, path, note)


def read_split(folder: Path, one: DataSet, classes: Sequence[str], split: str) -> list[Picture]:
    """Return the pictures of "train" or "test" in the order of the files; [] where there are none.

    Raises DataError for damaged files, names that are no class, labels out of range, and more
    pictures than were published.
    """
    # ImageNet's test labels are secret; its validation split is what everyone tests on.
    words = ("val", "validation", "test") if one is IMAGENET and split == "test" else (split,)
    found: list[Found] = []
    for word in words:
        for layout in LAYOUTS:
            found = found or layout(folder, one, classes, word)
    for name, labels, _ in found:
        if not all(0 <= label < one.classes for label in labels):
            raise DataError(
                f"{folder}: {name} has the labels {list(labels)}; {one.name} has the classes 0 to "
                f"{one.classes - 1}"
            )
        if len(labels) != 1 and not one.multilabel:
            raise DataError(
                f"{folder}: {name} has {len(labels)} labels; an image of {one.name} has one"
            )
    if len(found) > one.count(split):
        raise DataError(
            f"{folder}: {one.name} has {one.count(split):,} images in its {split} split, found "
            f"{len(found):,}; this is another split, or several at once"
        )
    return [_picture(one, split, each) for each in found]


def relevance_of(each: Loaded) -> dict[tuple[int, ...], tuple[float, ...]]:
    """Return the gold score of every class by an image's labels.

    Empty where the target's name is enough: images have one class, and no two classes share a name.
    """
    classes = each.words.classes
    if not each.one.multilabel and len(set(classes)) == len(classes):
        return {}
    return {
        labels: tuple(float(place in labels) for place in range(len(classes)))
        for labels in {picture.labels for picture in each.test}
    }


def coverage(one: DataSet, pictures: Sequence[Picture], split: str) -> str:
    """Say what is missing of a published split; "" where nothing is."""
    if len(pictures) == one.count(split):
        return ""
    seen = {label for picture in pictures for label in picture.labels}
    absent = one.classes - len(seen)
    without = f", none of {absent} of the {one.classes} classes" if absent else ""
    return (
        f"{one.name}: a subset, {len(pictures):,} of {one.count(split):,} {split} images{without}; "
        "not comparable with published numbers"
    )


def _picture(one: DataSet, split: str, found: Found) -> Picture:
    name, labels, source = found
    called = f"{one.name}/{split}/{name}"
    if one.squash and source is not None:
        source = partial(_squashed, Image(called, source))
    return Picture(name, labels, Image(called, source))


def _squashed(image: Image) -> bytes:
    """Return a picture resized to a square, as the toolkit does where it does not crop.

    A model that resizes to 224 and crops then leaves it as it is.
    """
    from PIL import Image as Pictures

    with Pictures.open(BytesIO(image.read())) as opened:
        small = opened.convert("RGB").resize((SIDE, SIDE), Pictures.Resampling.BICUBIC)
    out = BytesIO()
    small.save(out, "PNG")
    return out.getvalue()
