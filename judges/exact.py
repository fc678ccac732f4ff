"""Exact match after each tool's clean-up; pure functions of text, shared by short-answer tasks.

The benchmarks compare strings and nothing else; what differs between tools is what they do to
the strings first, and on which side. Sources: GQA's `eval.py` (`official`), LLaVA's
`scripts/convert_gqa_for_eval.py` (`llava`), lmms-eval's `exact_match` with its two ignore flags
(`lmms`), VLMEvalKit's VQA scorer (`vlmeval`), LAVIS' VQA normalisation (`lavis`).

No rule ever raises, whatever a model wrote. Imports the standard library only.
"""

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)

# The VQA rule deletes a mark everywhere in a text that has it beside a space, or that has a comma
# between digits; elsewhere the mark becomes a space.
_VQA_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_VQA_NUMBER_COMMA = re.compile(r"\d,\d")
_VQA_PERIOD = re.compile(r"\.(?!\d)")
_VQA_PERIODS = 32
"""The published code passes a flag where the substitution expects a count; the flag's value."""
_VQA_NUMBERS = "zero one two three four five six seven eight nine ten"
_VQA_ARTICLES = {"a", "an", "the"}
# Contractions are restored where the apostrophe was left out: "dont" becomes "don't".
_VQA_CONTRACTED = """
    ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd how'd
    how'll how's isn't ma'am might've mightn't must've mustn't needn't not've o'clock oughtn't
    shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's something'd
    something'll that's there'd there're there's they'd they'll they're they've 'twas wasn't we've
    weren't what'll what're what's what've when's where'd where's where've who'd who'll who's
    who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've he's
"""
# Of forms with several apostrophes the rule knows those that lack exactly one.
_VQA_LONGER = """
    couldn't've hadn't've he'd've mightn't've she'd've shouldn't've somebody'd've someone'd've
    something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've you'd've
    'ow's'at
"""


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


def vqa(text: str) -> str:
    """Normalise as the VQA evaluation does: punctuation, then numbers, articles, contractions."""
    return _vqa_words(_vqa_punctuation(text))


def _vqa_punctuation(text: str) -> str:
    number = _VQA_NUMBER_COMMA.search(text) is not None
    out = text
    for mark in _VQA_MARKS:
        if mark in text:  # beside a space is asked of the original text, not of what is left of it
            beside = number or f"{mark} " in text or f" {mark}" in text
            out = out.replace(mark, "" if beside else " ")
    return _VQA_PERIOD.sub("", out, count=_VQA_PERIODS)


def _vqa_words(text: str) -> str:
    words = (_VQA_DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(_VQA_RESTORED.get(word, word) for word in words if word not in _VQA_ARTICLES)


def _restored() -> Mapping[str, str]:
    table = {form.replace("'", ""): form for form in _VQA_CONTRACTED.split()}
    table["somebody'd"] = "somebodyd"  # the published table has this one the wrong way round
    for form in _VQA_LONGER.split():
        marks = [i for i, letter in enumerate(form) if letter == "'"]
        table |= {form[:i] + form[i + 1 :]: form for i in marks}
    return table


_VQA_RESTORED = _restored()
_VQA_DIGITS = {word: str(value) for value, word in enumerate(_VQA_NUMBERS.split())} | {"none": "0"}

RULES: Mapping[str, Rule] = {
    "official": Rule(raw),
    "llava": Rule(without_final_periods),
    "lmms": Rule(without_punctuation, gold_too=True),
    "vlmeval": Rule(stripped, gold_too=True),
    "lavis": Rule(vqa, gold_too=True),
}
