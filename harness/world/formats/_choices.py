"""Questions with four choices that tell nothing by themselves, for A-OKVQA and Visual7W.

The three wrong choices are right answers of other scenes to the same kind of question, dealt out so
that each is right once and wrong three times (`_deal.deal`). Also: what may be said of a person
beyond the visible, from `harness.world.lore.ACTIONS`. Imports harness.world.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from harness.world import wording
from harness.world.formats._deal import deal
from harness.world.lore import ACTIONS
from harness.world.scene import Scene, Thing

About = Literal["before", "after", "intent"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its right answer, before it has wrong ones."""

    scene: Scene
    group: str
    """Wrong answers come from the same group."""
    text: str
    answer: str
    true: frozenset[str]
    """Whatever else of its group would be a right answer here; never offered as a wrong one."""
    reasons: tuple[str, ...] = ()


def with_choices(
    asked: Sequence[Question], rng: Random
) -> Iterator[tuple[Question, tuple[str, ...]]]:
    """Yield questions with three wrong answers each, in the order given.

    Questions that cannot be served are left out.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for at, question in enumerate(asked):
        groups[question.group].append(at)
    found: dict[int, tuple[str, ...]] = {}
    for members in groups.values():

        def wrong(i: int, j: int, members: Sequence[int] = members) -> str | None:
            receiver, giver = asked[members[i]], asked[members[j]]
            return None if i != j and giver.answer in receiver.true else giver.answer

        for at, cards in zip(members, deal(len(members), wrong, rng), strict=True):
            if cards is not None:
                found[at] = tuple(asked[members[card]].answer for card in cards)
    yield from ((asked[at], found[at]) for at in sorted(found))


def plain_name(scene: Scene, person: Thing) -> str | None:
    """Return "the man in the red shirt": a name that tells nothing of doings, gaze and mood."""
    for reference in wording.references(scene, person):
        body = person.person
        if reference.by in ("noun", "look") and body and body.mood not in reference.text:
            return f"the {reference.text}"
    return None


def beyond(scene: Scene, person: Thing, about: About) -> tuple[str, ...]:
    """Return what a person did before, will do after or wants: "rest the legs"."""
    assert person.person
    texts = getattr(ACTIONS[person.person.action], about)
    return tuple(wording.fill(text, scene, person, definite=False) for text in texts)


def arguable(scene: Scene, person: Thing, about: About) -> frozenset[str]:
    """Return what would be a right answer too: who handles a thing may be said to hold it."""
    said = set(beyond(scene, person, about))
    if person.person and person.person.object is not None:
        for text in getattr(ACTIONS["hold"], about):
            said.add(wording.fill(text, scene, person, definite=False))
    return frozenset(said)
