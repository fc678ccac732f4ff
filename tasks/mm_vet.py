"""MM-Vet: open questions that need several abilities at once, graded from 0 to 1 by a judge.

Yu et al. 2023 (arXiv 2308.02490), github yuweihao/MM-Vet, `mm-vet_evaluator.py` for prompt, reading
and numbers: 218 questions on 200 images, six abilities and their combinations. The judge completes
the last cell of a table of examples with the share that is right.

    sightline run --task mm_vet --model transformers:PATH --data FOLDER --judge openai:gpt-4-0613

A reply that is no number from 0 to 1 is asked again, at a temperature that rises by 0.5, five times
in all as there; the bare name then leaves the answer unjudged, `official` gives it 0.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from harness.errors import DataError
from harness.types import Decoding, Metric, Rubric, Sample, Source, Task, Verdict
from judges.rubric import correctness, prompt_file, wait
from tasks._data import data_folder, expect_counts, file_sha256, image_finder, read_json, unique

VARIANTS = {"official": "an answer whose verdict stays unreadable scores 0, as in the script"}
ABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")
PUBLISHED = {"questions": 218}
JUDGE = "openai:gpt-4-0613"
_TEMPERATURES = (0.0, 0.0, 0.5, 1.0, 1.5)
"""Of the first asking and of those after unreadable words; the script throws a sixth reply away."""
_AND_OR = ("<AND>", "<OR>")


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on mm-vet.json and images/. Raises DataError for other files."""
    root = data_folder(data, "mm_vet")
    path = root if root.is_file() else root / "mm-vet.json"
    if not path.is_file() or path.suffix != ".json":
        raise DataError(
            f"{root}: no MM-Vet questions. Expected mm-vet.json and images/ (mm-vet.zip of github "
            "yuweihao/MM-Vet)"
        )
    samples = list(_samples(path))
    unique((sample.id for sample in samples), str(path))
    notes = _held_against(path, len(samples))
    used = [name for name in ABILITIES if any(s.groups[name] for s in samples)]
    return Task(
        name=f"mm_vet/{variant}" if variant else "mm_vet",
        version="1",
        source=Source(str(root), split="test", files={path.name: file_sha256(path)}),
        samples=lambda: samples,
        score=wait,
        scorer=f"mm_vet/{variant or 'strict'}@1",
        metrics=(
            Metric("total"),
            *(Metric(name, where={name: True}) for name in used),
            Metric("abilities", by="abilities"),
        ),
        headline="total",
        decoding=Decoding(max_tokens=1024),
        notes=(
            f"published numbers are of {JUDGE}, five votes each (--repeats 5); scores of different "
            "judges are different metrics",
            *notes,
        ),
        judge=_rubric(variant),
    )


def _samples(path: Path) -> Iterator[Sample]:
    image = image_finder(path.parent, ("images", "mm-vet/images"))
    for name, row in read_json(path, dict).items():
        fields = ("imagename", "question", "answer", "capability")
        if not isinstance(row, dict) or not all(field in row for field in fields):
            raise DataError(f"{path}, question '{name}': expected {', '.join(fields)}")
        abilities = set(row["capability"])
        if strangers := abilities.difference(ABILITIES):
            raise DataError(
                f"{path}, question '{name}': the ability {min(strangers)!r} is none of "
                f"{', '.join(ABILITIES)}"
            )
        yield Sample(
            id=name,
            prompt=(image(row["imagename"]), row["question"]),
            target=row["answer"],
            cluster=row["imagename"],
            groups={
                "abilities": "_".join(name for name in ABILITIES if name in abilities),
                **{name: name in abilities for name in ABILITIES},
            },
            facts={"question": row["question"]},
        )


def _held_against(path: Path, found: int) -> list[str]:
    size = PUBLISHED["questions"]
    if found >= size / 2:
        expect_counts(f"mm_vet in {path}", PUBLISHED, {"questions": found})
        return []
    return [
        f"a part of the set or a set of its own ({found} questions, published are {size}): not "
        "comparable with published numbers"
    ]


def _rubric(variant: str) -> Rubric:
    table, table_hash = prompt_file("mm_vet.txt")
    again, again_hash = prompt_file("mm_vet_again.txt")
    return Rubric(
        name=f"mm_vet/{variant or 'strict'}",
        version="1",
        prompt=partial(_ask, table, again),
        read=_read,
        decodings=tuple(Decoding(max_tokens=3, temperature=t) for t in _TEMPERATURES),
        model=JUDGE,
        files={"mm_vet.txt": table_hash, "mm_vet_again.txt": again_hash},
        sentinel=Verdict(0.0, "unreadable") if variant == "official" else None,
    )


def _ask(
    table: str, again: str, sample: Sample, answer: str, swapped: bool, attempt: int
) -> Sample:
    """Write the table with one more row whose last cell is empty."""
    gold = sample.target
    for word in _AND_OR:
        gold = gold.replace(word, f" {word} ")
    row = " | ".join((sample.facts["question"], gold, answer, ""))
    return Sample(
        id=sample.id,
        prompt=(f"{table}\n\n{row}{again if attempt else ''}",),
        target="1.0" if answer == sample.target else "0.0",
        aliases=sample.aliases,
    )


def _read(text: str, swapped: bool) -> Verdict | None:
    score = correctness(text)
    return None if score is None else Verdict(score, f"{score:.1f}", {"correctness": score})
