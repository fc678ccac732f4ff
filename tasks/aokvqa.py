"""A-OKVQA: questions about COCO images that need knowledge of the world; four choices, or a word.

Schwenk et al. 2022 (arXiv 2206.01718), github allenai/aokvqa, `evaluation/eval_predictions.py`:
1,145 validation questions. The bare name is LSKD's protocol: "question Answer: choice" is ranked
for the four choices. `direct` asks for the answer itself and skips the difficult questions.

    sightline run --task aokvqa --model transformers:PATH --data FOLDER

The test split has no public answers. Rules: judges/vqa.py, reading: tasks/_vqa_files.py.
"""

import ast
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Answer, Decoding, Image, Metric, Sample, Score, Source, Task
from judges.vqa import three_of
from tasks._data import data_folder, file_sha256, image_finder, unique
from tasks._hub import Table, find_tables
from tasks._vqa_files import SHORT, field_of, load_json, one_file, people, published, rows_of

VARIANTS = {
    "lskd": "'question Answer: choice' ranked for the four choices; the same as 'aokvqa'",
    "official": "the choices are shown, one of them is to be said word for word",
    "direct": "direct answers, compared as they are; difficult questions are skipped",
}
CHOOSE = "{question}\nChoices: {choices}\nAnswer with one of the choices, word for word."
PUBLISHED = {"questions": 1_145}
IMAGES = ("val2017", "images/val2017", "coco/val2017", "images")
LICENSE = "Apache-2.0"


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on aokvqa_v1p0_val.json or the tables of HuggingFaceM4/A-OKVQA.

    Raises DataError for files that are not what they claim to be, or that hold no answers.
    """
    root = data_folder(data, "aokvqa", hub="HuggingFaceM4/A-OKVQA")
    how = variant or "lskd"
    rows, source = _official(root) or _tables(root) or _nothing(root)
    notes = published(f"aokvqa in {root}", PUBLISHED, {"questions": len(rows)})
    if how == "direct":
        kept = [row for row in rows if not field_of(row[0], row[1], "difficult_direct_answer")]
        notes.append(f"{len(rows) - len(kept):,} difficult questions are skipped, as published")
        samples = [_open(*row) for row in kept]
    else:
        samples = [_closed(how, *row) for row in rows]
    unique((sample.id for sample in samples), f"aokvqa in {root}")
    samples.sort(key=lambda sample: sample.cluster)  # stable: an image's questions together
    return Task(
        name=f"aokvqa/{variant}" if variant else "aokvqa",
        version="1",
        source=source,
        samples=lambda: samples,
        score=_direct if how == "direct" else partial(_choice, how),
        scorer=f"aokvqa/{'argmax' if how == 'lskd' else how}@1",
        metrics=(Metric("accuracy"),),
        headline="accuracy",
        ask="rank" if how == "lskd" else "generate",
        decoding=Decoding(max_tokens=32),
        chance=None if how == "direct" else _share(samples, lambda s: 1 / len(s.choices)),
        ceiling=_share(samples, _best) if how == "direct" else 100.0,
        notes=tuple(notes),
    )


def _share(samples: list[Sample], of: Callable[[Sample], float]) -> float:
    return 100 * sum(map(of, samples)) / len(samples)


def _best(sample: Sample) -> float:
    return three_of(sample.target, sample.facts["people"])


def _closed(how: str, where: str, row: Mapping[str, Any], image: Image | None) -> Sample:
    """Make a question with choices; a choice that reads like the gold one is right too."""
    question, choices = _text(where, row), field_of(where, row, "choices")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise DataError(f"{where}: expected a list of choices, found {str(choices)[:80]}")
    gold = row.get("correct_choice_idx")
    if gold is None:
        raise DataError(
            f"{where}: no correct_choice_idx; the test split has no public answers, use validation"
        )
    if not isinstance(gold, int) or not 0 <= gold < len(choices):
        raise DataError(f"{where}: the answer {gold!r} is none of its {len(choices)} choices")
    text = f"{question} Answer:"
    if how == "official":
        listed = ", ".join(choices)
        text = CHOOSE.replace("{question}", question).replace("{choices}", listed)
    return Sample(
        id=str(field_of(where, row, "question_id")),
        prompt=(*((image,) if image else ()), text),
        target=choices[gold],
        choices=tuple(choices),
        relevance=tuple(float(choice == choices[gold]) for choice in choices),
        cluster=_cluster(row),
        facts={"question": question},
    )


def _open(where: str, row: Mapping[str, Any], image: Image | None) -> Sample:
    answers = people(where, {**row, "answers": _listed(row.get("direct_answers"))})
    question = _text(where, row)
    return Sample(
        id=str(field_of(where, row, "question_id")),
        prompt=(*((image,) if image else ()), question + SHORT),
        target=max(dict.fromkeys(answers), key=answers.count),
        cluster=_cluster(row),
        facts={"question": question, "people": answers},
    )


def _text(where: str, row: Mapping[str, Any]) -> str:
    return str(field_of(where, row, "question"))


def _cluster(row: Mapping[str, Any]) -> str:
    """Return the image; the Hub's table does not name it, so each question is on its own."""
    return str(row.get("image_id") or row["question_id"])


def _listed(found: Any) -> Any:
    """Return the direct answers; the Hub's table holds them as a Python literal."""
    if isinstance(found, str):
        try:
            return ast.literal_eval(found)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return [None]
    return found


def _choice(how: str, sample: Sample, answer: Answer) -> Score:
    """Take the highest scored choice, or the text if it is exactly one of the choices."""
    if answer.scores or answer.choice is not None:
        at = answer.choice
        if answer.scores:
            at = answer.scores.index(max(answer.scores))
    elif how == "official" and answer.text in sample.choices:
        at = sample.choices.index(answer.text)
    else:
        at = None
    if at is None or at < 0:
        return Score(0.0, None, "unparsed")
    return Score(sample.relevance[at], sample.choices[at])


def _direct(sample: Sample, answer: Answer) -> Score:
    value = three_of(answer.text, sample.facts["people"])
    return Score(value, answer.text or None, "scored" if answer.text.strip() else "unparsed")


Rows = tuple[list[tuple[str, Mapping[str, Any], Image | None]], Source]
"""(where it stands, fields, picture) of each question."""


def _nothing(root: Path) -> Rows:
    raise DataError(
        f"{root}: no A-OKVQA questions. Expected aokvqa_v1p0_val.json (github allenai/aokvqa), "
        "COCO images in val2017/, or the tables of HuggingFaceM4/A-OKVQA"
    )


def _official(root: Path) -> Rows | None:
    folder = root if root.is_dir() else root.parent
    file = root if root.is_file() else one_file(folder, "aokvqa_v1p0_*.json", "val")
    if file is None:
        return None
    image = image_finder(folder, IMAGES)
    rows: list[tuple[str, Mapping[str, Any], Image | None]] = []
    for at, row in enumerate(rows_of(file, load_json(file)), 1):
        where = f"{file}, entry {at}"
        number = field_of(where, row, "image_id")
        name = f"{number:012d}.jpg" if isinstance(number, int) else str(number)
        rows.append((where, row, image(name)))
    split = file.stem.removeprefix("aokvqa_v1p0_")
    return rows, Source(str(root), "v1p0", split, LICENSE, {file.name: file_sha256(file)})


def _tables(root: Path) -> Rows | None:
    files = find_tables(root, split="validation") if root.is_dir() else []
    if not files:
        return None
    table = Table(files)
    rows: list[tuple[str, Mapping[str, Any], Image | None]] = [
        (f"{files[0]}, row {at}", row, table.image(at, "image", f"{row.get('question_id')}.jpg"))
        for at, row in table.rows()
    ]
    return rows, Source(str(root), "HuggingFaceM4/A-OKVQA", "validation", LICENSE)
