"""MME: two yes/no questions on each image, 14 sub-tasks, scores out of 200 each.

Fu et al. 2023 (arXiv 2306.13394), `eval_tool/calculation.py`: per sub-task the accuracy plus the
share of images with both questions right (acc+), each times 100; perception is the sum over ten
sub-tasks (2,000), cognition over four (800). The bare name is LLaVA-1.5's protocol.

    sightline run --task mme --model transformers:PATH --data FOLDER

Rules: judges/yes_no.py, metrics: harness/metrics/grouped.py, files: tasks/_mme_files.py.
"""

from collections.abc import Callable, Mapping
from functools import partial

from harness.types import Answer, Decoding, Metric, Sample, Score, Task
from judges.yes_no import mme_lmms, mme_rule
from tasks._mme_files import PERCEPTION, SUBTASKS, Pair, load

VARIANTS = {
    "official": "the question as published ('... Please answer yes or no.'), the official rule",
    "llava": "LLaVA-1.5's short-answer line in place of that sentence; the same as 'mme'",
    "lmms": "lmms-eval: the same prompt; full stops off, 'y' and 'n' count; 16 tokens",
}
SENTENCE = "Please answer yes or no."
SHORT = "\nAnswer the question using a single word or phrase."
_RULES: Mapping[str, Callable[[str], str | None]] = {
    "official": mme_rule,
    "llava": mme_rule,
    "lmms": mme_lmms,
}


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on the folders of the official release, or lmms-lab/MME.

    Raises DataError for files that are not what they claim to be.
    """
    rule = variant or "llava"
    found = load(data)
    samples = [
        _sample(pair, number, rule)
        for pair in sorted(found.pairs, key=lambda pair: pair.id)
        for number in (0, 1)
    ]
    metrics, headline, size = _metrics([s for s in SUBTASKS if s in found.subtasks])
    return Task(
        name=f"mme/{variant}" if variant else "mme",
        version="1",
        source=found.source,
        samples=lambda: samples,
        score=partial(_score, rule),
        scorer=f"mme/{rule}@1",
        metrics=metrics,
        headline=headline,
        decoding=Decoding(max_tokens=16 if rule == "lmms" else 128),
        chance=75.0 * size,
        ceiling=200.0 * size,
        notes=tuple(found.notes),
    )


def _metrics(present: list[str]) -> tuple[tuple[Metric, ...], str, int]:
    """Return the metrics, the headline and how many sub-tasks are summed in it.

    A sum over some of its sub-tasks would pass for the published one, so it is left out.
    """
    metrics = []
    for name in present:
        where = {"subtask": name}
        pair = {"key": "pair", "size": "pair_size"}
        parts = {"of": [f"{name}.acc", f"{name}.acc_plus"], "scale": 100}
        metrics += [
            Metric(f"{name}.acc", where=where),
            Metric(f"{name}.acc_plus", "all_right", where, options=pair),
            Metric(f"{name}.score", "sum_of", where, options=parts, percent=False),
        ]
    sums = {"perception": PERCEPTION, "cognition": SUBTASKS[len(PERCEPTION) :]}
    whole = {name: subtasks for name, subtasks in sums.items() if set(subtasks) <= set(present)}
    for name, subtasks in whole.items():
        of = [f"{subtask}.{part}" for subtask in subtasks for part in ("acc", "acc_plus")]
        metrics.append(Metric(name, "sum_of", options={"of": of, "scale": 100}, percent=False))
    if whole:
        headline = next(iter(whole))
        return tuple(metrics), headline, len(whole[headline])
    return tuple(metrics), f"{present[0]}.score", 1


def _sample(pair: Pair, number: int, rule: str) -> Sample:
    question, gold = pair.questions[number]
    return Sample(
        id=f"{pair.id}/{number + 1}",
        prompt=(*((pair.image,) if pair.image else ()), _prompt(pair, number, rule)),
        target=gold,
        choices=("yes", "no"),
        cluster=pair.id,
        groups={"subtask": pair.subtask},
        facts={"question": question.replace(SENTENCE, "").strip(), "pair": pair.id},
    )


def _prompt(pair: Pair, number: int, rule: str) -> str:
    question = pair.questions[number][0]
    if rule == "official":
        return question
    if rule == "lmms":  # one space goes with the sentence; where there are two, one stays
        return question.strip().replace(f" {SENTENCE}", "") + SHORT
    return pair.asked[number] or question.replace(SENTENCE, "").strip() + SHORT


def _score(rule: str, sample: Sample, answer: Answer) -> Score:
    said = _RULES[rule](answer.text)
    stats = {"pair": sample.facts["pair"], "pair_size": 2}
    right = float(said == sample.target)
    return Score(right, said, "scored" if said else "unparsed", stats)
