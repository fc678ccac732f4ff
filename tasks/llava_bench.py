"""LLaVA-Bench (COCO) and (In-the-Wild): open questions, graded by a judge against GPT-4's answer.

Liu et al. 2023 (arXiv 2304.08485), github haotian-liu/LLaVA: `eval_gpt_review_visual.py` and
`eval_gpt_review_bench.py` for the judge, `summarize_gpt_review.py` for the numbers. The judge never
sees the image: it reads captions (and boxes), GPT-4's text-only answer as assistant 1, always
first, and the candidate's as assistant 2, and gives each 1 to 10 points. Printed are the
candidate's points relative to the reference's, a ratio of means that may exceed 100.

    sightline run --task llava_bench --model transformers:PATH --data FOLDER \
        --judge openai:gpt-4-0314

The bare name leaves unreadable verdicts unjudged and rounds once, at the end; `official` keeps the
script's [-1, -1] in the means and its early rounding, as published numbers did. Files:
tasks/_llava_bench_files.py, judging: harness/judging.py.
"""

from collections.abc import Callable
from functools import partial

from harness.types import Decoding, Metric, Rubric, Sample, Task, Verdict
from judges.rubric import first_two_numbers, prompt_file, score_line, wait
from tasks._llava_bench_files import CATEGORIES, RULE_SHA256, WILD, Bench, Question, load

VARIANTS = {
    "official": "the script: unreadable verdicts count as [-1, -1], means rounded before the ratio",
    "swap": "each answer judged in both orders; the mean of the two takes out position bias",
    "lmms": "lmms-eval: no system message, first two numbers anywhere, captions alone, -1 kept",
    "vlmeval": "VLMEvalKit: unreadable verdicts count as [-1, -1], rounded only at the end",
}
JUDGE = "openai:gpt-4-0314"
LMMS_JUDGE = "openai:gpt-4o-2024-11-20"
_SENTINEL = Verdict(None, "unreadable", {"ref": -1.0, "cand": -1.0})


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on the official files of either set.

    Raises DataError for files that are not what they claim to be.
    """
    bench = load(data)
    samples = [_sample(question) for question in bench.rows]
    return Task(
        name=f"llava_bench/{variant}" if variant else "llava_bench",
        version="1",
        source=bench.source,
        samples=lambda: samples,
        score=wait,
        scorer=f"llava_bench/{variant or 'llava'}@1",
        metrics=_metrics("llava" if variant in ("official", "lmms") else "late"),
        headline="all",
        decoding=Decoding(max_tokens=1024),
        notes=(*bench.notes, *_notes(variant)),
        judge=_rubric(bench, variant),
    )


def _sample(question: Question) -> Sample:
    return Sample(
        id=question.id,
        prompt=(question.image, question.text),
        target=question.reference,
        cluster=question.image.name,
        groups={"category": question.category},
        facts={
            "question": question.text,
            "captions": question.captions,
            "boxes": question.boxes,
        },
    )


def _metrics(rounding: str) -> tuple[Metric, ...]:
    """Return the printed columns: relative score, then points of either side, times ten."""
    metrics = []
    for prefix, of in (("", "ratio"), ("reference", "ref"), ("candidate", "cand")):
        for category in ("all", *CATEGORIES):
            metrics.append(
                Metric(
                    f"{prefix}.{category}".lstrip("."),
                    kind="judged",
                    where={} if category == "all" else {"category": category},
                    options={"value": "votes", "of": of, "rounding": rounding},
                    percent=False,
                    higher_is_better=of != "ref",
                )
            )
    return tuple(metrics)


def _rubric(bench: Bench, variant: str) -> Rubric:
    lmms, wild = variant == "lmms", bench.layout.name != "coco"
    prefix = WILD if wild or lmms else ""
    system, digest = prompt_file("llava_system.txt")
    rules = {category: bench.rules[prefix + category] for category in CATEGORIES}
    files = {"rule.json": bench.source.files.get(bench.rules_file.name, RULE_SHA256)}
    return Rubric(
        name=f"llava_bench/{variant or 'llava'}",
        version="1",
        prompt=partial(_ask, rules, "" if lmms else system, not lmms),
        read=partial(_read, first_two_numbers if lmms else score_line, variant in ("", "swap")),
        decodings=(Decoding(max_tokens=1024, temperature=0.2),),
        model=LMMS_JUDGE if lmms else JUDGE,
        files=files if lmms else {**files, "llava_system.txt": digest},
        orders=(False, True) if variant == "swap" else (False,),
        sentinel=None if variant in ("", "swap") else _SENTINEL,
    )


def _ask(
    rules: dict[str, dict[str, str]],
    system: str,
    boxes: bool,
    sample: Sample,
    answer: str,
    swapped: bool,
    attempt: int,
) -> Sample:
    """Write the judge's six blocks: context, question, both answers, the rule."""
    rule = rules[sample.groups["category"]]
    role, facts = rule["role"], sample.facts
    context = facts["captions"]
    if boxes and facts["boxes"]:
        context = f"{context}\n\n{facts['boxes']}"
    first, second = (answer, sample.target) if swapped else (sample.target, answer)
    blocks = [
        f"[Context]\n{context}",
        f"[Question]\n{facts['question']}",
        f"[{role} 1]\n{first}\n\n[End of {role} 1]",
        f"[{role} 2]\n{second}\n\n[End of {role} 2]",
        f"[System]\n{rule['prompt']}",
    ]
    points = ("10", "10" if answer == sample.target else "1")
    return Sample(
        id=sample.id,
        prompt=("".join(f"{block}\n\n" for block in blocks),),
        target=" ".join(reversed(points) if swapped else points),
        aliases=sample.aliases,
        system=system,
    )


def _read(
    parse: Callable[[str], tuple[float, float] | None], strict: bool, text: str, swapped: bool
) -> Verdict | None:
    """Read the points of both; `strict` takes points outside 0 to 10 for unreadable."""
    found = parse(text)
    if found is None or (strict and not all(0 <= points <= 10 for points in found)):
        return None
    ref, cand = reversed(found) if swapped else found
    label = "candidate" if cand > ref else "reference" if cand < ref else "tie"
    return Verdict((cand - 1) / 9, label, {"ref": ref, "cand": cand})


def _notes(variant: str) -> tuple[str, ...]:
    kept = (
        ()
        if variant in ("", "swap")
        else (
            "unreadable verdicts count as [-1, -1] in the means (shown as unparsed); a judge whose "
            "words are all unreadable makes 100",
        )
    )
    return (
        f"published numbers are of {LMMS_JUDGE if variant == 'lmms' else JUDGE}; scores of "
        "different judges are different metrics",
        *kept,
    )
