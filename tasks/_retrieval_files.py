"""Karpathy's files: the images of Flickr30K or COCO with their captions and splits.

`dataset_flickr30k.json` and `dataset_coco.json` (Karpathy and Li 2015, caption_datasets.zip): a
list `images` of {imgid, filename, filepath, split, sentences [{raw}]}. Used by tasks/retrieval.py
alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image, Source
from tasks._data import (
    data_folder,
    expect_counts,
    file_sha256,
    image_finder,
    read_json,
    unique,
)

CAPTIONS = 5
PUBLISHED = {"flickr30k": 1_000, "coco": 5_000}
"""Images of the test splits."""
FOLDERS = {
    "flickr30k": ("flickr30k-images", "flickr30k_images", "images"),
    "coco": ("val2014", "images/val2014", "coco/val2014", "coco/images/val2014", "images"),
}


@dataclass(frozen=True, slots=True)
class Captioned:
    """One image of the test split and its first five captions, as they were written."""

    id: str
    image: Image
    captions: tuple[str, ...]


def load(data: str | None, which: str) -> tuple[list[Captioned], Source, tuple[str, ...]]:
    """Read the test split of `which` ("flickr30k", "coco"); also its source and notes.

    Raises DataError when the file is not there or damaged, or when it has at least half of the
    published images but not all of them.
    """
    root = data_folder(data, "retrieval")
    path = root if root.is_file() else root / f"dataset_{which}.json"
    folder = path.parent
    if not path.is_file():
        raise DataError(
            f"{root}: no dataset_{which}.json (Karpathy's caption_datasets.zip) in it; it belongs "
            "beside the folder with the images"
        )
    find = image_finder(folder, FOLDERS[which])
    rows = []
    for number, row in enumerate(_images(path), 1):
        try:
            if row["split"] != "test":
                continue
            captions = tuple(str(s["raw"]) for s in row["sentences"][:CAPTIONS])
            rows.append(Captioned(str(row["imgid"]), find(row["filename"]), captions))
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}, image {number}: not an entry of Karpathy's file ({error!r}); expected "
                "split, imgid, filename, sentences [{raw}]"
            ) from error
        if not captions:
            raise DataError(f"{path}, image {number}: {row['filename']} has no captions")
    unique((row.id for row in rows), f"test images in {path}")
    return rows, *_source(path, which, rows)


def _images(path: Path) -> list[Any]:
    document = read_json(path, dict)
    if not isinstance(document.get("images"), list):
        raise DataError(f"{path}: no list 'images' in it; it has {', '.join(document)}")
    images: list[Any] = document["images"]
    return images


def _source(path: Path, which: str, rows: list[Captioned]) -> tuple[Source, tuple[str, ...]]:
    size = PUBLISHED[which]
    published = len(rows) >= size / 2
    captions = sum(len(row.captions) for row in rows)
    if published:
        expected = {"test images": size, "captions": CAPTIONS * size}
        expect_counts(str(path), expected, {"test images": len(rows), "captions": captions})
    notes = (
        ()
        if published
        else (
            f"{len(rows):,} images, the published test split has {size:,}: a smaller gallery is "
            "easier, so the numbers are not comparable with published ones",
        )
    )
    version = f"karpathy-{which}" if published else "custom"
    files = {path.name: file_sha256(path)}
    return Source(str(path), version, "test", files=files), notes
