"""Reading a teacher's reply: three lines for each triple, strict, with a reason for what is not.

    Question: What is [0] doing?
    Answer: [0] is waiting for [2].
    Rationale: [0] looks at the road and [2] is a bus.

In the style `descriptions` a phrase in brackets takes the place of a number; the corpus has the
phrase without its brackets. May import harness and trainers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.types import Answer, Failure
from trainers.localized.triples import PARTS, Style, Tokens, Triple, mentioned, tokens, words

_PART = re.compile(r"^(question|answer|rationale):[ \t]*(.*)$", re.IGNORECASE)
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_NUMBERS = re.compile(r"\s*[0-9]{1,6}(?:\s*,\s*[0-9]{1,6})*\s*")
_CITES = re.compile(
    r"\b(?:descriptions?|captions?|bounding box(?:es)?|coordinates?|detect(?:ed|ion|ions|or)"
    r"|narratives?|(?:the|given|provided|listed) (?:regions?|lists?|context|information|sentences?)"
    r"|region\s*#?\d+|as (?:given|listed|provided|stated|mentioned|described)"
    r"|according to the (?:text|image|picture|information))\b",
    re.IGNORECASE,
)
_MARKS = re.compile(r"<[a-z_/|][^>\s]{0,20}>|###|\[/?INST\]", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")
_LONGEST = 80
"""Words of a part: question, answer and rationale are cut at 70 together by the students."""


@dataclass(frozen=True, slots=True)
class Said:
    """One triple of a reply."""

    question: Tokens
    answer: Tokens
    rationale: Tokens
    phrases: tuple[str, ...] = ()
    """What stood in brackets, in the style `descriptions`."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was read in a reply."""

    good: tuple[tuple[int, Said], ...] = ()
    """Place in the reply, from 0, and the triple."""
    faults: tuple[tuple[int | None, str, str], ...] = ()
    """Place (None: the whole reply), the reason, the text."""

    @property
    def why(self) -> str:
        """The first fault; empty: there is none."""
        return self.faults[0][1] if self.faults else ""


def written(triple: Triple) -> str:
    """Return a triple on one line, for the list of those that are already written."""
    return (f"Question: {words(triple.question)} Answer: {words(triple.answer)} "
            f"Rationale: {words(triple.rationale)}")  # fmt: skip


def read(
    answer: Answer | Failure, style: Style, regions: int, each: int, known: Sequence[Tokens] = ()
) -> Parsed:
    """Return what is good in a reply and what is not.

    Args:
        answer: The teacher's.
        style: How it was told to name regions.
        regions: How many there are; ids are 0 to `regions` - 1.
        each: How many triples were asked for.
        known: Questions that were asked before about this picture in this style.
    """
    if isinstance(answer, Failure):
        return Parsed(faults=((None, "no reply", ""),))
    if answer.stop != "end":
        why = "cut off" if answer.stop == "length" else "refused"
        return Parsed(faults=((None, why, answer.text),))
    blocks = _blocks(answer.text)
    if blocks is None:
        return Parsed(faults=((None, "not in the form that was asked for", answer.text),))
    if len(blocks) != each:
        return Parsed(faults=((None, "another number of triples", answer.text),))
    good: list[tuple[int, Said]] = []
    faults: list[tuple[int | None, str, str]] = []
    asked = {_plain(question) for question in known}
    for place, block in enumerate(blocks):
        said, why = _triple(block, style, regions)
        if not why and _plain(said.question) in asked:
            why = "repeats a question"
        if why:
            faults.append((place, why, " ".join(block)))
        else:
            asked.add(_plain(said.question))
            good.append((place, said))
    return Parsed(tuple(good), tuple(faults))


def _blocks(text: str) -> list[tuple[str, str, str]] | None:
    """Return the three parts of each triple; None where anything else stands in the reply."""
    found: list[str] = []
    for number, row in enumerate(one.strip() for one in text.splitlines() if one.strip()):
        match = _PART.match(row)
        if match is None or match[1].lower() != PARTS[number % 3]:
            return None
        found.append(match[2].strip())
    if not found or len(found) % 3:
        return None
    return [(found[at], found[at + 1], found[at + 2]) for at in range(0, len(found), 3)]


def _triple(block: tuple[str, str, str], style: Style, regions: int) -> tuple[Said, str]:
    """Return a triple and what is wrong with it."""
    phrases = tuple(phrase.strip() for part in block for phrase in _BRACKETS.findall(part))
    said = [tokens(part if style == "ids" else _BRACKETS.sub(r"\1", part)) for part in block]
    named = tuple(dict.fromkeys(phrases)) if style == "descriptions" else ()
    triple = Said(said[0], said[1], said[2], named)
    why = next((why for why, wrong in _common(block, said) if wrong), "")
    return triple, why or (
        _ids(said, phrases, regions) if style == "ids" else _phrases(block, said, phrases)
    )


def _common(block: tuple[str, str, str], said: Sequence[Tokens]) -> tuple[tuple[str, bool], ...]:
    whole = " ".join(block)
    plain = _BRACKETS.sub("", whole)
    letters = len(_LETTER.findall(plain))
    return (
        ("an empty part", not all(_LETTER.search(part) or mentioned(t)
                                  for part, t in zip(block, said, strict=True))),
        ("too long", any(len(part.split()) > _LONGEST for part in block)),
        ("brackets that do not close", "[" in plain or "]" in plain),
        ("marks of a prompt", bool(_MARKS.search(whole))),
        ("cites what was given", bool(_CITES.search(whole))),
        ("not a text", letters < 0.5 * len(plain.replace(" ", ""))),
    )  # fmt: skip


def _ids(said: Sequence[Tokens], phrases: Sequence[str], regions: int) -> str:
    if not all(_NUMBERS.fullmatch(phrase) for phrase in phrases):
        return "a phrase in brackets where a number was asked for"
    if not mentioned(said[0], said[1]):
        return "no region in question and answer"
    if any(id >= regions for id in mentioned(*said)):
        return "an unknown region id"
    return ""


def _phrases(block: tuple[str, str, str], said: Sequence[Tokens], phrases: Sequence[str]) -> str:
    if any(_NUMBERS.fullmatch(phrase) for phrase in phrases) or mentioned(*said):
        return "a region id where a phrase was asked for"
    if not _BRACKETS.search(block[0] + block[1]):
        return "no region in question and answer"
    if not all(_LETTER.search(phrase) for phrase in phrases):
        return "an empty phrase in brackets"
    return ""


def _plain(question: Tokens) -> str:
    return " ".join(word for word in words(question).lower().split() if word.isalnum()
                    or word.startswith("["))  # fmt: skip
