"""COCO instances for the contract test: scenes with triplets on both axes, and without."""

import json
from pathlib import Path

from small_data import picture

NAMES = ("person", "dog", "cup", "cat", "kite", "apple", "truck", "boat")
SIZE = (80, 60)
CORNERS = ((2, 2), (2, 40), (50, 2), (50, 40))
"""Left top of a box of 20 x 15 that lies in one half on both axes."""


def scene(number: int) -> list[tuple[int, list[float]]]:
    """Return (category id, bbox): three or four single objects, two kites that never count."""
    corners = [CORNERS[(number + k) % 4] for k in range(3 + number % 2)]
    things = [(k + 1, [float(x), float(y), 20.0, 15.0]) for k, (x, y) in enumerate(corners)]
    kites = [(5, [4.0, 4.0, 8.0, 8.0]), (5, [60.0, 4.0, 8.0, 8.0])]
    across = [(6, [30.0, 20.0, 20.0, 20.0])]
    return [*things, *kites, *across]


def instances(folder: Path, scenes: list[list[tuple[int, list[float]]]], split: str) -> Path:
    """Write `annotations/instances_<split>.json` and one picture per scene."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / split).mkdir(exist_ok=True)
    images, annotations = [], []
    for number, things in enumerate(scenes):
        name = f"COCO_{split}_{number:012d}.jpg"
        (folder / split / name).write_bytes(picture(number, SIZE))
        size = {"width": SIZE[0], "height": SIZE[1]}
        images.append({"id": 100 + number, "file_name": name, **size})
        for category, box in things:
            annotations.append(
                {"id": len(annotations), "image_id": 100 + number, "category_id": category,
                 "bbox": box, "iscrowd": 0}
            )  # fmt: skip
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES, 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations" / f"instances_{split}.json"
    path.write_text(json.dumps(document))
    return path


def write(folder: Path) -> dict[str, Path]:
    """Write 12 scenes of `val2014`; returns variant to data ("": every other variant)."""
    instances(folder, [scene(number) for number in range(12)], "val2014")
    return {"": folder}
