"""Small benchmark files of our own, in the official formats, for a machine without any data.

Pictures are rendered shapes with known contents; the school questions are about word order and
sums. They show that everything works. Their numbers say nothing about published ones, and the
record says so.
"""

import json
import random
from io import BytesIO
from pathlib import Path
from typing import Any

SHAPES = ("circle", "square", "triangle", "star")
COLOURS = {
    "red": (214, 48, 49),
    "blue": (36, 84, 200),
    "green": (30, 150, 75),
    "black": (30, 30, 30),
}
# a plain text, because 46 quoted words would fill a page
_WORDS = """
apple anchor basket bridge candle castle desert dragon engine evening falcon forest garden guitar
harbor hammer island insect jacket jungle kettle kitten ladder lantern magnet meadow needle number
orange oyster pencil planet quarry rabbit ribbon saddle silver temple ticket umbrella valley velvet
window winter yellow zipper
"""
SPLITS = ("random", "popular", "adversarial")


def write(folder: Path, seed: int = 0, images: int = 30, questions: int = 200) -> dict[str, Path]:
    """Write POPE and ScienceQA files below `folder`; returns task name to data folder."""
    pope, science = folder / "pope", folder / "scienceqa"
    draw = random.Random(seed)
    _write_pope(pope, draw, images)
    _write_scienceqa(science, draw, questions)
    return {"pope": pope, "scienceqa": science}


def _write_pope(folder: Path, draw: random.Random, images: int) -> None:
    things = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for i in range(images):
        shown = draw.sample(things, 3)
        name = f"shapes_{i:05d}.png"
        (folder / "images" / name).write_bytes(_render(shown, draw))
        colours = {thing.split()[0] for thing in shown}
        missing = [thing for thing in things if thing not in shown]
        for split in SPLITS:
            absent = draw.sample(missing, len(missing))
            if split == "adversarial":  # first those of a colour that is there
                absent.sort(key=lambda thing: thing.split()[0] not in colours)
            for pair in zip(shown, absent[:3], strict=True):
                for thing, label in zip(pair, ("yes", "no"), strict=True):
                    number = len(rows[split]) + 1
                    text = f"Is there a {thing} in the image?"
                    rows[split].append(
                        {"question_id": number, "image": name, "text": text, "label": label}
                    )
    for split in SPLITS:
        lines = "".join(json.dumps(row) + "\n" for row in rows[split])
        (folder / f"coco_pope_{split}.json").write_text(lines, encoding="utf-8")


def _render(things: list[str], draw: random.Random) -> bytes:
    from math import cos, pi, sin

    from PIL import Image, ImageDraw

    image = Image.new("RGB", (240, 160), (236, 232, 222))
    pen = ImageDraw.Draw(image)
    for place, thing in enumerate(things):
        colour, shape = thing.split()
        x, y, r = 40 + 80 * place, draw.randint(45, 115), draw.randint(22, 34)
        if shape == "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=COLOURS[colour])
            continue
        corners = {"triangle": 3, "square": 4, "star": 10}[shape]
        turn = pi / 4 if shape == "square" else -pi / 2
        reach = [r * (0.45 if shape == "star" and k % 2 else 1) for k in range(corners)]
        angles = [turn + 2 * pi * k / corners for k in range(corners)]
        points = [(x + d * cos(a), y + d * sin(a)) for d, a in zip(reach, angles, strict=True)]
        pen.polygon(points, fill=COLOURS[colour])
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _write_scienceqa(folder: Path, draw: random.Random, questions: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    problems = {str(i + 1): _problem(draw, i) for i in range(questions)}
    splits = {"train": [], "val": [], "test": list(problems)}
    (folder / "problems.json").write_text(json.dumps(problems, indent=1), encoding="utf-8")
    (folder / "pid_splits.json").write_text(json.dumps(splits), encoding="utf-8")


def _problem(draw: random.Random, number: int) -> dict[str, Any]:
    if number % 2:
        words = _WORDS.split()
        first, last = sorted(draw.sample(words, 2))
        inside = [word for word in words if first < word < last] or [first]
        outside = [word for word in words if not first <= word <= last] or [words[0]]
        right, wrong = draw.choice(inside), draw.choice(outside)
        question = f"Which word stands between {first} and {last} in a dictionary?"
        return _row(draw, question, right, [wrong], "language science", "grade3")
    a, b = draw.randint(2, 9), draw.randint(2, 9)
    wrongs = draw.sample([n for n in range(4, 19) if n != a + b], 2)
    question = f"A basket holds {a} apples and {b} pears. How many pieces of fruit is that?"
    return _row(draw, question, str(a + b), [str(n) for n in wrongs], "natural science", "grade2")


def _row(
    draw: random.Random, question: str, right: str, wrong: list[str], subject: str, grade: str
) -> dict[str, Any]:
    choices = [right, *wrong]
    draw.shuffle(choices)
    return {
        "question": question, "choices": choices, "answer": choices.index(right), "hint": "",
        "image": None, "task": "closed choice", "grade": grade, "subject": subject, "topic": "made",
        "category": "made", "skill": "made", "lecture": "", "solution": "", "split": "test",
    }  # fmt: skip
