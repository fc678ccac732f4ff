"""Expressions that name exactly one thing of a scene: by noun, look, size, side, relation, action.

Taken from harness/world/wording.py by everybody else. Imports harness.world only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.world import lore
from harness.world._words import noun, of_noun
from harness.world.relate import gaps
from harness.world.scene import Relation, Scene, Thing

By = Literal["noun", "look", "size", "side", "relation", "action"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A noun phrase without article that names exactly one thing of its scene."""

    text: str
    """ "red dog", "man with blond hair", "dog to the left of the car"."""
    by: By
    """What singles it out; `side` and `relation` speak of location."""


def references(scene: Scene, thing: Thing) -> tuple[Reference, ...]:
    """Return expressions that name this thing and no other, from simple to long; may be empty."""
    rivals = [t for t in of_noun(scene, noun(thing)) if t.id != thing.id]
    found: list[Reference] = []
    if not rivals:
        found.append(Reference(noun(thing), "noun"))
    found += _by_look(thing, rivals)
    found += _by_side(scene, thing, rivals)
    found += _by_action(scene, thing, rivals)
    found += _by_relation(scene, thing, rivals)
    return tuple(dict.fromkeys(found))


def _by_look(thing: Thing, rivals: Sequence[Thing]) -> list[Reference]:
    found: list[Reference] = []

    def add(text: str, by: By, *same: Callable[[Thing], object]) -> None:
        if all(any(f(rival) != f(thing) for f in same) for rival in rivals):
            found.append(Reference(text, by))

    word = noun(thing)
    body = thing.person
    if body:
        add(f"{word} in the {body.shirt} shirt", "look", _colour)
        add(f"{word} with {body.hair} hair", "look", _hair)
        add(f"{body.mood} {word}", "look", _mood)
        add(f"{word} with {body.hair} hair in the {body.shirt} shirt", "look", _colour, _hair)
        return found
    add(f"{thing.colour} {word}", "look", _colour)
    if thing.material != "plain":
        add(f"{thing.material} {word}", "look", _material)
    if rivals:
        add(f"{thing.size} {word}", "size", _size)
    add(f"{thing.size} {thing.colour} {word}", "size", _size, _colour)
    if thing.material != "plain":
        add(f"{thing.material} {thing.colour} {word}", "look", _material, _colour)
        add(
            f"{thing.size} {thing.material} {thing.colour} {word}",
            "size",
            _size,
            _material,
            _colour,
        )
    if thing.text:
        found.append(Reference(f"{word} that says {thing.text}", "look"))
    return found


def _colour(thing: Thing) -> object:
    return thing.colour


def _material(thing: Thing) -> object:
    return thing.material


def _size(thing: Thing) -> object:
    return thing.size


def _hair(thing: Thing) -> object:
    return thing.person and thing.person.hair


def _mood(thing: Thing) -> object:
    return thing.person and thing.person.mood


def _by_side(scene: Scene, thing: Thing, rivals: Sequence[Thing]) -> list[Reference]:
    """Left and right among things of one noun, with a clear distance to the next."""
    if not rivals:
        return []
    clear = 0.1 * scene.width
    x = thing.centre[0]
    if all(rival.centre[0] - x > clear for rival in rivals):
        return [
            Reference(f"left {noun(thing)}", "side"),
            Reference(f"{noun(thing)} on the left", "side"),
        ]
    if all(x - rival.centre[0] > clear for rival in rivals):
        return [
            Reference(f"right {noun(thing)}", "side"),
            Reference(f"{noun(thing)} on the right", "side"),
        ]
    before = sum(x - rival.centre[0] > clear for rival in rivals)
    after = sum(rival.centre[0] - x > clear for rival in rivals)
    if len(rivals) == 2 and before == after == 1:
        return [Reference(f"{noun(thing)} in the middle", "side")]
    return []


def _by_action(scene: Scene, thing: Thing, rivals: Sequence[Thing]) -> list[Reference]:
    body = thing.person
    if body is None or any(r.person and r.person.action == body.action for r in rivals):
        return []
    if body.object is None:
        return [Reference(f"{noun(thing)} {lore.ACTIONS[body.action].phrase}", "action")]
    target = _plain(scene, scene.thing(body.object))
    if target is None:
        return []
    phrase = lore.ACTIONS[body.action].phrase.replace("{object}", f"the {target}")
    return [Reference(f"{noun(thing)} {phrase}", "action")]


def _by_relation(scene: Scene, thing: Thing, rivals: Sequence[Thing]) -> list[Reference]:
    """Relations to things that are easy to name, where no rival comes near the same relation."""
    found = []
    for relation in scene.relations:
        if relation.subject != thing.id or relation.name not in _APART:
            continue
        anchor = scene.thing(relation.object)
        apart = _APART[relation.name]
        if noun(anchor) == noun(thing) or not all(apart(scene, t, anchor) for t in rivals):
            continue
        target = _plain(scene, anchor)
        if target is not None:
            found.append(Reference(f"{noun(thing)} {relation.name} the {target}", "relation"))
    return found


def _plain(scene: Scene, thing: Thing) -> str | None:
    """Return the noun, or the noun with its look, where that names the thing alone."""
    rivals = [t for t in of_noun(scene, noun(thing)) if t.id != thing.id]
    if not rivals:
        return noun(thing)
    looks = [ref.text for ref in _by_look(thing, rivals) if ref.by == "look"]
    return looks[0] if looks else None


def _not_left(scene: Scene, rival: Thing, anchor: Thing) -> bool:
    return rival.centre[0] >= anchor.centre[0]


def _not_right(scene: Scene, rival: Thing, anchor: Thing) -> bool:
    return rival.centre[0] <= anchor.centre[0]


def _not_above(scene: Scene, rival: Thing, anchor: Thing) -> bool:
    return rival.centre[1] >= anchor.centre[1]


def _not_below(scene: Scene, rival: Thing, anchor: Thing) -> bool:
    return rival.centre[1] <= anchor.centre[1]


def _not_near(scene: Scene, rival: Thing, anchor: Thing) -> bool:
    return max(gaps(rival.box, anchor.box)) > 0.12 * scene.width


def _not_on(scene: Scene, rival: Thing, anchor: Thing) -> bool:
    return Relation(rival.id, "on", anchor.id) not in scene.relations


_APART: dict[str, Callable[[Scene, Thing, Thing], bool]] = {
    "to the left of": _not_left,
    "to the right of": _not_right,
    "above": _not_above,
    "below": _not_below,
    "near": _not_near,
    "on": _not_on,
}
"""When a rival is beyond doubt not in a relation; the others are said by `_by_action`."""
