"""A stand-in judge for machines that reach none: points for words that answer and context share.

`sightline judge RUN --judge overlap` reads LLaVA-Bench's prompt (context, question, two answers)
and gives each answer 1 to 10 points: ten times the F1 of its distinct words with those of context
and question. It rewards naming what is there and punishes everything else, knows nothing of
meaning, and agrees with no published number. It exists so that the demo and tests judge offline.
Imports the standard library, harness.errors and harness.types.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from harness.errors import UsageError
from harness.types import Answer, Ask, Decoding, Failure, Reply, Sample

_ANSWER = re.compile(
    r"^\[(?P<role>[^\[\]\n]{1,40}) (?P<n>[12])\]\n(?P<text>.*?)\n\n\[End of (?P=role) (?P=n)\]",
    re.DOTALL | re.MULTILINE,
)
_GIVEN = re.compile(r"^\[Context\]\n(?P<context>.*?)\n\n\[Question\]\n(?P<question>.*?)\n\n\[",
                    re.DOTALL | re.MULTILINE)  # fmt: skip
_WORD = re.compile(r"[a-z]{3,}")


def make(address: str = "") -> "Overlap":
    """Make it. Raises UsageError for an address: there is one rule."""
    if address:
        raise UsageError(f"overlap takes no address, found '{address}'")
    return Overlap()


class Overlap:
    """Counts words."""

    name = "overlap"

    def describe(self) -> Mapping[str, str]:
        """Return the rule's name and version."""
        return {"kind": "overlap", "rule": "word-f1@1"}

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Judge prompts of LLaVA-Bench; anything else is a Failure."""
        if ask != "generate":
            raise UsageError("the model 'overlap' judges texts; it cannot rank or encode")
        for place, sample in enumerate(samples):
            text = "".join(part for part in sample.prompt if isinstance(part, str))
            yield place, _judge(text)


def _judge(text: str) -> Answer | Failure:
    given = _GIVEN.search(text)
    answers = {found["n"]: found["text"] for found in _ANSWER.finditer(text)}
    if given is None or set(answers) != {"1", "2"}:
        return Failure("overlap reads LLaVA-Bench's judge prompt and no other")
    wanted = _words(given["context"]) | _words(given["question"])
    first, second = (_points(_words(answers[n]), wanted) for n in ("1", "2"))
    return Answer(f"{first:g} {second:g}\nCounted words; this is no judgement of meaning.")


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _points(said: set[str], wanted: set[str]) -> float:
    shared = len(said & wanted)
    if not shared:
        return 1.0
    return round(1 + 9 * 2 * shared / (len(said) + len(wanted)), 1)
