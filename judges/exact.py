"""Exact match after each tool's clean-up; pure functions of text, shared by short-answer tasks.

The benchmarks compare strings and nothing else; what differs between tools is what they do to
the strings first, and on which side. Sources: GQA's `eval.py` (`official`), LLaVA's
`scripts/convert_gqa_for_eval.py` (`llava`), lmms-eval's `exact_match` with its two ignore flags
(`lmms`), VLMEvalKit's VQA scorer (`vlmeval`), LAVIS' VQA normalisation (`lavis`).

No rule ever raises, whatever a model wrote. Imports the standard library and judges.vqa only.
"""

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from judges.vqa import normalise as vqa

_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class Rule:
    """A clean-up, and whether the gold answer gets it too."""

    clean: Callable[[str], str]
    gold_too: bool = False

    def same(self, prediction: str, gold: str) -> bool:
        """Whether `prediction` equals `gold` under this rule."""
        return self.clean(prediction) == (self.clean(gold) if self.gold_too else gold)


def raw(text: str) -> str:
    """Return the text untouched: case, spaces and punctuation count."""
    return text


def without_final_periods(text: str) -> str:
    """Remove the trailing run of full stops, then lower the case; spaces stay."""
    return text.rstrip(".").lower()


def without_punctuation(text: str) -> str:
    """Lower the case and delete all ASCII punctuation; spaces stay."""
    return text.lower().translate(_ASCII_PUNCTUATION)


def stripped(text: str) -> str:
    """Remove surrounding white space and lower the case."""
    return text.strip().lower()


RULES: Mapping[str, Rule] = {
    "official": Rule(raw),
    "llava": Rule(without_final_periods),
    "lmms": Rule(without_punctuation, gold_too=True),
    "vlmeval": Rule(stripped, gold_too=True),
    "lavis": Rule(vqa, gold_too=True),
}
