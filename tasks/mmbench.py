"""MMBench: multiple choice over 20 abilities; a question counts if every rotation is right.

Liu et al. 2023 (arXiv 2307.06281): 1,164 dev questions. CircularEval asks each question once per
rotation of its options and wants all of them right. The bare name is LLaVA-1.5's prompt with that
evaluation, in English; `cn` is the Chinese set. `vanilla` asks each question once.

    sightline run --task mmbench --model transformers:PATH --data FOLDER

Answers are read by rules alone (judges/mmbench.py): no GPT model and nothing drawn by lot. Files:
tasks/_mmbench_files.py; metric: harness/metrics/grouped.py.
"""

from collections import Counter

from harness.types import Answer, Decoding, Metric, Sample, Score, Task
from judges.choice import LETTERS, lettered
from judges.mmbench import mmbench_option
from tasks._mmbench_files import STEP, Row, load, rotated

VARIANTS = {
    "en": "English, CircularEval; the same as 'mmbench'",
    "circular": "the same; rotations that the file lacks are made from its questions",
    "vanilla": "English, each question asked once, in the order of the file",
    "cn": "MMBench-CN: Chinese questions and instruction, CircularEval",
    "cn-vanilla": "MMBench-CN, each question asked once",
}
LETTER_ONLY = {
    "en": "Answer with the option's letter from the given choices directly.",
    "cn": "请直接回答选项字母。",
}
GROUPS = ("category", "l2-category")


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on the published .tsv or lmms-lab/MMBench.

    Raises DataError for files that are not what they claim to be, or that hold no answers.
    """
    language = "cn" if variant.startswith("cn") else "en"
    vanilla = variant.endswith("vanilla")
    found = load(data, language)
    rows = _asked(found.rows, vanilla, found.notes)
    sizes = Counter(row.base for row in rows)
    samples = [_sample(row, sizes[row.base], language) for row in rows]
    samples.sort(key=lambda s: s.cluster)  # stable: a picture's questions together
    return Task(
        name=f"mmbench/{variant}" if variant else "mmbench",
        version="1",
        source=found.source,
        samples=lambda: samples,
        score=_score,
        scorer="mmbench/rules@1",
        metrics=_metrics(vanilla, samples),
        headline="vanilla" if vanilla else "circular",
        decoding=Decoding(max_tokens=1024),
        chance=100 * _guessed(samples, sizes),
        notes=(
            *found.notes,
            "answers that the rules cannot read are wrong and counted as unparsed; the published "
            "pipeline asks a GPT model about them",
        ),
    )


def _asked(rows: list[Row], vanilla: bool, notes: list[str]) -> list[Row]:
    """Return the rows to ask: as published, or every rotation where the file has none."""
    if vanilla:
        return [row for row in rows if row.rotation == 0]
    if any(row.rotation for row in rows):
        return rows
    notes.append("the file has no rotated rows; rotations are made from its questions")
    return [turned for row in rows for turned in rotated(row)]


def _guessed(samples: list[Sample], sizes: Counter[int]) -> float:
    """Return the share of questions that a guesser gets right in all rotations."""
    first = [s for s in samples if s.groups["rotation"] == 0]
    hits = (float(1 / len(s.choices) ** sizes[int(s.id) % STEP]) for s in first)
    return sum(hits) / len(first)


def _metrics(vanilla: bool, samples: list[Sample]) -> tuple[Metric, ...]:
    groups = [name for name in GROUPS if any(name in s.groups for s in samples)]
    if vanilla:
        return (Metric("vanilla"), *(Metric(name, by=name) for name in groups))
    whole = {"key": "row", "size": "rotations"}
    return (
        Metric("circular", "all_right", options=whole),
        Metric("vanilla", where={"rotation": 0}),
        *(Metric(name, "all_right", by=name, options=whole) for name in groups),
    )


def _sample(row: Row, rotations: int, language: str) -> Sample:
    stem = f"{row.hint}\n{row.question}" if row.hint else row.question
    return Sample(
        id=str(row.index),
        prompt=(row.image, "\n".join((stem, *lettered(row.options), LETTER_ONLY[language]))),
        target=LETTERS[row.gold],
        choices=tuple(LETTERS[: len(row.options)]),
        cluster=row.image.name,
        groups={"rotation": row.rotation, **row.groups},
        facts={
            "question": row.question,
            "options": dict(zip(LETTERS, row.options, strict=False)),
            "row": row.base,
            "rotations": rotations,
        },
    )


def _score(sample: Sample, answer: Answer) -> Score:
    """Score a recorded position, or else what the rules make of the text."""
    facts = sample.facts
    stats = {"row": facts["row"], "rotations": facts["rotations"]}
    if answer.choice is not None:
        said = LETTERS[answer.choice] if answer.choice >= 0 else None
    else:
        said = mmbench_option(answer.text, facts["options"])
    right = float(said == sample.target)
    return Score(right, said, "scored" if said else "unparsed", stats)
