"""What people are asked about each item, and what they can say.

The pairs' criteria are those of LSKD's Table 5, the triples' those of its critic labels (section
2.3) and Figure 3; the wording is ours. Imports harness.errors only.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.errors import DataError, UsageError

SIDES = ("left", "tie", "right")
"""What a form holds of a pair; which model is left only the key says."""
OUTCOMES = ("a", "tie", "b")
SCALE = ("reject", "maybe", "accept")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_MOST_POINTS = 9  # each is one key


@dataclass(frozen=True)
class Criterion:
    """One question about each item."""

    name: str
    question: str
    options: tuple[str, ...]
    """Labels; a rating is the place among them, from 1."""
    follows: str = ""
    """Rated lowest without asking where this criterion is (LSKD, footnote 4)."""

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "options": list(self.options)}


_PAIR = (
    ("correctness", "Which answer gets more of what is in the picture right?"),
    ("informativeness", "Which answer is more informative and interesting?"),
    ("plausibility", "Which answer sounds more plausible?"),
    ("overall", "Which answer do you prefer, all in all?"),
)
_TRIPLE = (
    ("qa", "Do the question and the answer fit what is in the picture?", ""),
    ("rationale", "Does the rationale justify the answer, and fit the picture?", "qa"),
)
_ANSWER = (
    ("correctness", "Does the answer fit what is in the picture?", ""),
    ("acceptability", "Would you accept it as an answer to the question?", ""),
)


def pairwise(own: Sequence[str] = ()) -> list[Criterion]:
    """Return the criteria of pairs; `own` are NAME=QUESTION and take their place."""
    labels = ("Left", "The same", "Right")
    return [Criterion(name, question, labels) for name, question in _own(own) or _PAIR]


def likert(own: Sequence[str] = (), scale: str = "", *, triples: bool = False) -> list[Criterion]:
    """Return the criteria of ratings; `scale` are labels from lowest to highest, with commas."""
    labels = tuple(label.strip() for label in scale.split(",")) if scale else SCALE
    if not 2 <= len(labels) <= _MOST_POINTS or len(set(labels)) < len(labels) or "" in labels:
        raise UsageError(f"--scale {scale!r}: 2 to {_MOST_POINTS} different labels, with commas")
    asked = [(name, text, "") for name, text in _own(own)] or (_TRIPLE if triples else _ANSWER)
    return [Criterion(name, question, labels, after) for name, question, after in asked]


def _own(said: Sequence[str]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for words in said:
        name, equals, question = words.partition("=")
        if not equals or not _NAME.fullmatch(name) or not question.strip():
            raise UsageError(
                f"--criterion {words!r}: expected NAME=QUESTION, the name of small letters, "
                "digits, - and _"
            )
        if name in found:
            raise UsageError(f"--criterion {name} stands twice")
        found[name] = question.strip()
    return list(found.items())


def from_data(found: Sequence[Mapping[str, Any]]) -> list[Criterion]:
    """Return criteria as a key holds them. Raises DataError."""
    try:
        return [Criterion(**{**one, "options": tuple(one["options"])}) for one in found]
    except (TypeError, KeyError) as error:
        raise DataError(f"the key's criteria cannot be read ({error!r})") from error
