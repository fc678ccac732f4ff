"""Yes/no answers: the rules of POPE's and MME's own scripts, lmms-eval and VLMEvalKit."""

import re
from string import punctuation

_WORD = re.compile(r"\b(yes|no|not)\b", re.I)


def pope_rule(text: str) -> tuple[bool, bool]:
    """Return (said yes, whether a yes or a no was found at all).

    POPE `evaluate.py`, the same in LLaVA `eval_pope.py`: the text before the first full stop,
    without commas, cut at single spaces, is "no" if a piece is exactly `No`, `not` or `no`, and
    yes otherwise: "NO", "isn't" and "" are yes.
    """
    words = text.partition(".")[0].replace(",", "").split(" ")
    said_no = any(word in ("No", "not", "no") for word in words)
    return not said_no, said_no or bool(_WORD.search(text))


def single_word(text: str) -> str | None:
    """Return "yes" or "no" if that is all there is (lmms-eval: lower case, outer space off)."""
    word = text.lower().strip()
    return word if word in ("yes", "no") else None


def vlmeval_word(text: str) -> str | None:
    """Return the word if exactly one of yes and no stands there (VLMEvalKit, punctuation off)."""
    words = set(text.lower().translate(str.maketrans(punctuation, " " * len(punctuation))).split())
    found = words & {"yes", "no"}
    return found.pop() if len(found) == 1 else None


def mme_rule(text: str) -> str | None:
    """Return the word of MME's `calculation.py`: the text, or what its first 4 characters hold.

    In lower case; "yes" is looked for before "no", so that "None" and "I know" ("i kn" has none)
    are "no" and nothing.
    """
    return _at_the_front(text.lower())


def mme_lmms(text: str) -> str | None:
    """Return lmms-eval's word: outer space and all full stops off, "y" and "n" count too."""
    text = text.lower().strip().replace(".", "")
    if len(text) == 1:
        return {"y": "yes", "n": "no"}.get(text)
    return _at_the_front(text)


def _at_the_front(text: str) -> str | None:
    return next((word for word in ("yes", "no") if word in text[:4]), None)
