"""LLaVA-Bench files for the contract test and the judging tests: In-the-Wild's layout, and COCO's.

The judge's rules are our own words; the published ones come with the user's data.
"""

import json
from pathlib import Path

from small_data import picture

CATEGORIES = ("conv", "detail", "complex")


def write(folder: Path) -> dict[str, Path]:
    """Write 3 questions on each of 4 pictures in the wild layout."""
    return {"": wild(folder / "wild")}


def wild(folder: Path, images: int = 4) -> Path:
    names = [f"{i + 1:03d}.jpg" for i in range(images)]
    contexts = [
        {"id": n[:3], "image": n, "caption": f"A photo of the thing {n[:3]}."} for n in names
    ]
    _write(folder, names, names, "questions", "answers_gpt4", "context", contexts)
    return folder


def coco(folder: Path, images: int = 2) -> Path:
    names = [f"{i:012d}.jpg" for i in range(images)]
    contexts = [
        {
            "id": n[:12],
            "image": n,
            "captions": [f"First words about {n}.", "Second words."],
            "instances": [
                {"category": "cup", "bbox": [0.1, 0.25, 0.5, 1.0]},
                {"category": "dining table", "bbox": [0, 0.0, 1, 0.333]},
            ],
        }
        for n in names
    ]
    stored = [f"COCO_val2014_{name}" for name in names]
    files = ("qa90_questions", "qa90_gpt4_answer", "caps_boxes_coco2014_val_80")
    _write(folder, names, stored, *files, contexts)
    return folder


def _write(folder, names, stored, questions, answers, context, contexts) -> None:
    (folder / "images").mkdir(parents=True)
    for i, name in enumerate(stored):
        (folder / "images" / name).write_bytes(picture(i))
    asked, answered = [], []
    for i, name in enumerate(names):
        for j, category in enumerate(CATEGORIES):
            number = 3 * i + j
            text = f"What is {number} in {category}?"
            asked.append({"question_id": number, "image": name, "text": text, "category": category})
            answered.append({"question_id": number, "text": f"It is the answer {number}."})
    for stem, rows in ((questions, asked), (answers, answered), (context, contexts)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{stem}.jsonl").write_text(lines, encoding="utf-8")
    rules = {
        prefix + category: {"role": "Assistant", "prompt": f"Rate {prefix or 'coco '}{category}."}
        for prefix in ("", "llava_bench_")
        for category in CATEGORIES
    }
    (folder / "rule.json").write_text(json.dumps(rules), encoding="utf-8")
