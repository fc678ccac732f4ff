"""Seed -> scenes. Places things so that every statement about them is beyond dispute.

Each scene has a random source of its own, made of the world's seed and the scene's number: a world
of 1,000 scenes begins with the scenes of a world of 100. Every fifth scene is a test scene; shifts
touch test scenes only. Imports harness.world only.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from harness.world import lore
from harness.world._layout import SIMPLE, Layout, Piece, arrange
from harness.world._shapes import hull
from harness.world._shapes_scene import parts_of
from harness.world.relate import relations
from harness.world.scene import Person, Scene, Split

SIZE = (320, 240)
_TRIES = 12
_AWAY = 0.05
"""Weight of a kind in a place where it is not at home."""


def scenes(
    seed: int,
    count: int,
    shifts: Sequence[str] = (),
    size: tuple[int, int] = SIZE,
    *,
    simple: bool = False,
) -> tuple[Scene, ...]:
    """Draw `count` scenes of `size` (width, height) pixels; every fifth is a test scene.

    Args:
        seed: same seed, same scenes.
        count: how many, of both splits together.
        shifts: names of `lore.SHIFTS`; they change test scenes and nothing else.
        size: width and height in pixels.
        simple: few things of few kinds, most of them large: what a small model learns quickly.
    """
    always = (SIMPLE,) if simple else ()
    return tuple(
        _scene(Random(repr((seed, "scene", n))), n, shifts, size, always)
        for n in range(1, count + 1)
    )


def split_of(number: int) -> Split:
    """Return the split that the scene or clip with this number belongs to."""
    return "test" if number % 5 == 0 else "train"


def _scene(
    draw: Random,
    number: int,
    shifts: Sequence[str],
    size: tuple[int, int],
    always: Sequence[str],
) -> Scene:
    split = split_of(number)
    active = (*always, *(shifts if split == "test" else ()))
    place = draw.choice(list(lore.PLACES))
    night = draw.random() < 0.3
    return compose(draw, number, split, place, "dark" in active or night, active, size)


def compose(
    draw: Random,
    number: int,
    split: Split,
    place: str,
    night: bool,
    active: Sequence[str],
    size: tuple[int, int],
    *,
    most: int = 8,
) -> Scene:
    """Draw the contents of one picture, with at most `most` things, and put them in place."""
    best: Layout | None = None
    for _ in range(_TRIES):
        pieces = _pieces(draw, place, active, most)
        layout = arrange(draw, pieces, place, active, size)
        if best is None or len(layout.things) > len(best.things):
            best = layout
        if layout.whole:
            best = layout
            break
    assert best is not None
    scene = Scene(
        number,
        split,
        place,
        lore.PLACES[place].indoors,
        "night" if night else "day",
        *size,
        tuple(sorted(best.things, key=lambda thing: thing.id)),
        (),
    )
    return finish(_gazes(draw, scene), best.on)


def finish(scene: Scene, on: Sequence[tuple[int, int]] = ()) -> Scene:
    """Fill in what follows from the boxes: outlines and relations."""
    things = tuple(
        replace(thing, outline=hull(p for part in parts_of(scene, thing) for p in part.points))
        for thing in scene.things
    )
    scene = replace(scene, things=things)
    return replace(scene, relations=relations(scene, on))


def _pieces(draw: Random, place: str, active: Sequence[str], most: int) -> list[Piece]:
    """Choose people, what they do it to, and the rest; ids in no meaningful order."""
    crowded = "crowded" in active
    count = min(4 if SIMPLE in active else most, draw.randint(3, 8))
    people = draw.choices((0, 1, 2, 3), (20, 38, 28, 14))[0]
    if crowded:
        count, people = count * 2, min(4, people + 1)
    people = min(people, count // 2)
    names = {gender: list(draw.sample(given, len(given))) for gender, given in lore.NAMES.items()}
    chosen: list[Piece] = []
    for _ in range(people):
        chosen += _person(draw, place, active, chosen, names)
    while len(chosen) < count:
        chosen += _objects(draw, place, active, chosen, count - len(chosen))
    _number(draw, chosen)
    _words(draw, chosen)
    return chosen


def _number(draw: Random, chosen: list[Piece]) -> None:
    ids = draw.sample(range(1, len(chosen) + 1), len(chosen))
    for piece, number in zip(chosen, ids, strict=True):
        piece.id = number


def _words(draw: Random, chosen: list[Piece]) -> None:
    """Write on some of the things that can be written on; no word twice in a picture."""
    words = draw.sample(lore.WORDS, len(lore.WORDS))
    for piece in chosen:
        if lore.KINDS[piece.kind].text and words and draw.random() < 0.8:
            stop = piece.kind == "stop sign" and "STOP" in words and draw.random() < 0.4
            piece.text = "STOP" if stop else words[-1]
            words.remove(piece.text)


def _person(
    draw: Random,
    place: str,
    active: Sequence[str],
    chosen: list[Piece],
    names: dict[str, list[str]],
) -> list[Piece]:
    """Return a person and, where the action needs one, its object (new unless it is pointed at)."""
    gender = draw.choice(list(names))
    shirt = _colour(draw, active)
    action = draw.choice(
        [name for name, act in lore.ACTIONS.items() if not act.places or place in act.places]
    )
    body = Person(
        names[gender].pop(),
        "man" if gender == "man" else "woman",
        shirt,
        draw.choice(lore.HAIR),
        draw.choice(("happy", "sad", "surprised")),
        action,
        None,
        None,
    )
    person = Piece("person", shirt, "large" if draw.random() < 0.8 else "small", "", body)
    needs = lore.ACTIONS[action].needs
    if not needs:
        return [person]
    if action == "point":
        free = [piece for piece in chosen if piece.kind in needs and piece.holder is None]
        if free and draw.random() < 0.5:
            person.object = draw.choice(free)
            return [person]
    thing = _object(
        draw, draw.choices(needs, [_weight(kind, place, active) for kind in needs])[0], active
    )
    if action in ("drink", "eat"):
        thing.size = "small"
    if action == "sit":
        thing.size = "large"
    if action == "sit" and thing.colour == shirt:  # or nobody could tell where the seat ends
        thing.colour = _colour(draw, active, but=shirt)
    person.object = thing
    if action != "point":
        thing.holder = person
    return [person, thing]


def _objects(
    draw: Random, place: str, active: Sequence[str], chosen: list[Piece], room: int
) -> list[Piece]:
    """Return one new thing, or several of a kind that differ in colour as a rule."""
    kinds = [kind for kind in lore.KINDS if kind != "person"]
    weights = [_weight(kind, place, active) for kind in kinds]
    kind = draw.choices(kinds, weights)[0]
    often = sum(piece.kind == kind for piece in chosen)
    if often and draw.random() < 0.5:  # most kinds occur once or are repeated on purpose
        return []
    first = _object(draw, kind, active)
    found = [first]
    if room > 1 and draw.random() < 0.3:
        other = _object(draw, kind, active)
        if other.colour == first.colour and draw.random() < 0.8:
            other.colour = _colour(draw, active, but=first.colour)
        found.append(other)
    return found


def _weight(kind: str, place: str, active: Sequence[str]) -> float:
    if SIMPLE in active:
        return 0.0 if kind not in lore.SIMPLE else 1.0 if place in lore.KINDS[kind].places else 0.3
    return 1.0 if place in lore.KINDS[kind].places else _AWAY


def _object(draw: Random, kind: str, active: Sequence[str]) -> Piece:
    material = draw.choices(lore.MATERIALS, (55, 15, 15, 15))[0]
    size = "large" if draw.random() < (0.85 if SIMPLE in active else 0.58) else "small"
    return Piece(kind, _colour(draw, active), size, material)


def _colour(draw: Random, active: Sequence[str], but: str = "") -> str:
    new = "colours" in active and draw.random() < 0.6
    table = lore.NEW_COLOURS if new else lore.COLOURS
    return draw.choice([colour for colour in table if colour != but])


def _gazes(draw: Random, scene: Scene) -> Scene:
    """Let every person look somewhere: at what it handles, at something clear to see, at us."""
    from harness.world.relate import in_clear_view

    things = []
    for thing in scene.things:
        body = thing.person
        if body is not None:
            busy = body.object is not None and body.action != "sit"
            seen = in_clear_view(scene, thing)
            gaze = None
            if busy and (body.action != "hold" or draw.random() < 0.5):
                gaze = body.object
            elif seen and draw.random() < 0.75:
                gaze = draw.choice(seen)
            thing = replace(thing, person=replace(body, gaze=gaze))
        things.append(thing)
    return replace(scene, things=tuple(things))
