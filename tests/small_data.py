"""Small data in official formats, with real pictures, made on the spot."""

import json
import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image

from harness.api import run
from harness.record import Record

OBJECTS = ("dog", "car", "kite", "chair", "bottle", "horse")


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a JPEG of random blocks of colour."""
    draw = random.Random(seed)
    image = Image.new("RGB", size)
    for x in range(0, size[0], 8):
        for y in range(0, size[1], 8):
            colour = tuple(draw.randrange(256) for _ in range(3))
            image.paste(colour, (x, y, x + 8, y + 8))
    out = BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def write_pope(folder: Path, images: int = 4, pictures: bool = True) -> Path:
    """Write a POPE folder of own pictures: 6 questions x 3 splits per image."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"scene_{i:04d}.jpg" for i in range(images)]
    if pictures:
        (folder / "images").mkdir(exist_ok=True)
        for i, name in enumerate(names):
            (folder / "images" / name).write_bytes(picture(i))
    for split in ("random", "popular", "adversarial"):
        rows = []
        for i, name in enumerate(names):
            for j, thing in enumerate(OBJECTS):
                text = f"Is there a {split} {thing} in the image?"
                label = "yes" if j % 2 == 0 else "no"
                number = i * len(OBJECTS) + j + 1
                rows.append({"question_id": number, "image": name, "text": text, "label": label})
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"coco_pope_{split}.json").write_text(lines, encoding="utf-8")
    return folder


def replay(tmp: Path, answers: Callable[[str], str], name: str = "replay") -> Record:
    """Score `answers(question id)` on a small POPE folder through a recorded file."""
    data = write_pope(tmp / "pope")
    ids = [str(o + n) for o in (0, 10_000_000, 20_000_000) for n in range(1, 25)]
    file = tmp / f"{name}.jsonl"
    lines = (json.dumps({"question_id": i, "text": answers(i)}) + "\n" for i in ids)
    file.write_text("".join(lines), encoding="utf-8")
    return run(f"recorded:{file}", "pope", data=data, out=tmp / name)
