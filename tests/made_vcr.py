"""VCR files for the contract test: frames with boxes, questions of every kind of mention."""

import json
from pathlib import Path

from small_data import picture

OBJECTS = ["person", "person", "chair", "person"]
BOXES = [
    [4, 4, 20, 40, 0.99],
    [24.5, 6.25, 40, 44, 0.9],
    [42, 20, 60, 46, 0.8],
    [30, 2, 36, 12, 0.7],
]
QUESTIONS = (
    ["Why", "is", [0], "looking", "at", [1, 3], "?"],
    ["What", "will", [1], "do", "with", [2], "?"],
    ["Is", "everyone", "happy", "?"],
)


def row(image: int, question: int) -> dict:
    """Return one line of val.jsonl; gold labels run through all sixteen pairs."""
    number = image * len(QUESTIONS) + question
    movie = f"movie_{image % 2}"
    name = f"lsmdc_{movie}/frame {image}@0"
    return {
        "movie": movie,
        "objects": OBJECTS,
        "img_fn": f"{name}.jpg",
        "metadata_fn": f"{name}.json",
        "question": QUESTIONS[question],
        "answer_choices": [[[i], "wants", f"thing{number}", "."] for i in range(4)],
        "answer_label": number % 4,
        "rationale_choices": [[[0, i], "stand", "near", str(i), "."] for i in range(4)],
        "rationale_label": number // 4 % 4,
        "question_orig": "Why is 1 looking at 2 and 4?",
        "answer_orig": "1 wants it.",
        "rationale_orig": "1 and 2 stand near.",
        "answer_likelihood": "likely",
        "img_id": f"val-{image}",
        "question_number": question,
        "annot_id": f"val-{number}",
    }


def frames(folder: Path, images: int) -> None:
    """Write frames and their metadata files below `folder`/vcr1images."""
    for image in range(images):
        path = folder / "vcr1images" / row(image, 0)["img_fn"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(image))
        meta = {"boxes": BOXES, "segms": [], "names": OBJECTS, "width": 64, "height": 48}
        path.with_suffix(".json").write_text(json.dumps(meta), encoding="utf-8")


def lines(folder: Path, rows: list[dict]) -> Path:
    """Write val.jsonl and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "val.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write(folder: Path, images: int = 16) -> dict[str, Path]:
    """Write a folder of 3 questions per frame with frames and metadata."""
    lines(folder, [row(image, q) for image in range(images) for q in range(len(QUESTIONS))])
    frames(folder, images)
    return {"": folder}
