"""GQA files for the contract test: one image's worth of questions of every kind, twice."""

import json
from pathlib import Path

from small_data import picture

KINDS = (
    ("query", "attr", "attr", ["select: cup (5)", "query: color"], ("red", "blue", "green")),
    ("verify", "attr", "verifyAttr", ["select: cup (5)", "verify color: red"], ("yes", "no")),
    ("logical", "obj", "existAnd", ["exist: ?", "exist: ?", "and: _"], ("no", "yes")),
    (
        "choose",
        "rel",
        "chooseRel",
        ["select: cup (5)", "choose rel: left|right"],
        ("left", "right"),
    ),
    ("compare", "attr", "twoCommon", ["select: cup (5)", "common: _"], ("color", "shape")),
    ("query", "obj", "queryName", ["select: animal (1)", "query: name"], ("dog", "cat", "bird")),
)


def write(folder: Path) -> dict[str, Path]:
    """Write `val_all_questions.json`, choices and pictures: 20 images x 6 questions."""
    (folder / "images").mkdir(parents=True)
    questions, choices = {}, {}
    for image in range(20):
        (folder / "images" / f"{image}.jpg").write_bytes(picture(image))
        ids = [f"{image:02d}{k}" for k in range(len(KINDS))]
        for k, (structural, semantic, detailed, program, answers) in enumerate(KINDS):
            steps = [step.split(": ") for step in program]
            questions[ids[k]] = {
                "imageId": str(image),
                "question": f"What about the {semantic} number {k} of picture {image}?",
                "answer": answers[image % len(answers)],
                "fullAnswer": "It is.",
                "isBalanced": k != 5 or image % 2 == 0,
                "types": {"structural": structural, "semantic": semantic, "detailed": detailed},
                "groups": {"global": semantic if k != 1 else None, "local": "x"},
                "entailed": ids[:2],
                "equivalent": [],
                "annotations": {"question": {}, "answer": {}, "fullAnswer": {}},
                "semantic": [{"operation": o, "argument": a, "dependencies": []} for o, a in steps],
                "semanticStr": "->".join(program),
            }
            choices[ids[k]] = {"valid": list(answers), "plausible": list(answers[:2])}
    (folder / "val_all_questions.json").write_text(json.dumps(questions), encoding="utf-8")
    (folder / "val_choices.json").write_text(json.dumps(choices), encoding="utf-8")
    return {"": folder}
