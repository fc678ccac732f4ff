"""Karpathy's files for the contract test: a small test split, some train images, pictures."""

import json
from pathlib import Path

from small_data import picture

WORDS = ("a dog runs", "two people wait", "a red car", "the sea at night", "an old house")


def karpathy(folder: Path, which: str, images: int = 12) -> Path:
    """Write `dataset_<which>.json`: six captions per image, every fourth image not in the test."""
    place = folder / {"flickr30k": "flickr30k-images", "coco": "val2014"}[which]
    place.mkdir(parents=True)
    rows = []
    for number in range(images * 4 // 3):
        name = f"{which}_{number:03d}.jpg"
        (place / name).write_bytes(picture(number, (32, 24)))
        raws = [f"{words}, seen {number} times." for words in (*WORDS, "never asked")]
        rows.append(
            {"imgid": number, "filename": name, "filepath": place.name,
             "split": "train" if number % 4 == 3 else "test", "sentids": [],
             "sentences": [{"raw": raw, "tokens": raw.split(), "imgid": number} for raw in raws]}
        )  # fmt: skip
    document = {"dataset": which, "images": rows}
    (folder / f"dataset_{which}.json").write_text(json.dumps(document))
    return folder


def write(folder: Path) -> dict[str, Path]:
    """Write both data sets; returns variant to data."""
    coco = karpathy(folder / "coco", "coco")
    return {"": karpathy(folder / "flickr30k", "flickr30k"), "coco": coco, "coco-photo": coco}
