"""Seed -> clips: short films in which one thing moves, comes, goes, or changes its distance.

Only what happens to the subject changes from frame to frame. Imports harness.world only.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from harness.world import lore
from harness.world._layout import SIMPLE
from harness.world.draw import SIZE, compose, finish, split_of
from harness.world.scene import Box, Clip, Scene, Thing

FRAMES = 8
_TRIES = 400
_REACH = 0.36
"""How far a thing moves, as a part of the picture."""


def clips(
    seed: int,
    count: int,
    shifts: Sequence[str] = (),
    size: tuple[int, int] = SIZE,
    *,
    simple: bool = False,
) -> tuple[Clip, ...]:
    """Draw `count` clips of 8 frames; every fifth is a test clip, as with scenes."""
    always = (SIMPLE,) if simple else ()
    return tuple(
        _clip(Random(repr((seed, "clip", n))), n, shifts, size, always) for n in range(1, count + 1)
    )


def _clip(
    draw: Random,
    number: int,
    shifts: Sequence[str],
    size: tuple[int, int],
    always: Sequence[str],
) -> Clip:
    split = split_of(number)
    active = (*always, *(shifts if split == "test" else ()))
    event = draw.choice(list(lore.EVENTS))
    for _ in range(_TRIES):
        place = draw.choice(list(lore.PLACES))
        night = draw.random() < 0.3 or "dark" in active
        scene = compose(draw, number, split, place, night, active, size, most=4)
        subjects = [thing for thing in scene.things if _free(scene, thing)]
        draw.shuffle(subjects)
        for subject in subjects:
            boxes = _boxes(event, subject, scene)
            if boxes and _clear(boxes, subject, scene):
                frames = tuple(_frame(scene, subject, box) for box in boxes)
                return Clip(number, split, frames, event, subject.id)
    raise RuntimeError(f"clip {number}: no scene of {_TRIES} has room for '{event}'")


def _free(scene: Scene, thing: Thing) -> bool:
    """Whether a thing can move without anything else that holds, carries or watches it."""
    body = thing.person
    if body is not None and (body.object is not None or body.action == "sit"):
        return False
    return not any(
        thing.id in (r.subject, r.object) for r in scene.relations if not lore.RELATIONS[r.name]
    )


def _boxes(event: str, subject: Thing, scene: Scene) -> list[Box | None]:
    """Return the subject's box in each frame, None where it is not there; [] if it cannot be."""
    steps = [step / (FRAMES - 1) for step in range(FRAMES)]
    left, top, right, bottom = subject.box
    if event in ("appears", "disappears"):
        there: list[Box | None] = [None] * (FRAMES // 2) + [subject.box] * (FRAMES // 2)
        return there if event == "appears" else there[::-1]
    if event in ("grows", "shrinks"):
        if right - left < 0.12 * scene.width:
            return []
        middle = (left + right) / 2
        scales = [0.45 + 0.55 * step for step in steps]
        if event == "shrinks":
            scales.reverse()
        return [
            (
                middle - (middle - left) * s,
                bottom - (bottom - top) * s,
                middle + (right - middle) * s,
                bottom,
            )
            for s in scales
        ]
    dx, dy = {
        "moves left": (-1.0, 0.0),
        "moves right": (1.0, 0.0),
        "rises": (0.0, -1.0),
        "falls": (0.0, 1.0),
    }[event]
    if dy and not lore.KINDS[subject.kind].flies:
        return []
    dx, dy = _REACH * dx, _REACH * dy
    found: list[Box | None] = []
    for step in steps:
        x, y = dx * step * scene.width, dy * step * scene.height
        found.append((left + x, top + y, right + x, bottom + y))
    last = found[-1]
    inside = last and (
        last[0] >= 1 and last[1] >= 1 and last[2] <= scene.width - 1 and last[3] <= scene.height - 1
    )
    return found if inside else []


def _clear(boxes: Sequence[Box | None], subject: Thing, scene: Scene) -> bool:
    """Whether the subject never covers anything on its way."""
    there = [box for box in boxes if box]
    swept = (
        min(b[0] for b in there),
        min(b[1] for b in there),
        max(b[2] for b in there),
        max(b[3] for b in there),
    )
    return not any(
        min(swept[2], t.box[2]) > max(swept[0], t.box[0])
        and min(swept[3], t.box[3]) > max(swept[1], t.box[1])
        for t in scene.things
        if t.id != subject.id
    )


def _frame(scene: Scene, subject: Thing, box: Box | None) -> Scene:
    kept = [thing for thing in scene.things if thing.id != subject.id]
    if box is not None:
        kept.append(replace(subject, box=box))
    things = tuple(sorted(kept, key=lambda thing: thing.id))
    on = [(r.subject, r.object) for r in scene.relations if r.name == "on"]
    return finish(replace(scene, things=things), on)
