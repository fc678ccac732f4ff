"""COCO instances for the contract test: boxes of base, novel and other classes, and a crowd."""

import json
from pathlib import Path

from small_data import picture

CLASSES = {1: "person", 3: "car", 6: "bus", 18: "dog", 28: "umbrella", 10: "traffic light"}
SIZE = (80, 60)
PLACES = ((2, 2, 20, 30), (30, 4, 24, 20), (58, 6, 18, 40), (8, 36, 30, 20), (44, 34, 12, 24))


def objects(number: int) -> list[tuple[int, tuple[float, ...], int]]:
    """Return (category id, bbox, iscrowd) of one picture: no two boxes overlap."""
    ids = list(CLASSES)
    found = [
        (ids[(number * 3 + at * at) % len(ids)], place, 0)
        for at, place in enumerate(PLACES[: 2 + number % 4])
    ]
    return [*found, (1, (0, 56, 79, 4), 1)] if number % 5 == 0 else found


def instances(folder: Path, pictures: list[list[tuple[int, tuple[float, ...], int]]]) -> Path:
    """Write `annotations/instances_val2017.json` and a picture for each list of objects."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "val2017").mkdir(exist_ok=True)
    images, annotations = [], []
    for number, things in enumerate(pictures):
        name = f"{number + 7:012d}.jpg"
        (folder / "val2017" / name).write_bytes(picture(number, SIZE))
        images.append({"id": number + 7, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        for category, box, crowd in things:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number + 7, "category_id": category,
                 "bbox": list(box), "area": box[2] * box[3], "iscrowd": crowd}
            )  # fmt: skip
    categories = [{"id": k, "name": name} for k, name in CLASSES.items()]
    document = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps(document))
    return path


def write(folder: Path) -> dict[str, Path]:
    """Write 12 pictures; returns variant to data ("": every other variant)."""
    instances(folder, [objects(number) for number in range(12)])
    return {"": folder}
