"""GQA: one-word answers to compositional questions about real scenes.

Hudson and Manning 2019 (arXiv 1902.09506), the official `eval.py` for every number. The headline
is accuracy on test-dev balanced (12,578 questions, 398 images). The bare name is LLaVA-1.5's
protocol: its prompt, `convert_gqa_for_eval.py` before the official comparison.

    sightline run --task gqa --model transformers:PATH --data FOLDER

The official comparison is string equality; tools differ in what they do to the strings first
(judges/exact.py). Consistency, validity, plausibility, distribution and the breakdowns appear
where the files allow them; what is left out is named in the notes. Files: tasks/_gqa_files.py.
"""

from functools import partial
from typing import Any

from harness.types import Answer, Decoding, Metric, Sample, Score, Task
from judges.exact import RULES
from tasks._gqa_files import Question, Questions, load

VARIANTS = {
    "official": "LLaVA-1.5's prompt, the raw answer compared as eval.py does: no clean-up at all",
    "llava": "LLaVA-1.5: final full stops off, lower case, then eval.py; the same as 'gqa'",
    "lmms": "lmms-eval: case and ASCII punctuation ignored on both sides; 16 tokens",
    "vlmeval": "VLMEvalKit: outer space and case ignored on both sides",
    "lavis": "LAVIS (BLIP-2): its prompt, VQA normalisation on both sides",
}
SHORT = "{}\nAnswer the question using a single word or phrase."
LAVIS = "Question: {} Short answer:"
MAX_TOKENS = {"lmms": 16, "lavis": 10}
COMMON = ("color", "material", "shape")
"""Valid and plausible answers of a question whose detailed type says "Common"."""
BALANCED = {"balanced": True}


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on the official files, lmms-lab/GQA or flat question-and-answer lines.

    Raises DataError for files that are not what they claim to be.
    """
    rule = variant or "llava"
    found = load(data)
    rows = sorted(found.rows, key=lambda q: q.image)  # stable: an image's questions together
    metrics, notes = _metrics(found, rule)
    links = any(metric.name == "consistency" for metric in metrics)
    samples = [_sample(q, found, rule, links) for q in rows]
    return Task(
        name=f"gqa/{variant}" if variant else "gqa",
        version="1",
        source=found.source,
        samples=lambda: samples,
        score=partial(_score, rule),
        scorer=f"gqa/{rule}@1",
        metrics=metrics,
        headline="accuracy",
        decoding=Decoding(max_tokens=MAX_TOKENS.get(rule, 128)),
        notes=(*found.notes, *notes),
    )


def _sample(question: Question, found: Questions, rule: str, links: bool) -> Sample:
    name = f"{question.image}.jpg"
    groups = {
        "balanced": question.balanced,
        "structural": question.structural,
        "semantic": question.semantic,
        "detailed": question.detailed,
        "answers": question.structural and ("open" if question.structural == "query" else "binary"),
        "steps": question.steps,
        "words": question.words,
        "group": question.group,
    }
    facts: dict[str, Any] = {"question": question.text}
    if links:
        facts["entailed"] = [other for other in question.entailed or () if other != question.id]
    if question.choices is not None and rule in ("official", "llava"):
        common = "Common" in (question.detailed or "")
        facts["valid"] = COMMON if common else question.choices.valid
        facts["plausible"] = COMMON if common else question.choices.plausible
    return Sample(
        id=question.id,
        prompt=(
            found.image(name),
            (LAVIS if rule == "lavis" else SHORT).replace("{}", question.text),
        ),
        target=question.answer,
        cluster=question.image,
        groups={key: value for key, value in groups.items() if value is not None},
        facts=facts,
    )


def _score(rule: str, sample: Sample, answer: Answer) -> Score:
    said = RULES[rule].clean(answer.text)
    facts = sample.facts
    stats: dict[str, Any] = {}
    if "group" in sample.groups:
        stats = {"gold": sample.target, "pred": said}
    if facts.get("entailed"):
        stats["entailed"] = facts["entailed"]
    for name in ("valid", "plausible"):
        if name in facts:
            stats[name] = float(said in facts[name])
    right = RULES[rule].same(answer.text, sample.target)
    return Score(float(right), said or None, "scored" if said.strip() else "unparsed", stats)


def _metrics(found: Questions, rule: str) -> tuple[tuple[Metric, ...], list[str]]:
    """Return the metrics in the official order of printing, and a note for each that cannot be."""
    rows = [question for question in found.rows if question.balanced]
    typed = all(question.structural for question in rows)
    metrics: list[Metric] = []
    notes: list[str] = []
    if typed:
        metrics += [
            Metric(kind, where={**BALANCED, "answers": kind}) for kind in ("binary", "open")
        ]
    metrics.append(Metric("accuracy", where=BALANCED))
    absent = _no_consistency(found)
    if absent is None:
        metrics.append(
            Metric("consistency", "linked_mean", BALANCED, options={"links": "entailed"})
        )
    else:
        notes.append(f"no consistency: {absent}")
    if rule in ("official", "llava"):
        _add_answer_metrics(rows, metrics, notes)
    if typed:
        metrics += [Metric(name, where=BALANCED, by=name) for name in ("structural", "semantic")]
    else:
        notes.append("no binary, open, structural, semantic: the files carry no question types")
    if all(question.steps is not None for question in rows):
        metrics.append(Metric("steps", where=BALANCED, by="steps"))
    else:
        notes.append("no steps: the files carry no question programs")
    metrics.append(Metric("words", where=BALANCED, by="words"))
    return tuple(metrics), notes


def _add_answer_metrics(rows: list[Question], metrics: list[Metric], notes: list[str]) -> None:
    if all(question.choices is not None for question in rows):
        metrics += [
            Metric("validity", where=BALANCED, options={"value": "valid"}),
            Metric("plausibility", where=BALANCED, options={"value": "plausible"}),
        ]
    else:
        notes.append("no validity, plausibility: no choices file (the official script prints 0)")
    if any(question.group for question in rows):
        options = {"gold": "gold", "pred": "pred", "group": "group"}
        metrics.append(
            Metric(
                "distribution",
                "distribution",
                BALANCED,
                options=options,
                percent=False,
                higher_is_better=False,
            )
        )
    else:
        notes.append("no distribution: the files carry no answer groups")


def _no_consistency(found: Questions) -> str | None:
    """Say why consistency cannot be had; None when it can."""
    ids = {question.id for question in found.rows}
    links = [
        other
        for question in found.rows
        if question.balanced
        for other in question.entailed or ()
        if other != question.id
    ]
    if not links:
        return "the files link no question to another"
    outside = sum(other not in ids for other in links)
    if outside:
        return (
            f"{outside:,} of {len(links):,} entailed questions are not in the file; it needs the "
            "all_questions file"
        )
    return None
