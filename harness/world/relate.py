"""What holds between the things of a scene: only what nobody would dispute.

Left and right need a gap and more distance across than down, above and below the other way round;
pairs that are close to call have no relation at all. Imports harness.world only.
"""

from collections.abc import Sequence
from math import atan2, hypot, pi

from harness.world import lore
from harness.world.scene import Box, Relation, Scene, Thing

NEAR = 0.04
"""Gap between boxes that counts as near, as a part of the picture's width."""
_GAP = 0.012
_CONE = 0.3
"""Half the angle, in radians, within which another thing would make a gaze ambiguous."""


def relations(scene: Scene, on: Sequence[tuple[int, int]] = ()) -> tuple[Relation, ...]:
    """Return all relations, sorted; `on` lists who or what rests on what, by id."""
    found = {Relation(upper, "on", lower) for upper, lower in on}
    for thing in scene.things:
        body = thing.person
        if body and body.object is not None:
            found.add(Relation(thing.id, lore.ACTIONS[body.action].relation, body.object))
        if body and body.gaze is not None:
            found.add(Relation(thing.id, "looking at", body.gaze))
    for number, one in enumerate(scene.things):
        for other in scene.things[number + 1 :]:
            for name in _between(one, other, scene):
                found.add(Relation(one.id, name, other.id))
                found.add(Relation(other.id, lore.RELATIONS[name], one.id))
    return tuple(sorted(found, key=lambda r: (r.subject, r.object, r.name)))


def _between(one: Thing, other: Thing, scene: Scene) -> list[str]:
    names = []
    dx = other.centre[0] - one.centre[0]
    dy = other.centre[1] - one.centre[1]
    across, down = gaps(one.box, other.box)
    if across >= _GAP * scene.width and abs(dx) > 1.2 * abs(dy):
        names.append("to the left of" if dx > 0 else "to the right of")
    if down >= _GAP * scene.width and abs(dy) > 1.2 * abs(dx):
        names.append("above" if dy > 0 else "below")
    if hypot(max(across, 0.0), max(down, 0.0)) <= NEAR * scene.width:
        names.append("near")
    return names


def gaps(one: Box, other: Box) -> tuple[float, float]:
    """Return the gap between two boxes across and down; negative where they overlap."""
    return (
        max(one[0], other[0]) - min(one[2], other[2]),
        max(one[1], other[1]) - min(one[3], other[3]),
    )


def in_clear_view(scene: Scene, person: Thing) -> list[int]:
    """Return the ids of what a person can look at so that the direction names one thing."""
    eyes = (person.centre[0], person.box[1] + (person.box[3] - person.box[1]) * 0.18)
    seen = []
    for thing in scene.things:
        if thing.id != person.id:
            dx, dy = thing.centre[0] - eyes[0], thing.centre[1] - eyes[1]
            seen.append((atan2(dy, dx), thing.id))
    return [
        number
        for angle, number in seen
        if all(
            number == other or abs((angle - turn + pi) % (2 * pi) - pi) > _CONE
            for turn, other in seen
        )
    ]
