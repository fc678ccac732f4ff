"""ScienceQA as conversations: question, context, options; then reasons and the answer.

As haotian-liu/LLaVA scripts/convert_sqa_to_llava*.py and lupantech/ScienceQA models/base_prompt.py
write it: the input is Q-C-M (the context is the hint, "N/A" without one; captions unused), the
picture stands after it. Targets: `A` the answer sentence; `LEA` lecture, explanation, then that
sentence; `LEPA` labelled lecture and solution, a line with the stop string of the template v0, a
labelled letter: reasons first, and a second short generation reads the letter. `ALE` is the
answer-first ablation (dissertation, table 3.8). Imports the standard library and judges.choice.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import DataError, UsageError, unknown
from judges.choice import LETTERS, lettered
from trainers.convert.common import Raw, Record, record

SPLITS = {"train": 12_726, "val": 4_241, "test": 4_241, "minitrain": 0, "minival": 0, "minitest": 0}
"""Splits of pid_splits.json and, where they were published in the paper, their sizes."""
FORMATS = ("LEA", "LEPA", "ALE", "A")
STOP = "###"


def scienceqa(raw: Raw) -> Iterator[Record]:
    """Convert problems.json and pid_splits.json.

    Options: `format` (LEA), `split` (train).
    """
    split = raw.options.get("split", "train")
    kind = raw.options.get("format", "LEA")
    if kind not in FORMATS:
        raise unknown("target format of ScienceQA", kind, FORMATS)
    problems = raw.json("problems.json", dict)
    splits = raw.json("pid_splits.json", dict)
    if split not in splits:
        raise UsageError(f"split={split}: pid_splits.json has {', '.join(splits)}")
    for id in splits[split]:
        if id not in problems:
            raise DataError(f"problems.json: problem '{id}' of the split {split} is not in it")
        problem = problems[id]
        image = f"{split}/{id}/{problem['image']}" if problem.get("image") else None
        pair = (question(problem), target(problem, kind))
        yield record(id, image, [pair], image_last=True)


def question(problem: Mapping[str, Any]) -> str:
    """Return question, context and options of a problem as the model is asked."""
    context = str(problem.get("hint") or "").strip() or "N/A"
    options = " ".join(lettered(problem["choices"], "(", ") "))
    text = f"{problem['question']}\nContext: {context}\nOptions: {options}"
    return _tidy(text)


def target(problem: Mapping[str, Any], kind: str) -> str:
    """Return what the model is to say about a problem, in the format `kind`."""
    at = problem["answer"]
    if not isinstance(at, int) or not 0 <= at < len(problem["choices"]):
        raise DataError(f"the answer {at!r} is none of {len(problem['choices'])} choices")
    letter = LETTERS[at]
    lecture, solution = (_line(problem.get(name)) for name in ("lecture", "solution"))
    sentence = f"The answer is {letter}."
    if kind == "LEPA":
        blocks = [("LECTURE", lecture), ("SOLUTION", solution)]
        reasons = "".join(f"{label}: {text}\n" for label, text in blocks if text)
        return f"{reasons}{STOP}\nANSWER: {letter}."
    parts = {"A": (sentence,), "LEA": (lecture, solution, sentence)}
    chosen = parts.get(kind, (sentence, lecture, solution))
    return _tidy(" ".join(part for part in chosen if part))


def _line(text: Any) -> str:
    """Return a text with its line breaks written out, as the official builder keeps one line."""
    return str(text or "").strip().replace("\n", "\\n")


def _tidy(text: str) -> str:
    return text.replace("  ", " ").strip()
