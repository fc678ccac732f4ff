"""Which option an answer names, as MMBench's own evaluation reads it, without its language model.

Source: MMBench's evaluator as VLMEvalKit first had it and lmms-eval still has
(`can_infer_option`, `can_infer_text`). Where these rules find nothing the published pipeline asks
a GPT model three times and then draws an option by lot; here the answer stays unread.

Never raises, whatever a model wrote. Imports the standard library only.
"""

from collections.abc import Mapping

_LETTERS = "ABCDE"
"""E is read too, although no question offers it: such an answer is wrong, not unread."""
_AROUND = (
    *(("", "."), ("", ","), ("", ":"), ("", ")"), ("", ")."), ("(", ")"), ("(", ").")),
    *((":", ""), (":", ","), (":", "."), (":", ")"), (":", ").")),
)
"""What may stand around a letter, in the order in which it is tried."""
_FEW = 3
"""Among more words than this a bare "A" is taken to be an article."""


def mmbench_option(text: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the option that a text names, else of the one whose text it holds."""
    return mmbench_letter(text) or mmbench_text(text, options)


def mmbench_letter(text: str) -> str | None:
    """Return the one letter that stands alone among the words, bare or as "B." or "(B)" and so on.

    Two different letters of the same form are none; forms are tried one after the other.
    """
    words = set(pieces := text.split())
    bare = [letter for letter in _LETTERS if letter in words]
    if len(bare) == 1 and not (bare == ["A"] and len(pieces) > _FEW):
        return bare[0]
    for before, after in _AROUND:
        found = [letter for letter in _LETTERS if before + letter + after in words]
        if len(found) == 1:
            return found[0]
    return None


def mmbench_text(text: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the one option whose text stands somewhere in the answer, any case."""
    said = text.lower()
    found = [letter for letter, option in options.items() if option.lower() in said]
    return found[0] if len(found) == 1 else None
