"""TextVQA: questions about pictures with writing in them, ten people's answers each.

Singh et al. 2019 (arXiv 1904.08920), version 0.5.1: 5,000 validation questions on 3,166 images. The
rule is the M4C evaluator's. The bare name is LLaVA-1.5's protocol, whose prompt holds what an OCR
system read ("Reference OCR token: ..."); most other numbers are without it and much lower.

    sightline run --task textvqa --model transformers:PATH --data FOLDER

Rules: judges/vqa.py (`textvqa`), reading: tasks/_vqa_files.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image, Source, Task
from tasks._data import data_folder, file_sha256, image_finder, read_jsonl
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
    "llava": "LLaVA-1.5: question, OCR tokens, short-answer line; the same as 'textvqa'",
    "plain": "LLaVA-1.5's prompt without OCR tokens",
    "lmms": "lmms-eval: no OCR tokens, the question capitalised; 16 tokens",
}
OCR = "\nReference OCR token: "
PUBLISHED = {"questions": 5_000}
IMAGES = ("train_images", "train_val_images/train_images", "images/train_images", "images")
LICENSE = "CC BY 4.0"


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on the official files, with LLaVA's questions beside them, or the Hub tables.

    Raises DataError for files that are not what they claim to be, that hold no answers, or that
    lack the OCR tokens the variant needs.
    """
    root = data_folder(data, "textvqa", hub="lmms-lab/textvqa")
    how = variant or "llava"
    asked, source = _official(root, how) or _tables(root) or _nothing(root)
    if how == "lmms":  # Python's `capitalize`: the first letter upper, all others lower case
        asked = [replace(question, text=question.text.capitalize()) for question in asked]
    return question_task(
        f"textvqa/{variant}" if variant else "textvqa",
        asked,
        source,
        rule="textvqa",
        prompt=lambda question: question.text + (question.hint if how == "llava" else "") + SHORT,
        max_tokens=16 if how == "lmms" else 128,
        notes=published(f"textvqa in {root}", PUBLISHED, {"questions": len(asked)}),
    )


def _nothing(root: Path) -> tuple[list[Asked], Source]:
    raise DataError(
        f"{root}: no TextVQA questions. Expected TextVQA_0.5.1_val.json (textvqa.org), images in "
        "train_images/, OCR tokens in llava_textvqa_val_v051_ocr.jsonl (LLaVA's eval.zip) or "
        "TextVQA_Rosetta_OCR_v0.2_val.json, or the tables of lmms-lab/textvqa"
    )


def _official(root: Path, how: str) -> tuple[list[Asked], Source] | None:
    folder = root if root.is_dir() else root.parent
    file = root if root.is_file() else one_file(folder, "TextVQA_[0-9]*.json", "val")
    if file is None:
        return None
    document = load_json(file)
    image = image_finder(folder, IMAGES)
    tokens, read = _tokens(folder) if how == "llava" else (None, [])
    asked = []
    for at, row in enumerate(rows_of(file, document, "data"), 1):
        where = f"{file}, entry {at}"
        name = str(field_of(where, row, "image_id"))
        text = str(field_of(where, row, "question"))
        hint = ""
        if tokens is not None:
            found = tokens(name, text)
            if found is None:
                raise DataError(f"{where}: no OCR tokens for image {name} in {read[0].name}")
            text, hint = found
        asked.append(_asked(where, row, text, image(f"{name}.jpg"), hint))
    hashes = {path.name: file_sha256(path) for path in (file, *read)}
    version = str(document.get("dataset_version") or "") if isinstance(document, dict) else ""
    return asked, Source(str(root), version, "val", LICENSE, hashes)


def _asked(
    where: str, row: Mapping[str, Any], text: str, picture: Image | None, hint: str
) -> Asked:
    return Asked(
        id=str(field_of(where, row, "question_id")),
        text=text,
        image=picture,
        people=people(where, row),
        cluster=str(row["image_id"]),
        hint=hint,
    )


Find = Callable[[str, str], tuple[str, str] | None]
"""(image, question) -> the question as it is asked, and the OCR line."""


def _tokens(folder: Path) -> tuple[Find, list[Path]]:
    """Return how to find OCR lines, and the file they are from.

    LLaVA's own questions first: its prompts are then to the letter. Raises DataError without any.
    """
    llava = one_file(folder, "llava_textvqa_val*.jsonl", "ocr")
    if llava is not None:
        lines = {}
        for _, row in read_jsonl(llava, need=("question_id", "text")):
            text = str(row["text"]).removesuffix(SHORT)
            question, ocr, found = text.partition(OCR)
            lines[str(row["question_id"]), question.strip().lower()] = question, ocr + found
        return lambda name, text: lines.get((name, text.strip().lower())), [llava]
    rosetta = one_file(folder, "TextVQA_Rosetta*.json", "val")
    if rosetta is None:
        raise DataError(
            f"{folder}: no OCR tokens. LLaVA's protocol needs llava_textvqa_val_v051_ocr.jsonl or "
            "TextVQA_Rosetta_OCR_v0.2_val.json beside the questions; textvqa/plain asks without"
        )
    rows = rows_of(rosetta, load_json(rosetta), "data")
    read = {str(row.get("image_id")): _line(row.get("ocr_tokens")) for row in rows}
    return lambda name, text: (text, read[name]) if name in read else None, [rosetta]


def _line(tokens: Any) -> str:
    return OCR + ", ".join(map(str, tokens or ()))


def _tables(root: Path) -> tuple[list[Asked], Source] | None:
    rows = table_rows(root, "validation")
    if rows is None:
        return None
    asked = []
    for where, row, picture_named in rows:
        picture = picture_named(f"{field_of(where, row, 'image_id')}.jpg")
        text = str(field_of(where, row, "question"))
        asked.append(_asked(where, row, text, picture, _line(row.get("ocr_tokens"))))
    return asked, Source(str(root), "lmms-lab/textvqa", "validation", LICENSE)
