"""SEED-Bench: 19,242 multiple-choice questions over nine image and three video dimensions.

Li et al. 2023 (arXiv 2307.16125), github AILab-CVC/SEED-Bench. The bare name is LLaVA-1.5's
protocol: the letter is to be written and must be that letter alone; of a video the middle frame is
shown. `official` ranks the four texts by likelihood, as the benchmark's own `eval.py` does.

    sightline run --task seed_bench --model transformers:PATH --data FOLDER
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Answer, Decoding, Image, Metric, Sample, Score, Source, Task
from judges.choice import LETTERS, index, lettered
from tasks._data import data_folder, file_sha256, image_finder, read_json, unique
from tasks._vqa_files import field_of, one_file, published, rows_of

VARIANTS = {
    "llava": "the letter, exactly and alone; the same as 'seed_bench'",
    "official": "the four texts ranked by likelihood after 'Question: ... Answer:'",
    "lmms": "lmms-eval: outer space off, then the first character; 16 tokens",
}
LETTER_ONLY = "Answer with the option's letter from the given choices directly."
OFFICIAL = "Question: {}\nAnswer:"
PUBLISHED = {"questions": 19_242}
IMAGES = ("SEED-Bench-image", "seed_bench_image")
FRAMES = ("SEED-Bench-video-image",)
LICENSE = "CC BY-NC 4.0"


@dataclass(frozen=True, slots=True)
class Asked:
    """One question."""

    id: str
    text: str
    choices: tuple[str, ...]
    gold: int
    image: Image
    cluster: str
    groups: Mapping[str, str]


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on SEED-Bench.json with its pictures and LLaVA's middle frames beside it.

    Raises DataError for files that are not what they claim to be, or that hold no answers.
    """
    rule = variant or "llava"
    root = data_folder(data, "seed_bench")
    asked, source = _load(root)
    unique((question.id for question in asked), f"seed_bench in {root}")
    samples = [_sample(question, rule) for question in asked]
    samples.sort(key=lambda sample: sample.cluster)  # stable: a picture's questions together
    kinds = [k for k in ("image", "video") if any(s.groups["data_type"] == k for s in samples)]
    notes = published(f"seed_bench in {root}", PUBLISHED, {"questions": len(asked)})
    if "video" in kinds:
        notes.append("videos are shown as one frame, LLaVA's; the official script shows eight")
    return Task(
        name=f"seed_bench/{variant}" if variant else "seed_bench",
        version="1",
        source=source,
        samples=lambda: samples,
        score=partial(_score, rule),
        scorer=f"seed_bench/{rule}@1",
        metrics=(
            Metric("accuracy"),
            *(Metric(kind, where={"data_type": kind}) for kind in kinds),
            Metric("dimension", by="dimension"),
        ),
        headline="accuracy",
        ask="rank" if rule == "official" else "generate",
        decoding=Decoding(max_tokens=16 if rule == "lmms" else 128),
        chance=25.0,
        notes=tuple(notes),
    )


def _sample(question: Asked, rule: str) -> Sample:
    official = rule == "official"
    text = "\n".join((question.text, *lettered(question.choices), LETTER_ONLY))
    choices = question.choices if official else tuple(LETTERS[:4])
    return Sample(
        id=question.id,
        prompt=(question.image, OFFICIAL.replace("{}", question.text) if official else text),
        target=choices[question.gold],
        choices=choices,
        relevance=tuple(float(i == question.gold) for i in range(4)) if official else (),
        cluster=question.cluster,
        groups=question.groups,
        facts={"question": question.text, "gold": question.gold},
    )


def _exact(text: str) -> str | None:
    return text if text in tuple("ABCD") else None


def _first(text: str) -> str | None:
    return _exact(text.strip()[:1])


_RULES: Mapping[str, Callable[[str], str | None]] = {"llava": _exact, "lmms": _first}


def _score(rule: str, sample: Sample, answer: Answer) -> Score:
    """Score the highest ranked choice, a recorded position, or the letter in the text."""
    at = answer.choice
    if answer.scores:
        at = answer.scores.index(max(answer.scores))
    if at is None:
        at = index(_RULES[rule](answer.text), 4) if rule in _RULES else -1
    if at < 0:
        return Score(0.0, None, "unparsed")
    return Score(float(at == sample.facts["gold"]), LETTERS[at])


def _load(root: Path) -> tuple[list[Asked], Source]:
    folder = root if root.is_dir() else root.parent
    file = root if root.is_file() else one_file(folder, "SEED-Bench*.json", "SEED-Bench.json")
    if file is None:
        raise DataError(
            f"{root}: no SEED-Bench questions. Expected SEED-Bench.json (AILab-CVC/SEED-Bench), "
            "pictures in SEED-Bench-image/, middle frames of videos in SEED-Bench-video-image/ (as "
            "LLaVA's script extracts them); the tables of lmms-lab/SEED-Bench are not read"
        )
    document = read_json(file)
    names = document.get("question_type", {}) if isinstance(document, dict) else {}
    dimensions = {number: name for name, number in names.items()}
    picture, frame = image_finder(folder, IMAGES), image_finder(folder, FRAMES)
    asked = []
    for at, row in enumerate(rows_of(file, document, "questions"), 1):
        where = f"{file}, question {at}"
        kind, number = field_of(where, row, "data_type"), field_of(where, row, "question_type_id")
        if kind not in ("image", "video"):
            raise DataError(f"{where}: the data_type {kind!r} is neither image nor video")
        id, name = str(field_of(where, row, "question_id")), str(field_of(where, row, "data_id"))
        image = picture(name) if kind == "image" else frame(f"{number}_{id}.png")
        groups = {"data_type": kind, "dimension": str(dimensions.get(number, number))}
        asked.append(_asked(where, row, id, image, groups))
    return asked, Source(str(root), "", "all", LICENSE, {file.name: file_sha256(file)})


def _asked(
    where: str, row: Mapping[str, Any], id: str, image: Image, groups: Mapping[str, str]
) -> Asked:
    gold = row.get("answer")
    if gold is None or gold == "":
        raise DataError(f"{where}: no answer in it; a split without answers cannot be scored here")
    if gold not in tuple("ABCD"):
        raise DataError(f"{where}: the answer {str(gold)[:20]!r} is none of A, B, C, D")
    return Asked(
        id=id,
        text=str(field_of(where, row, "question")),
        choices=tuple(str(field_of(where, row, f"choice_{letter}")) for letter in "abcd"),
        gold=LETTERS.index(gold),
        image=image,
        cluster=str(row["data_id"]),
        groups=groups,
    )
