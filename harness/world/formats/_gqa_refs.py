"""What GQA's questions are made of: things called by their names, functional programs, facts.

Programs, groups and annotations follow the published question files (Hudson and Manning 2019,
section 3.2); a step that names no annotated object has "(-)". Used by _gqa_asks.py and gqa.py.
Imports harness.world.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.world.lore import KINDS
from harness.world.scene import Scene, Thing
from harness.world.wording import noun

Step = tuple[str, str]
"""Operation and argument; each goes on from the one before."""
Fact = tuple[Any, ...]
"""Something that question and answer together tell, or that decides an answer."""
FAMILIES = ("animal", "vehicle", "food", "furniture")
"""COCO supercategories that questions name."""
SIDES = {"to the left of": ("left", "h"), "to the right of": ("right", "h")}
LEVELS = {"above": ("above", "v"), "below": ("below", "v")}
INVERSE = {
    **{"to the left of": "to the right of", "to the right of": "to the left of"},
    **{"above": "below", "below": "above"},
}


@dataclass(frozen=True, slots=True)
class Ref:
    """A thing as a question calls it; no other thing of the scene answers to it."""

    thing: Thing
    text: str
    """Without article: "red dog", "man in the red shirt"."""
    steps: tuple[Step, ...]

    @property
    def the(self) -> str:
        """The phrase with its article."""
        return f"the {self.text}"


@dataclass(frozen=True)
class Ask:
    """One question before it has a number."""

    text: str
    answer: str
    full: str
    types: tuple[str, str, str]
    """Structural, semantic, detailed."""
    local: str
    program: tuple[tuple[str, str, tuple[int, ...]], ...]
    balance: tuple[Any, ...]
    """Answers are evened out among questions with the same value."""
    valid: tuple[str, ...]
    """Answers that the question admits."""
    globals: str | None = None
    about: tuple[str, str] = ("", "")
    """Kind of thing and what is asked of it: equal ones share their plausible answers."""
    gives: frozenset[Fact] = frozenset()
    needs: tuple[frozenset[Fact], ...] = ()
    """Each alternative decides the answer."""
    named: tuple[Ref, ...] = ()
    shown: Thing | None = None
    """The thing that the answer names."""


def known(ask: Ask, fact: Fact, *named: Ref) -> Ask:
    """Say that one fact decides a question and is all that its answer tells."""
    return replace(ask, gives=frozenset({fact}), needs=(frozenset({fact}),), named=named)


def decided(ask: Ask, fact: Fact, value: str, *named: Ref) -> Ask:
    """As `known`, for yes and no: "no" tells no more than that it is not this `value`."""
    if ask.answer == "yes":
        return known(ask, fact, *named)
    not_so = frozenset({("is not", *fact, value)})
    return replace(ask, gives=not_so, needs=(frozenset({fact}), not_so), named=named)


def said(yes: bool) -> tuple[str, str]:
    """Return the answer, and how a full sentence begins with it."""
    return ("yes", "Yes") if yes else ("no", "No")


def number(scene: Scene, thing: Thing) -> str:
    """Return the id of a thing in the scene graphs: digits, unique in the world."""
    return f"{scene.id}{thing.id:03d}"


def tagged(scene: Scene, thing: Thing | None, name: str) -> str:
    """Return a step's argument: a name and the object that it stands for, or "(-)"."""
    return f"{name} ({number(scene, thing) if thing else '-'})"


def ref(scene: Scene, thing: Thing, without: str = "") -> Ref | None:
    """Return how to call a thing, by its colour only if need be and not `without` "colour".

    None: there is no way to tell it from another one.
    """
    name = noun(thing)
    alike = [other for other in scene.things if noun(other) == name]
    if len(alike) == 1:
        return Ref(thing, name, (("select", tagged(scene, thing, name)),))
    if without == "colour" or sum(other.colour == thing.colour for other in alike) > 1:
        return None
    if thing.person:
        steps = (
            ("select", "shirt (-)"),
            ("filter color", thing.colour),
            ("relate", f"{name},wearing,s ({number(scene, thing)})"),
        )
        return Ref(thing, f"{name} in the {thing.colour} shirt", steps)
    select = ("select", tagged(scene, thing, name))
    return Ref(thing, f"{thing.colour} {name}", (select, ("filter color", thing.colour)))


def program(
    *branches: Sequence[Step], join: Step | None = None
) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
    """Chain each branch's steps; `join` goes on from the ends of all branches."""
    out: list[tuple[str, str, tuple[int, ...]]] = []
    ends = []
    for branch in branches:
        for at, (operation, argument) in enumerate(branch):
            out.append((operation, argument, (len(out) - 1,) if at else ()))
        ends.append(len(out) - 1)
    if join:
        out.append((*join, tuple(ends)))
    return tuple(out)


def closure(scene: Scene, facts: frozenset[Fact]) -> frozenset[Fact]:
    """Add what follows: what is known of a thing is known to exist, and so is its family."""
    out = set(facts)
    for fact in facts:
        for item in fact[1:]:
            if isinstance(item, int):
                thing = scene.thing(item)
                out.add(("is", item))
                out.add(("exist", noun(thing)))
                out.add(("exist", KINDS[thing.kind].family))
                if thing.person:
                    out.add(("exist", "person"))
        if fact[0] == "colour":
            thing = scene.thing(fact[1])
            out.add(("exist", noun(thing), thing.colour))
    return frozenset(out)


def order(a: Thing, b: Thing, axis: str) -> Fact:
    """Return the fact that is known when it is known how two things lie on an axis."""
    return (f"order {axis}", min(a.id, b.id), max(a.id, b.id))


def spans(question: str, named: Sequence[Ref], scene: Scene) -> dict[str, str]:
    """Return GQA's annotation: word or words from:to (end not included) to object id."""
    words = question.replace(",", "").rstrip("?.").lower().split()
    out = {}
    for one in named:
        parts = one.text.split()
        for at in range(len(words) - len(parts) + 1):
            if words[at : at + len(parts)] == parts:
                span = f"{at}" if len(parts) == 1 else f"{at}:{at + len(parts)}"
                out[span] = number(scene, one.thing)
                break
    return out
