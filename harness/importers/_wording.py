"""What a sample and a row of a log ask, made comparable: words, picture, options, gold answer.

Case, outer and repeated spaces, picture tokens and a leading "Question:" do not count; one text
may be part of the other, because tools put instructions around a question.

Imports the standard library, harness.types and the nouns of a log.
"""

import re
from pathlib import PurePosixPath

from harness.importers._log import Logged
from harness.types import Image, Sample

_LEAD = re.compile(r"^(question|q)\s*:\s*", re.I)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Face:
    """A sample as its words and pictures; computed once."""

    def __init__(self, sample: Sample) -> None:
        """Take the sample apart."""
        self.sample, self.id = sample, sample.id
        self.words = words_of(sample)
        """The prompt's text as it is."""
        self.prompt = plain(_LEAD.sub("", self.words.strip()))
        question = sample.facts.get("question")
        named = isinstance(question, str) and bool(question.strip())
        alone = str(question) if named else self.words.strip().partition("\n")[0]
        self.question = plain(_LEAD.sub("", alone))
        """The question that the task names, else the prompt's first line."""
        self.pictures = [stem(part.name) for part in sample.prompt if isinstance(part, Image)]
        self.parts = {str(value) for value in sample.groups.values()}
        self.gold = plain(sample.target)
        self.closed = {plain(choice) for choice in sample.choices}
        self.asks = (tuple(self.pictures), self.prompt, sample.target)
        """The same for samples that ask the same of the same picture."""
        pieces = re.split(r"(\d+)", sample.id)
        self.number = tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in pieces if p)
        """Sorts ids by the numbers in them: "IMG-10" after "IMG-9"."""


class Asked:
    """A row of a log as its words and picture; computed once."""

    def __init__(self, logged: Logged) -> None:
        """Take the row apart."""
        self.logged = logged
        whole = [said for said in (logged.prompt, logged.question) if said]
        self.words = logged.question or logged.prompt
        self.said = list(dict.fromkeys(plain(said) for said in whole))
        lines = [line for said in whole for line in said.split("\n") if line.strip()]
        told = (plain(_LEAD.sub("", words.strip())) for words in (*whole, *lines))
        self.wordings = list(dict.fromkeys(told)) or [""]
        """What was asked, from the whole prompt to its lines."""
        self.picture = stem(logged.image) if logged.image else ""
        self.options = [plain(option) for option in logged.options]
        self.gold = None if logged.target is None else plain(logged.target)


def same(face: Face, row: Asked) -> bool:
    """Whether a row's question is the sample's: its words, part, picture and options."""
    if row.logged.parts and face.parts.isdisjoint(row.logged.parts):
        return False
    if row.picture and face.pictures and row.picture not in face.pictures:
        return False
    return _same_words(face, row) and _same_options(face, row)


def _same_words(face: Face, row: Asked) -> bool:
    if not row.said:
        return True  # the log does not say what was asked
    ours = (face.question, face.prompt)
    return any(one and said and (one in said or said in one) for one in ours for said in row.said)


def _same_options(face: Face, row: Asked) -> bool:
    """Whether the options stand in the sample in the same order, as far as both tell.

    Scores of options need no order: they are put in the sample's own (see _model.py).
    """
    if not row.options or row.logged.scores:
        return True
    text, at = plain(face.words), 0
    for letter, option in zip(_LETTERS, row.options, strict=False):
        if not re.search(rf"(?:^|[\s(]){letter}[.):] ", text):
            return letter == "a"  # a prompt without letters does not tell; one with fewer does
        places = [text.find(f"{letter}{mark} {option}", at) for mark in ".):"]
        found = [place for place in places if place >= 0]
        if not found:
            return False
        at = min(found)
    return True


def other_gold(face: Face, row: Asked) -> bool:
    """Whether the log's gold answer is another one than the sample's.

    Only where both are of one kind: a list of ten people's answers says nothing against ours.
    """
    return row.gold is not None and row.gold != face.gold and row.gold in face.closed


def words_of(sample: Sample) -> str:
    """Return the text of a sample's prompt."""
    return "\n".join(part for part in sample.prompt if isinstance(part, str))


def plain(said: str) -> str:
    """Return a text without picture tokens, case and outer or repeated spaces."""
    return " ".join(said.replace("<image>", " ").casefold().split())


def stem(name: str) -> str:
    """Return a picture's name without folders, ending and COCO's prefix and zeros."""
    found = PurePosixPath(name.replace("\\", "/")).stem.casefold()
    digits = re.search(r"(\d{6,})$", found)
    return (digits[1].lstrip("0") or "0") if digits else found
