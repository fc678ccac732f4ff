"""Sherlock's leaderboard files for the contract test, in the official formats, with pictures."""

import json
import random
from pathlib import Path
from zipfile import ZipFile

from small_data import picture

URLS = (
    "https://cs.stanford.edu/people/rak248/VG_100K/{}.jpg",
    "http://s3-us-west-2.amazonaws.com/ai2-rowanz/vcr1images/movieclips_Made_Up/{}@1.jpg",
)
SIZE = (96, 64)


def image(number: int) -> dict:
    """Return the `image` entry of picture `number`; every other one is a VCR frame."""
    return {"url": URLS[number % 2].format(number), "width": SIZE[0], "height": SIZE[1]}


def pictures(folder: Path, count: int) -> None:
    """Write the pictures that `image` names."""
    for number in range(count):
        path = folder / "images" / "/".join(image(number)["url"].split("/")[-2:])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, SIZE))


def comparison(folder: Path, images: int = 24, seed: int = 0) -> Path:
    """Write `val_comparison/`: images of 2 to 10 candidates, annotators with many ties."""
    draw = random.Random(seed)
    instances, annotations, ids = [], [], {}
    for number in range(images):
        region = [
            {"left": 4 + 30 * k, "top": 5 + number % 7, "width": 20, "height": 30 - k}
            for k in range(1 + number % 2)
        ]
        candidates = []
        for k in range(10 if number % 4 else 2 + number % 8):
            source, test_id = f"source{k:02d}", f"{draw.getrandbits(64):016x}"
            first = draw.choice((1.0, 2.0, 3.0))
            second = draw.choice((first, first, 1.0, 2.0, 3.0))
            candidates.append({"source_iid": source, "annot1": first, "annot2": second})
            ids[test_id] = {"Input_iid": f"input{number}", "candidate": source}
            instances.append(
                {"image": image(number), "region": region, "test_id": test_id,
                 "inference": f"inference {k} of picture {number}",
                 "extra_info": {"task": "comparison"}}
            )  # fmt: skip
        annotations.append({"Input_iid": f"input{number}", "candidates": candidates})
    draw.shuffle(instances)
    place = folder / "val_comparison"
    place.mkdir(parents=True)
    key = {"annotations": annotations, "test_id_map": ids}
    (place / "val_comparison_answer_key.json").write_text(json.dumps(key))
    (place / "val_comparison_instances.json").write_text(json.dumps(instances))
    (place / "val_comparison_instance_ids.json").write_text(json.dumps(sorted(ids)))
    pictures(folder, images)
    return folder


def regions(number: int, count: int) -> list[list[dict]]:
    """Return `count` different regions on picture `number`, each of one or two boxes."""
    return [
        [
            {"left": 3 + 9 * k + 5 * b, "top": 4 + number % 5, "width": 12 + k, "height": 20}
            for b in range(1 + k % 2)
        ]
        for k in range(count)
    ]


def corpus(folder: Path, images: int = 30, splits: int = 3, zipped: bool = True) -> Path:
    """Write the validation corpus: 2 to 4 instances per image, dealt out over the splits."""
    rows = []
    for number in range(images):
        for k, boxes in enumerate(regions(number, 2 + number % 3)):
            rows.append(
                {"inputs": {"image": image(number), "bboxes": boxes, "clue": "a clue",
                            "confidence": 2.0, "obs_idx": k},
                 "targets": {"inference": f"inference {k} about picture {number}"},
                 "instance_id": f"instance{number}x{k}", "split_idx": len(rows) % splits}
            )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    name = "sherlock_val_with_split_idxs_v1_1.json"
    if zipped:
        with ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.writestr(name, json.dumps(rows))
    else:
        (folder / name).write_text(json.dumps(rows))
    pictures(folder, images)
    return folder


def localization(folder: Path, images: int = 12, seed: int = 0) -> Path:
    """Write `val_localization/`: all pairs of people's regions, and five proposals per image."""
    draw = random.Random(seed)
    instances, key = [], {}

    def pair(number: int, boxes: list[dict], inference: int, **facts: object) -> None:
        test_id = f"{draw.getrandbits(64):016x}"
        key[test_id] = {"image": str(number), "inst_id": f"i{number}x{inference}", **facts}
        instances.append(
            {"image": image(number), "region": boxes, "test_id": test_id,
             "inference": f"inference {inference} about picture {number}",
             "extra_info": {"task": "localization"}}
        )  # fmt: skip

    for number in range(images):
        count = 2 + number % 3
        for inference in range(count):
            for place, boxes in enumerate(regions(number, count)):
                facts = {"type": "gt", "bbox_idx": place, "correct": place == inference}
                pair(number, boxes, inference, **facts)
        for proposal in range(5):
            boxes = [{"left": 7 * proposal, "top": 2, "width": 11, "height": 9 + proposal}]
            for inference in range(count):
                iou = draw.choice((0.0, 0.3, 0.5, 0.7, 0.9))
                pair(number, boxes, inference, type="auto", bbox_idx=proposal, IoU=iou)
    place = folder / "val_localization"
    place.mkdir(parents=True)
    (place / "val_localization_answer_key.json").write_text(json.dumps(key))
    (place / "val_localization_instances.json").write_text(json.dumps(instances))
    pictures(folder, images)
    return folder


def write(folder: Path) -> dict[str, Path]:
    """Write official-format folders; returns variant to data ("": every other variant)."""
    return {
        "": comparison(folder / "comparison"),
        "retrieval": corpus(folder / "corpus"),
        "localization": localization(folder / "localization"),
    }
