"""Karpathy's caption files: dataset_flickr30k.json and dataset_coco.json with their pictures.

Karpathy and Li 2015 (caption_datasets.zip): one document with a list `images`; five sentences per
picture. Both files hold the world's scenes and captions; Flickr30K's pictures lie in
flickr30k-images/, COCO's in train2014/ and val2014/. A test split never reaches half of the
published one, so that nobody takes it for that. Imports harness.world.
"""

import re
from pathlib import Path
from typing import Any

from harness.world.formats import _coco
from harness.world.scene import Scene, World

MOST = {"flickr30k": 499, "coco": 2_499}
"""Test pictures at most."""


def write(world: World, folder: Path) -> None:
    """Write both files and their pictures into `folder`."""
    for which, most in MOST.items():
        scenes = [*world.split("train"), *world.split("test")[:most]]
        rows = [_row(world, scene, at, which) for at, scene in enumerate(scenes)]
        document = {"images": rows, "dataset": which}
        _coco.dump(document, folder / f"dataset_{which}.json")
        for scene, row in zip(scenes, rows, strict=True):
            place = "flickr30k-images" if which == "flickr30k" else row["filepath"]
            world.place(scene, folder / place / row["filename"])


def _row(world: World, scene: Scene, at: int, which: str) -> dict[str, Any]:
    ids = [at * 5 + number for number in range(5)]
    sentences = [
        {
            "tokens": re.findall(r"[a-z0-9]+", text.lower()),
            "raw": text,
            "imgid": at,
            "sentid": number,
        }
        for number, text in zip(ids, _coco.five(world, scene), strict=True)
    ]
    row: dict[str, Any] = {
        "sentids": ids,
        "imgid": at,
        "sentences": sentences,
        "split": scene.split,
    }
    if which == "flickr30k":
        return row | {"filename": f"{scene.id:010d}.jpg"}
    name = _coco.file_name(scene)
    return {"filepath": name.split("_")[1]} | row | {"filename": name, "cocoid": scene.id}
