"""LLaVA-Bench's files: questions, text-only GPT-4 answers, contexts for the judge, judge rules.

COCO (`qa90_questions.jsonl`, `qa90_gpt4_answer.jsonl`, `caps_boxes_coco2014_val_80.jsonl`) and
In-the-Wild (`questions.jsonl`, `answers_gpt4.jsonl`, `context.jsonl`) are told apart by their file
names. `rule.json` is that of LLaVA's repository (`llava/eval/table`), looked for beside the data.
Used by tasks/llava_bench.py alone.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image, Source
from tasks._data import (
    data_folder,
    expect_counts,
    file_sha256,
    image_finder,
    read_json,
    read_jsonl,
    unique,
)

CATEGORIES = ("conv", "detail", "complex")
RULE_SHA256 = "dd7345a44ce9f7a24e51a30ee030cdab32346f9d08e3359c80545ff1312b1e07"
WILD = "llava_bench_"
"""In-the-Wild's rules are those of its categories with this in front."""


@dataclass(frozen=True)
class Layout:
    """One of the two sets, as it was published."""

    name: str
    questions: str
    answers: str
    contexts: str
    sha256: str
    """Of the published questions."""
    counts: Mapping[str, int]
    images: tuple[str, ...]


LAYOUTS = (
    Layout(
        "coco",
        "qa90_questions.jsonl",
        "qa90_gpt4_answer.jsonl",
        "caps_boxes_coco2014_val_80.jsonl",
        "2a77196696b5602b544244ace9aeac21300513be85b5e53eb2414d00cddbe1c7",
        {"questions": 90, "conv": 30, "detail": 30, "complex": 30},
        ("val2014", "images/val2014", "coco/val2014", "images"),
    ),
    Layout(
        "in-the-wild",
        "questions.jsonl",
        "answers_gpt4.jsonl",
        "context.jsonl",
        "a80b369a4b629f79f8c0f9a2aa9b565f0cfe34734d3bcdd30cb4e38712c07e21",
        {"questions": 60, "conv": 17, "detail": 15, "complex": 28},
        ("images",),
    ),
)


@dataclass(frozen=True)
class Question:
    """One question with what the judge is told about its image."""

    id: str
    image: Image
    text: str
    category: str
    reference: str
    """GPT-4's answer from the context alone."""
    captions: str
    boxes: str
    """One line per object of COCO images; empty in the wild."""


@dataclass(frozen=True)
class Bench:
    """A set of questions and the judge's rules."""

    layout: Layout
    rows: list[Question]
    rules: dict[str, dict[str, str]]
    rules_file: Path
    source: Source
    notes: list[str]


def load(data: str | None) -> Bench:
    """Read the set at `data`. Raises DataError naming what is missing, damaged or not published."""
    root = data_folder(data, "llava_bench")
    found = [layout for layout in LAYOUTS if (root / layout.questions).is_file()]
    if len(found) != 1:
        reason = "both sets" if found else "no LLaVA-Bench questions"
        raise DataError(
            f"{root}: {reason}. Expected a folder with qa90_questions.jsonl, "
            "qa90_gpt4_answer.jsonl and caps_boxes_coco2014_val_80.jsonl (COCO; github "
            "haotian-liu/LLaVA), or one with questions.jsonl, answers_gpt4.jsonl and context.jsonl "
            "(In-the-Wild; Hugging Face liuhaotian/llava-bench-in-the-wild)"
        )
    layout = found[0]
    rules_file = _rules_file(root)
    rules = _rules(rules_file)
    rows = list(_questions(root, layout))
    unique((row.id for row in rows), str(root / layout.questions))
    files = [root / name for name in (layout.questions, layout.answers, layout.contexts)]
    hashes = {path.name: file_sha256(path) for path in (*files, rules_file)}
    published = hashes[layout.questions] == layout.sha256
    notes = _held_against(layout, rows, root) if not published else []
    if hashes[rules_file.name] != RULE_SHA256:
        notes.append(f"{rules_file.name} is not the published one: the judge is asked otherwise")
    version = layout.name if published else f"{layout.name}, own questions"
    license_ = "CC BY 4.0" if layout.name == "coco" else ""
    source = Source(str(root), version, layout.name, license_, hashes)
    return Bench(layout, rows, rules, rules_file, source, notes)


def _held_against(layout: Layout, rows: list[Question], root: Path) -> list[str]:
    """Hold questions that could be the published ones against their counts."""
    size = layout.counts["questions"]
    counts = Counter(row.category for row in rows)
    counts["questions"] = len(rows)
    if len(rows) >= size / 2:
        expect_counts(f"llava_bench ({layout.name}) in {root}", layout.counts, counts)
        return [f"{layout.questions} is not the published file, though its counts are right"]
    return [
        f"a part of the set or a set of its own ({len(rows)} questions, published are {size}): not "
        "comparable with published numbers"
    ]


def _rules_file(root: Path) -> Path:
    """Find rule.json: with the data, beside it, or in the checkout of LLaVA that holds it."""
    near = [root, root / "table", root.parent, root.parent / "llava_bench_coco"]
    checkouts = [parent / "llava/eval/table" for parent in root.resolve().parents]
    for folder in (*near, *checkouts):
        if (folder / "rule.json").is_file():
            return folder / "rule.json"
    raise DataError(
        f"{root}: no rule.json, which tells the judge what to do. Copy llava/eval/table/rule.json "
        "of github haotian-liu/LLaVA into this folder"
    )


def _rules(path: Path) -> dict[str, dict[str, str]]:
    found = read_json(path, dict)
    rules = {}
    for name in (*CATEGORIES, *(WILD + category for category in CATEGORIES)):
        rule = found.get(name)
        texts = [rule.get(key) for key in ("role", "prompt")] if isinstance(rule, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise DataError(f"{path}: no rule '{name}' with a role and a prompt in it")
        rules[name] = {"role": str(texts[0]), "prompt": str(texts[1])}
    return rules


def _questions(root: Path, layout: Layout) -> Iterator[Question]:
    answers = _answers(root / layout.answers)
    contexts = _contexts(root / layout.contexts)
    image = _finder(root, layout)
    path = root / layout.questions
    for line, row in read_jsonl(path, need=("question_id", "image", "text", "category")):
        name, picture, category = str(row["question_id"]), row["image"], row["category"]
        if category not in CATEGORIES:
            raise DataError(
                f"{path}, line {line}: category {category!r} is none of {', '.join(CATEGORIES)}"
            )
        if name not in answers:
            raise DataError(f"{root / layout.answers}: no answer to question {name}")
        if picture not in contexts:
            raise DataError(f"{root / layout.contexts}: nothing about the image {picture!r}")
        captions, boxes = contexts[picture]
        text = row["text"]
        yield Question(name, image(picture), text, category, answers[name], captions, boxes)


def _answers(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for line, row in read_jsonl(path, need=("question_id", "text")):
        name = str(row["question_id"])
        if name in found:
            raise DataError(f"{path}, line {line}: question {name} is answered twice")
        found[name] = row["text"]
    return found


def _contexts(path: Path) -> dict[str, tuple[str, str]]:
    """Return captions and box lines by image, as the official scripts write them."""
    found: dict[str, tuple[str, str]] = {}
    for line, row in read_jsonl(path, need=("image",)):
        captions = row.get("captions", row.get("caption"))
        listed = [captions] if isinstance(captions, str) else captions
        if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
            raise DataError(f"{path}, line {line}: no captions of {row['image']!r} in it")
        boxes = [_box(path, line, instance) for instance in row.get("instances", ())]
        found[row["image"]] = "\n".join(listed), "\n".join(boxes)
    return found


def _box(path: Path, line: int, instance: Any) -> str:
    box = instance.get("bbox") if isinstance(instance, dict) else None
    if not isinstance(box, list) or not all(type(value) in (int, float) for value in box):
        raise DataError(f"{path}, line {line}: {instance!r} is not an object with a box")
    return f"{instance.get('category')}: {box}"


def _finder(root: Path, layout: Layout) -> Callable[[str], Image]:
    """Return a function to find images; COCO's may carry the prefix of the 2014 release."""
    plain = image_finder(root, layout.images)

    def find(name: str) -> Image:
        image = plain(name)
        if layout.name == "coco" and isinstance(image.source, Path) and not image.source.is_file():
            long = plain(f"COCO_val2014_{name}")
            if isinstance(long.source, Path) and long.source.is_file():
                return Image(name, long.source)
        return image

    return find
