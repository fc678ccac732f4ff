"""VQAv2: open questions about COCO images, ten people's answers each.

Goyal et al. 2017 (arXiv 1612.00837), github GT-Vision-Lab/VQA, `vqaEval.py` for the accuracy:
214,354 validation questions on 40,504 images; overall, by answer type and by question type. The
bare name is LLaVA-1.5's protocol: its prompt, its clean-up before the upload, the official rule.

    sightline run --task vqav2 --model transformers:PATH --data FOLDER

Test and test-dev are scored by EvalAI alone. Rules: judges/vqa.py, reading: tasks/_vqa_files.py.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Metric, Source, Task
from tasks._data import data_folder, file_sha256, image_finder
from tasks._vqa_files import (
    LAVIS,
    SHORT,
    Asked,
    field_of,
    load_json,
    one_file,
    people,
    published,
    question_task,
    rows_of,
    table_rows,
)

VARIANTS = {
    "llava": "LLaVA-1.5: its prompt, M4C clean-up, then the official rule; the same as 'vqav2'",
    "official": "LLaVA-1.5's prompt and vqaEval.py alone: clean-up only where people differ",
    "lmms": "lmms-eval: both sides always normalised; 16 tokens",
    "lavis": "LAVIS (BLIP-2): its prompt; the prediction always normalised, numbers of people not",
}
RULES = {"llava": "uploaded", "official": "official", "lmms": "lmms", "lavis": "lavis"}
MAX_TOKENS = {"lmms": 16, "lavis": 10}
PUBLISHED = {"questions": 214_354}
IMAGES = ("val2014", "images/val2014", "coco/val2014", "images")
LICENSE = "CC BY 4.0"


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on the official files of the validation split, or lmms-lab/VQAv2.

    Raises DataError for files that are not what they claim to be, or that hold no answers.
    """
    root = data_folder(data, "vqav2", hub="lmms-lab/VQAv2")
    rule = variant or "llava"
    name = f"vqav2/{variant}" if variant else "vqav2"
    asked, source = _official(root) or _tables(root) or _nothing(root)
    prompt = LAVIS if rule == "lavis" else "{}" + SHORT
    return question_task(
        name,
        asked,
        source,
        rule=RULES[rule],
        prompt=lambda question: prompt.replace("{}", question.text),
        metrics=(
            Metric("answer_type", by="answer_type"),
            Metric("question_type", by="question_type"),
        ),
        max_tokens=MAX_TOKENS.get(rule, 128),
        notes=published(f"vqav2 in {root}", PUBLISHED, {"questions": len(asked)}),
    )


def _nothing(root: Path) -> tuple[list[Asked], Source]:
    raise DataError(
        f"{root}: no VQAv2 questions. Expected v2_OpenEnded_mscoco_val2014_questions.json and "
        "v2_mscoco_val2014_annotations.json (visualqa.org), images in val2014/, or the tables of "
        "lmms-lab/VQAv2"
    )


def _official(root: Path) -> tuple[list[Asked], Source] | None:
    folder = root if root.is_dir() else root.parent
    file = root if root.is_file() else one_file(folder, "*questions.json", "val")
    if file is None:
        return None
    answers = one_file(folder, "*annotations.json", "val")
    if answers is None:
        raise DataError(
            f"{file}: no annotations beside it. Test answers are not public (EvalAI scores them); "
            "use the validation split, with v2_mscoco_val2014_annotations.json"
        )
    texts = {}
    for at, row in enumerate(rows_of(file, load_json(file), "questions"), 1):
        where = f"{file}, question {at}"
        texts[field_of(where, row, "question_id")] = str(field_of(where, row, "question"))
    document = load_json(answers)
    subtype = document.get("data_subtype", "val2014") if isinstance(document, dict) else ""
    image = image_finder(folder, (*IMAGES, str(subtype)))
    asked = []
    for at, row in enumerate(rows_of(answers, document, "annotations"), 1):
        where = f"{answers}, annotation {at}"
        number = field_of(where, row, "question_id")
        if number not in texts:
            raise DataError(f"{where}: question {number} is not in {file.name}")
        picture = image(_picture(subtype, field_of(where, row, "image_id")))
        asked.append(_asked(where, row, texts.pop(number), picture))
    if texts:
        raise DataError(
            f"{answers}: {len(texts):,} questions of {file.name} have no annotation, e.g. "
            f"{next(iter(texts))}; the files do not belong together"
        )
    hashes = {path.name: file_sha256(path) for path in (file, answers)}
    return asked, Source(str(root), str(subtype), "val", LICENSE, hashes)


def _picture(subtype: Any, image: Any) -> str:
    """Return COCO's file name of a picture; a set of its own may give the name itself."""
    return f"COCO_{subtype}_{image:012d}.jpg" if isinstance(image, int) else str(image)


def _asked(where: str, row: Mapping[str, Any], text: str, picture: Any) -> Asked:
    named = {name: row.get(name) for name in ("answer_type", "question_type")}
    types = {name: sys.intern(str(value)) for name, value in named.items() if value}
    return Asked(
        id=str(field_of(where, row, "question_id")),
        text=text,
        image=picture,
        people=people(where, row),
        usual=str(row.get("multiple_choice_answer") or ""),
        cluster=str(row["image_id"]),
        groups=types,
    )


def _tables(root: Path) -> tuple[list[Asked], Source] | None:
    rows = table_rows(root, "validation")
    if rows is None:
        return None
    asked = []
    for where, row, picture_named in rows:
        picture = picture_named(_picture("val2014", field_of(where, row, "image_id")))
        asked.append(_asked(where, row, str(field_of(where, row, "question")), picture))
    return asked, Source(str(root), "lmms-lab/VQAv2", "validation", LICENSE)
