"""Which lettered option a text names, as each tool reads it; pure functions, shared by tasks.

Sources: ScienceQA's `models/run_gpt3.py` (`scienceqa_letter`), LLaVA's
`llava/eval/eval_science_qa.py` (`llava_letter`), lmms-eval's `tasks/scienceqa/utils.py`
(`lmms_letter`). They differ on the commonest answers: "A." and "a" are right for lmms-eval and
nothing for LLaVA, "The answer is A." the other way round.

No function ever raises, whatever a model wrote. Imports the standard library only.
"""

import re
from collections.abc import Iterable

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FIVE = "ABCDE"
_THE_ANSWER_IS = re.compile(r"The answer is ([A-Z]).")  # the dot is any character, as published


def lettered(options: Iterable[str], before: str = "", after: str = ". ") -> list[str]:
    """Return the options with their letters ("A. cat", "B. dog")."""
    return [
        f"{before}{letter}{after}{option}" for letter, option in zip(LETTERS, options, strict=False)
    ]


def scienceqa_letter(text: str) -> str | None:
    """Return the letter of the one "The answer is X." in the text; None for none or several."""
    found: list[str] = _THE_ANSWER_IS.findall(text)
    return found[0] if len(found) == 1 else None


def llava_letter(text: str) -> str | None:
    """Return the text if it is a letter A-E, or such a letter before ". ", or by the sentence."""
    if text in tuple(_FIVE):
        return text
    if len(text) >= 3 and text[0] in _FIVE and text[1:3] == ". ":
        return text[0]
    return scienceqa_letter(text)


def lmms_letter(text: str) -> str | None:
    """Return a letter alone (either case), or an upper-case character before a full stop."""
    text = text.strip()
    if len(text) == 1 and text.lower() in tuple(LETTERS.lower()):
        return text.lower().upper()
    return text[0] if len(text) >= 2 and text[0].isupper() and text[1] == "." else None


def index(letter: str | None, count: int) -> int:
    """Return the position of `letter` among an item's `count` options; -1 where it is none."""
    return LETTERS.index(letter) if letter in tuple(LETTERS[:count]) else -1
