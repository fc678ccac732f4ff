"""VizWiz-VQA: blind people's questions about pictures they took; many cannot be answered.

Gurari et al. 2018 (arXiv 1802.08218): 4,319 validation questions, ten people's answers each. The
bare name is LLaVA-1.5's protocol: a line that asks to say 'Unanswerable', and its clean-up before
the server's rule.

    sightline run --task vizwiz --model transformers:PATH --data FOLDER

Test is scored by EvalAI alone. Rules: judges/vqa.py, reading: tasks/_vqa_files.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image, Metric, Source, Task
from tasks._data import data_folder, file_sha256, image_finder
from tasks._vqa_files import (
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
    "llava": "LLaVA-1.5: 'Unanswerable' line, M4C clean-up, then the server's rule; as 'vizwiz'",
    "plain": "the same without the line that allows 'Unanswerable'",
    "lmms": "lmms-eval: question capitalised, M4C clean-up of both sides; 16 tokens",
}
UNANSWERABLE = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."
PUBLISHED = {"questions": 4_319}
IMAGES = ("val", "images/val", "images")
LICENSE = "CC BY 4.0"


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on the official val.json or lmms-lab/VizWiz-VQA.

    Raises DataError for files that are not what they claim to be, or that hold no answers.
    """
    root = data_folder(data, "vizwiz", hub="lmms-lab/VizWiz-VQA")
    how = variant or "llava"
    asked, source = _official(root) or _tables(root) or _nothing(root)

    if how == "lmms":
        asked = [replace(question, text=question.text.capitalize()) for question in asked]
    suffix = ("" if how == "plain" else UNANSWERABLE) + SHORT
    return question_task(
        f"vizwiz/{variant}" if variant else "vizwiz",
        asked,
        source,
        rule="textvqa" if how == "lmms" else "uploaded",
        prompt=lambda question: question.text + suffix,
        metrics=(Metric("answer_type", by="answer_type"),),
        max_tokens=16 if how == "lmms" else 128,
        notes=published(f"vizwiz in {root}", PUBLISHED, {"questions": len(asked)}),
    )


def _nothing(root: Path) -> tuple[list[Asked], Source]:
    raise DataError(
        f"{root}: no VizWiz questions. Expected val.json (vizwiz.org, Annotations.zip), images in "
        "val/, or the tables of lmms-lab/VizWiz-VQA"
    )


def _official(root: Path) -> tuple[list[Asked], Source] | None:
    folder = root if root.is_dir() else root.parent
    file = root if root.is_file() else _annotations(folder)
    if file is None:
        return None
    image = image_finder(folder, IMAGES)
    asked = []
    for at, row in enumerate(rows_of(file, load_json(file)), 1):
        where = f"{file}, entry {at}"
        name = str(field_of(where, row, "image"))
        kind = row.get("answer_type")
        asked.append(_asked(where, row, image(name), name.rpartition(".")[0] or name, kind))
    hashes = {file.name: file_sha256(file)}
    return asked, Source(str(root), "", file.stem, LICENSE, hashes)


def _annotations(folder: Path) -> Path | None:
    """Return val.json; the test file alone is taken too, to say that it has no answers."""
    for name in ("val.json", "test.json"):
        if found := one_file(folder, name, name):
            return found
    return None


def _asked(
    where: str, row: Mapping[str, Any], picture: Image | None, name: str, kind: Any
) -> Asked:
    """Make a question; its id is the picture's name, for each picture has one question."""
    return Asked(
        id=name,
        text=str(field_of(where, row, "question")),
        image=picture,
        people=people(where, row),
        cluster=name,
        groups={"answer_type": str(kind)} if kind else {},
        aliases=(f"{name}.jpg",),
    )


def _tables(root: Path) -> tuple[list[Asked], Source] | None:
    rows = table_rows(root, "val")
    if rows is None:
        return None
    asked = []
    for where, row, picture_named in rows:
        name = str(field_of(where, row, "question_id")).removesuffix(".jpg")
        picture = picture_named(f"{name}.jpg")
        asked.append(_asked(where, row, picture, name, row.get("category")))
    return asked, Source(str(root), "lmms-lab/VizWiz-VQA", "val", LICENSE)
