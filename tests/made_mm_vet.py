"""MM-Vet files for the contract test: mm-vet.json and pictures."""

import json
from pathlib import Path

from small_data import picture

MIXES = (["ocr", "math"], ["rec"], ["know", "gen", "rec"], ["spat", "ocr"])


def write(folder: Path) -> dict[str, Path]:
    """Write 12 questions on 6 pictures."""
    (folder / "images").mkdir(parents=True)
    questions = {}
    for i in range(12):
        name = f"v1_{i // 2}.png"
        (folder / "images" / name).write_bytes(picture(i // 2))
        questions[f"v1_{i}"] = {
            "imagename": name,
            "question": f"What is x in equation {i}?",
            "answer": f"-1<AND>-{i}" if i % 2 else f"{i}<OR>a {i}",
            "imagesource": "made",
            "capability": MIXES[i % len(MIXES)],
        }
    (folder / "mm-vet.json").write_text(json.dumps(questions), encoding="utf-8")
    return {"": folder}
