"""How the rule-based teacher names things: by number, or by a phrase that fits one thing alone.

Imports harness.world; may import trainers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.world import wording
from harness.world.scene import Scene, Thing
from trainers.localized.oracle_facts import Parts
from trainers.localized.regions import iou
from trainers.localized.triples import Style
from trainers.localized.verbal import Box

_MENTION = re.compile(r"\{([0-9]+)\}")
_TOGETHER = re.compile(r"\[([0-9]+)\] and (?=\[[0-9]+\])")
_PHRASE = re.compile(r"\[([^\[\]]*[^\W\d_][^\[\]]*)\]")
_SAME = 0.5
"""Least intersection over union of a region and a thing that are the same."""


@dataclass(frozen=True, slots=True)
class Told:
    """One triple as the oracle says it."""

    parts: Parts
    """In the words of a reply."""
    true: Parts
    """The same without the error; equal to `parts` where there is none."""
    fact: str
    error: str = ""
    """What is false (colour, kind, look, relation, region, event, place); empty: nothing."""

    @property
    def part(self) -> str:
        """Where it is false: "qa", "rationale", or "" where it is not."""
        if self.parts[:2] != self.true[:2]:
            return "qa"
        return "rationale" if self.parts[2] != self.true[2] else ""


@dataclass(frozen=True, slots=True)
class Naming:
    """How the things of a scene are named in a style."""

    scene: Scene
    style: Style
    ids: Mapping[int, int]
    """Thing to region."""
    phrases: Mapping[int, str]
    """Thing to the phrase that names it alone; empty: there is none."""

    def put(self, parts: Parts) -> Parts | None:
        """Put mentions into a text; None where a thing has no region, or no phrase of its own."""
        for number in {int(n) for part in parts for n in _MENTION.findall(part)}:
            if number not in self.ids or not (self.style == "ids" or self.phrases[number]):
                return None
        question, answer, rationale = (
            _TOGETHER.sub(r"[\1] , ", _capital(_MENTION.sub(self._mention, part))) for part in parts
        )
        return question, answer, rationale

    def _mention(self, match: re.Match[str]) -> str:
        number = int(match[1])
        return f"[{self.ids[number] if self.style == 'ids' else self.phrases[number]}]"


def phrase(scene: Scene, thing: Thing) -> str:
    """Return what names a thing by its looks or side; not by what it does, which is asked for."""
    found = {ref.by: ref.text for ref in reversed(wording.references(scene, thing))}
    text = next((found[by] for by in ("look", "noun", "size", "side") if by in found), "")
    return f"the {text}" if text else ""


def _capital(text: str) -> str:
    at = 1 if text.startswith("[") else 0
    return text[:at] + text[at : at + 1].upper() + text[at + 1 :]


def opened(text: str) -> str:
    """Return a text as the corpus has it: phrases without brackets, numbers with them."""
    return _PHRASE.sub(r"\1", text)


def matched(scene: Scene, boxes: Sequence[Box]) -> dict[int, int]:
    """Return thing to region id: the region that covers a thing best, each region once."""
    pairs = sorted(
        ((-iou(thing.box, box), thing.id, at) for thing in scene.things
         for at, box in enumerate(boxes)),
    )  # fmt: skip
    found: dict[int, int] = {}
    for overlap, thing, at in pairs:
        if -overlap >= _SAME and thing not in found and at not in found.values():
            found[thing] = at
    return found
