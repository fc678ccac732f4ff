"""ScienceQA files for the contract test: official layout, half of the questions with a picture."""

import json
from pathlib import Path

from small_data import picture

SUBJECTS = ("natural science", "social science", "language science")


def write(folder: Path) -> dict[str, Path]:
    """Write problems.json, pid_splits.json and pictures: 120 test questions."""
    problems = {}
    for i in range(120):
        seen = i % 2 == 0
        choices = [f"option {k} of {i}" for k in range(2 + i % 4)]
        problems[str(i)] = {
            "question": f"Which is  right in case {i}?",
            "choices": choices,
            "answer": i % len(choices),
            "hint": "Read the passage." if i % 3 == 0 else "",
            "image": "image.png" if seen else None,
            "task": "closed choice",
            "grade": f"grade{1 + i % 12}",
            "subject": SUBJECTS[i % 3],
            "topic": "physics",
            "category": "c",
            "skill": "s",
            "lecture": "",
            "solution": "",
            "split": "test",
        }
        if seen:
            place = folder / "images" / "test" / str(i)
            place.mkdir(parents=True)
            (place / "image.png").write_bytes(picture(i))
    splits = {"train": [], "val": [], "test": list(problems)}
    (folder / "problems.json").write_text(json.dumps(problems), encoding="utf-8")
    (folder / "pid_splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return {"": folder}
