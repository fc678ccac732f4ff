"""COCO, ADE20K and ActivityNet files for the contract test."""

import json
from pathlib import Path

import made_coco_spatial
from PIL import Image
from small_data import picture

CLASSES = (
    "wall", "sky, blue sky", "person, individual, someone", "door, double door",
    "table", "tv, television receiver", "awning, sunshade, sunblind", "stairs, steps",
)  # fmt: skip
LABELS = ("Playing violin", "Rope skipping", "Ironing clothes", "Archery", "Surfing")


def ade(folder: Path, images: int = 8) -> Path:
    """Write ADEChallengeData2016 with eight classes; image k lacks the classes k and k + 1."""
    for place in ("annotations/validation", "images/validation"):
        (folder / place).mkdir(parents=True)
    lines = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    lines += [f"{k}\t0.1\t10\t10\t0\t{name}" for k, name in enumerate(CLASSES, 1)]
    (folder / "objectInfo150.txt").write_text("\n".join(lines) + "\n")
    for number in range(images):
        mask = Image.new("L", (16, 8))
        for k in range(1, len(CLASSES) + 1):
            if (k - 1 - number) % len(CLASSES) not in (0, 1):
                mask.putpixel((k, 3), k)
        stem = f"ADE_val_{number + 1:08d}"
        mask.save(folder / "annotations" / "validation" / f"{stem}.png")
        (folder / "images" / "validation" / f"{stem}.jpg").write_bytes(picture(number))
    return folder


def activitynet(folder: Path, videos: int = 10, frames: int = 11) -> Path:
    """Write the labels of some videos, every fifth of the training split, and frames."""
    database = {}
    for number in range(videos):
        video = f"vid_{number:02d}"
        shown = [LABELS[number % len(LABELS)]] * 2 + [LABELS[(number + 1) % len(LABELS)]] * (
            number % 2
        )
        database[video] = {
            "subset": "training" if number % 5 == 4 else "validation",
            "annotations": [{"label": label, "segment": [0.0, 1.0]} for label in shown],
        }
        place = folder / "frames" / (f"v_{video}" if number % 2 else video)
        place.mkdir(parents=True)
        for frame in range(frames):
            (place / f"{frame:04d}.jpg").write_bytes(picture(100 * number + frame, (32, 24)))
    (folder / "activity_net.v1-3.min.json").write_text(json.dumps({"database": database}))
    return folder


def write(folder: Path) -> dict[str, Path]:
    """Write one folder per data set; returns variant to data."""
    return {
        **made_coco_spatial.write(folder / "coco"),
        "ade": ade(folder / "ade"),
        "act": activitynet(folder / "act"),
    }
