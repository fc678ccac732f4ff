"""What model-graded judges share: prompt files, filling them in, and reading verdicts.

Prompts are protocol data: a number is comparable only under the same words, so they stand in
`judges/prompts/*.txt` as the benchmarks' scripts send them, and their hashes are part of a run's
fingerprint. What a judge writes is as hostile as any model's text: it is matched against patterns,
never evaluated, and words that do not fit are None, never a number.

Sources: haotian-liu/LLaVA `llava/eval/eval_gpt_review_bench.py` (score line), yuweihao/MM-Vet
`mm-vet_evaluator.py` (correctness), mbzuai-oryx/Video-ChatGPT
`quantitative_evaluation/evaluate_activitynet_qa.py` (dictionary). Imports harness.types only.
"""

import math
import re
from hashlib import sha256
from pathlib import Path

from harness.types import Answer, Sample, Score

_HOME = Path(__file__).resolve().parent / "prompts"
_LONGEST = 20_000
"""Characters of a judge's reply that are looked at; a verdict is short."""
_STRING = r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\""""
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_ENTRY = re.compile(rf"\s*({_STRING})\s*:\s*({_STRING}|{_NUMBER})\s*")


def prompt_file(name: str) -> tuple[str, str]:
    """Return the text of judges/prompts/<name>, without newlines at its end, and its sha256."""
    raw = (_HOME / name).read_bytes()
    return raw.decode("utf-8").rstrip("\n"), sha256(raw).hexdigest()


def fill(template: str, **values: str) -> str:
    """Put values in place of `{name}`, all at once: braces in a value stay what they are."""
    names = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({names})\}}", lambda found: values[found[1]], template)


def wait(sample: Sample, answer: Answer) -> Score:
    """Leave an answer to the judge."""
    return Score(None, None, "unjudged", reason="waits for a judge: sightline judge RUN --judge …")


def score_line(text: str) -> tuple[float, float] | None:
    """Read LLaVA's two points: exactly two numbers on the first line.

    Commas count as spaces and pieces are split at single spaces, so "8, 7" and "8  7" have three
    pieces and are unreadable, as in the official script. Unlike there, `nan` and `inf` are no
    numbers.
    """
    pieces = text[:_LONGEST].split("\n")[0].replace(",", " ").split(" ")
    if len(pieces) != 2:
        return None
    found = [_float(piece) for piece in pieces]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def first_two_numbers(text: str) -> tuple[float, float] | None:
    """Read the first two numbers wherever they stand, as lmms-eval does."""
    found = re.findall(r"\d+(?:\.\d+)?", text[:_LONGEST])[:2]
    if len(found) < 2:
        return None
    first, second = (_float(number) for number in found)
    return None if first is None or second is None else (first, second)


def correctness(text: str) -> float | None:
    """Read MM-Vet's score: what stands before the first space, a number from 0 to 1."""
    value = _float(text[:_LONGEST].split(" ")[0].strip())
    return value if value is not None and 0.0 <= value <= 1.0 else None


def flat_dict(text: str) -> dict[str, str | float] | None:
    """Read a Python dictionary of strings and numbers; None for anything else around or in it.

    A backslash stands for the character behind it: no verdict needs more of Python's escapes.
    """
    text = text[:_LONGEST].strip()
    if not (text.startswith("{") and text.endswith("}")):
        return None
    found: dict[str, str | float] = {}
    at, end = 1, len(text) - 1
    while True:
        entry = _ENTRY.match(text, at, end)
        if entry is None:
            return found if found and not text[at:end].strip() else None
        value = _unquoted(entry[2]) if entry[2][0] in "'\"" else _float(entry[2])
        if value is None:
            return None
        found[_unquoted(entry[1])] = value
        at = entry.end()
        if at < end:
            if text[at] != ",":
                return None
            at += 1


def match(text: str) -> tuple[bool | None, int] | None:
    """Read Video-ChatGPT's verdict: whether the answers match, and a score from 0 to 5.

    `yes` anywhere in `pred` is a match, else `no` is none, else it is undecided (None): such a
    verdict counts in the mean score and not in the accuracy, as in the official script. The score
    is cut to a whole number (4.8 is 4); a score outside 0 to 5 makes the verdict unreadable.
    """
    found = flat_dict(text)
    pred, score = (found or {}).get("pred"), (found or {}).get("score")
    if not isinstance(pred, str) or score is None:
        return None
    if isinstance(score, str):
        if not re.fullmatch(r"\s*[+-]?\d{1,9}\s*", score):
            return None
        score = float(score)
    if not 0 <= int(score) <= 5:
        return None
    said = pred.lower()
    return True if "yes" in said else False if "no" in said else None, int(score)


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])
