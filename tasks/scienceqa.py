"""ScienceQA: school science with two to five options, half of the questions with a picture.

Lu et al. 2022 (arXiv 2209.09513), github lupantech/ScienceQA, `tools/evaluate_acc.py` for the
columns: 4,241 test questions; by subject (NAT, SOC, LAN), by what comes with the question (TXT,
IMG, NO; they overlap) and by grade (G1-6, G7-12). The bare name is LLaVA-1.5's protocol; what its
paper prints as SQA-I is `scienceqa/img`.

    sightline run --task scienceqa --model transformers:PATH --data FOLDER

The tools read answers very differently (judges/choice.py). Files: tasks/_scienceqa_files.py.
"""

from functools import partial
from random import Random

from harness.errors import DataError
from harness.types import Answer, Decoding, Metric, Sample, Score, Task
from judges.choice import LETTERS, index, lettered, llava_letter, lmms_letter, scienceqa_letter
from tasks._scienceqa_files import Problem, Problems, classes, load

VARIANTS = {
    "llava": "LLaVA-1.5's prompt and eval_science_qa.py's rule; the same as 'scienceqa'",
    "img": "the 2,017 questions with an image (SQA-I of the LLaVA-1.5 paper)",
    "text": "the 2,224 questions without an image",
    "official": "zero-shot QCM prompt; 'The answer is X.' or a random option, as run_gpt3.py does",
    "lmms": "lmms-eval: the letter in either case, or a capital before a full stop; 16 tokens",
    "rank": "the option text that is likeliest after 'Question: ... Answer:', no options shown",
    "text-rank": "the same on the questions without an image, for text-only models",
}
LETTER_ONLY = "Answer with the option's letter from the given choices directly."
PARTS = {"img": "img", "text": "text", "text-rank": "text"}
"""Variants that ask a part of the questions."""
COLUMNS = {
    "NAT": ("subject", "NAT"),
    "SOC": ("subject", "SOC"),
    "LAN": ("subject", "LAN"),
    "TXT": ("text", True),
    "IMG": ("image", True),
    "NO": ("neither", True),
    "G1-6": ("grade", "G1-6"),
    "G7-12": ("grade", "G7-12"),
}
"""The official columns in the official order: the group and its value."""
SEED = 3
"""Of the official script's random option for an answer that it cannot read."""
_RULES = {"llava": llava_letter, "official": scienceqa_letter, "lmms": lmms_letter}


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on the official files, lmms-lab/ScienceQA or LLaVA's test file.

    Raises DataError for files that are not what they claim to be.
    """
    rule = {"text-rank": "rank"}.get(variant, variant)
    rule = "llava" if rule in ("", *PARTS) else rule
    found = load(data, PARTS.get(variant, ""))
    samples = [_sample(problem, rule) for problem in found.rows]
    return Task(
        name=f"scienceqa/{variant}" if variant else "scienceqa",
        version="1",
        source=found.source,
        samples=lambda: samples,
        score=partial(_score, rule),
        scorer=f"scienceqa/{rule}@1",
        metrics=_metrics(found),
        headline="accuracy",
        ask="rank" if rule == "rank" else "generate",
        decoding=_decoding(rule),
        chance=100 * sum(1 / len(s.choices) for s in samples) / len(samples),
        notes=(*found.notes, *_notes(found, rule)),
    )


def _decoding(rule: str) -> Decoding:
    if rule == "official":
        return Decoding(max_tokens=512, stop=("\n",))
    return Decoding(max_tokens={"lmms": 16}.get(rule, 1024))


def _notes(found: Problems, rule: str) -> list[str]:
    notes = []
    if rule == "official":
        notes.append(
            "an answer that the rule cannot read gets a random option (counted as unparsed); each "
            f"question draws with its own generator of seed {SEED}, so resuming changes nothing"
        )
    if rule == "lmms" and any(problem.stem for problem in found.rows):
        notes.append("LLaVA's file has doubled spaces collapsed, lmms-eval's prompts have not")
    return notes


def _metrics(found: Problems) -> tuple[Metric, ...]:
    """Return the columns that have questions, in the official order, the average first."""
    columns = [classes(problem) for problem in found.rows]
    present = {
        name: {group: value}
        for name, (group, value) in COLUMNS.items()
        if any(row.get(group) == value for row in columns)
    }
    named = [Metric(f"{name}.accuracy", where=where) for name, where in present.items()]
    topics = [Metric("topic", by="topic")] if any("topic" in row for row in columns) else []
    return (Metric("accuracy"), *named, *topics)


def _sample(problem: Problem, rule: str) -> Sample:
    choices = [LETTERS[i] for i in range(len(problem.choices))]
    if rule == "official":
        choices = [f"The answer is {letter}." for letter in choices]
    if rule == "rank":
        choices = list(problem.choices)
    image = () if problem.image is None else (problem.image,)
    return Sample(
        id=problem.id,
        prompt=(*image, _PROMPTS.get(rule, _prompt)(problem)),
        target=choices[problem.answer],
        choices=tuple(choices),
        groups=classes(problem),
        facts={"gold": problem.answer, "question": problem.question or problem.stem},
    )


def _stem(problem: Problem, hint: str) -> str:
    """Return the context, if there is one, and the question."""
    return problem.stem or (f"Context: {hint}\n" if hint else "") + (problem.question or "")


def _with_options(problem: Problem) -> str:
    """Return context, question, options; tidied once, as the official builder does."""
    text = "\n".join((_stem(problem, (problem.hint or "").strip()), *lettered(problem.choices)))
    return text.replace("  ", " ").strip()


def _prompt(problem: Problem) -> str:
    return f"{_with_options(problem)}\n{LETTER_ONLY}"


def _cloze(problem: Problem) -> str:
    """Return the question as a text to go on with: small models have no use for letters."""
    stem = _stem(problem, (problem.hint or "").strip()).replace("  ", " ").strip()
    return f"Question: {stem}\nAnswer:"


def _lmms_prompt(problem: Problem) -> str:
    return "\n".join((_stem(problem, problem.hint or ""), *lettered(problem.choices), LETTER_ONLY))


def _official_prompt(problem: Problem) -> str:
    if problem.question is None or problem.hint is None:
        raise DataError(
            "scienceqa/official asks question and context apart; llava_test_CQM-A.json alone does "
            "not tell them apart. Add test_QCM-A.json, or use problems.json"
        )
    options = " ".join(lettered(problem.choices, "(", ") "))
    text = (
        f"Question: {problem.question}\nContext: {problem.hint.strip() or 'N/A'}\n"
        f"Options: {options}\nAnswer:"
    )
    return text.replace("  ", " ").strip()


_PROMPTS = {"lmms": _lmms_prompt, "official": _official_prompt, "rank": _cloze}


def _score(rule: str, sample: Sample, answer: Answer) -> Score:
    """Score a position (of a ranking, or recorded by another tool) or else the text."""
    count, gold = len(sample.choices), sample.facts["gold"]
    if answer.choice is not None:
        at = answer.choice
    elif rule == "rank":
        at = answer.scores.index(max(answer.scores)) if answer.scores else -1
    else:
        at = index(_RULES[rule](answer.text), count)
        if at < 0 and rule == "official":
            drawn = Random(f"{SEED}/{sample.id}").randrange(count)
            reason = f"not readable; the official rule drew option {LETTERS[drawn]}"
            return Score(float(drawn == gold), None, "unparsed", reason=reason)
    if at < 0:
        return Score(0.0, None, "unparsed")
    return Score(float(at == gold), LETTERS[at])
