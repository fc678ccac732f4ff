"""Questions with ten people's answers: what vqav2, textvqa and vizwiz read and have in common.

`Asked` is one question whatever file it came from; `question_task` makes the task of them.
Official files are large (VQAv2's validation annotations hold two million answers), so every answer
becomes a shared string while the file is parsed. Imports tasks/_data.py, tasks/_hub.py
and judges/vqa.py.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Answer, Decoding, Image, Metric, Sample, Score, Source, Task
from judges.vqa import best, judge
from tasks._data import expect_counts, read_text, unique
from tasks._hub import Table, find_tables

SHORT = "\nAnswer the question using a single word or phrase."
LAVIS = "Question: {} Short answer:"


@dataclass(frozen=True, slots=True)
class Asked:
    """One question and what people answered."""

    id: str
    text: str
    image: Image | None
    people: tuple[str, ...]
    usual: str = ""
    """The answer that the files call the commonest."""
    cluster: str = ""
    groups: Mapping[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    hint: str = ""
    """Read from the picture for the model (OCR tokens); empty where the protocol has none."""


def load_json(path: Path) -> Any:
    """Return a JSON document in which {"answer": text, ...} has become the text.

    Raises DataError naming file and line.
    """
    try:
        return json.loads(read_text(path), object_hook=_answer_text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}); the file is cut off or damaged"
        ) from error


def _answer_text(found: dict[str, Any]) -> Any:
    """Keep the text alone of one person's answer; leave every other object as it is."""
    text = found.get("answer")
    if isinstance(text, str) and found.keys() <= {"answer", "answer_confidence", "answer_id"}:
        return sys.intern(text)
    return found


def rows_of(path: Path, found: Any, key: str = "") -> list[dict[str, Any]]:
    """Return the list of objects in a document, below `key` if one is given.

    Raises DataError where the document is something else.
    """
    rows = found.get(key) if key and isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        what = f"'{key}', a list of objects" if key else "a list of objects"
        raise DataError(f"{path}: expected {what}; this is another file")
    return rows


def people(where: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what people answered, in the order of the file.

    Raises DataError where there is none: the answers of test splits are with the servers.
    """
    found = row.get("answers")
    if not found:
        raise DataError(
            f"{where}: no answers in it. Test answers are not public: they are scored by the "
            "benchmark's server; use the validation split"
        )
    texts = [one.get("answer") if isinstance(one, dict) else one for one in found]
    named = tuple(sys.intern(text) for text in texts if isinstance(text, str))
    if len(named) < len(texts):
        raise DataError(f"{where}: expected answers as texts, found {str(found)[:80]}")
    return named


def field_of(where: str, row: Mapping[str, Any], name: str) -> Any:
    """Return a field of a row. Raises DataError naming it where it is absent or null."""
    if row.get(name) is None:
        raise DataError(f"{where}: no field '{name}'; it has {', '.join(row)}")
    return row[name]


def one_file(root: Path, pattern: str, prefer: str) -> Path | None:
    """Return the one file of `pattern` in `root` or one folder below; of several, `prefer`'s.

    Raises DataError when several could be meant.
    """
    found = sorted({*root.glob(pattern), *root.glob(f"*/{pattern}")}) if root.is_dir() else []
    found = [path for path in found if prefer in path.name] or found
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(root)) for path in found)
        raise DataError(f"{root}: several files could be meant ({names}); keep one of them")
    return found[0] if found else None


def published(what: str, expected: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """Hold a set that could be the published one against its counts; return notes.

    Fewer than half of the published questions are a set of its own: admitted, with a note.
    Raises DataError with an expected-versus-found table otherwise.
    """
    if found["questions"] < expected["questions"] / 2:
        return [
            f"a part of the split or a set of its own ({found['questions']:,} questions, "
            f"published are {expected['questions']:,}): not comparable with published numbers"
        ]
    expect_counts(what, expected, found)
    return []


def question_task(
    name: str,
    asked: Sequence[Asked],
    source: Source,
    *,
    rule: str,
    prompt: Callable[[Asked], str],
    metrics: tuple[Metric, ...] = (),
    max_tokens: int = 128,
    notes: Sequence[str] = (),
) -> Task:
    """Make the task of some questions under a rule of judges/vqa.py.

    The ceiling is what the best of people's own answers get: they disagree, so it is below 100.
    """
    unique((question.id for question in asked), f"{name} in {source.address}")
    top = [best(rule, question.people, question.usual) for question in asked]
    samples = [
        _sample(question, prompt(question), target)
        for question, (target, _) in zip(asked, top, strict=True)
    ]
    samples.sort(key=lambda sample: sample.cluster)  # stable: an image's questions together
    return Task(
        name=name,
        version="1",
        source=source,
        samples=lambda: samples,
        score=partial(_score, rule),
        scorer=f"vqa/{rule}@1",
        metrics=(Metric("accuracy"), *metrics),
        headline="accuracy",
        decoding=Decoding(max_tokens=max_tokens),
        ceiling=100 * sum(value for _, value in top) / len(top),
        notes=tuple(notes),
    )


def _sample(question: Asked, text: str, target: str) -> Sample:
    image = () if question.image is None else (question.image,)
    return Sample(
        id=question.id,
        prompt=(*image, text),
        target=target,
        cluster=question.cluster,
        groups=question.groups,
        facts={"question": question.text, "people": question.people},
        aliases=question.aliases,
    )


def _score(rule: str, sample: Sample, answer: Answer) -> Score:
    value, read = judge(rule, answer.text, sample.facts["people"])
    return Score(value, read or None, "scored" if read else "unparsed")


def table_rows(
    root: Path, split: str
) -> Iterator[tuple[str, Mapping[str, Any], Callable[[str], Image | None]]] | None:
    """Yield each row of the Hub tables of a split: where it stands, its fields, its picture.

    The picture is a function of the name that it gets. None where `root` holds no tables.
    """
    files = find_tables(root, split=split) if root.is_dir() else []
    if not files:
        return None
    table = Table(files)
    return (
        (f"{files[0]}, row {at}", row, partial(table.image, at, "image"))
        for at, row in table.rows()
    )
