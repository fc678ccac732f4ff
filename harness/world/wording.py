"""Scene -> words: noun phrases, expressions that name exactly one thing, sentences, captions.

Every function is pure and says only what the scene's facts say. Whoever writes a format takes its
words from here, so that all formats speak one small language. Imports harness.world only.
"""

from collections.abc import Iterable
from random import Random

from harness.world import lore
from harness.world._refer import Reference, references
from harness.world._words import (
    article,
    counted,
    full_look,
    listing,
    look,
    noun,
    number,
    of_noun,
    place,
    plural,
    possessive,
    pronoun,
    sentence,
    side,
    time,
)
from harness.world.relate import gaps
from harness.world.scene import Relation, Scene, Thing

__all__ = [
    "Reference",
    "action",
    "article",
    "captions",
    "counted",
    "doing",
    "fill",
    "full_look",
    "groups",
    "listing",
    "look",
    "noun",
    "number",
    "of_noun",
    "place",
    "plural",
    "possessive",
    "pronoun",
    "refer",
    "references",
    "related",
    "sentence",
    "side",
    "some",
    "the",
    "time",
]


def refer(scene: Scene, thing: Thing, draw: Random | None = None) -> str | None:
    """Return an expression without article that names this thing alone, or None.

    Without `draw` the first one that says how it looks; with it one of the short ones.
    """
    known = references(scene, thing)
    short = [ref for ref in known if ref.by in ("noun", "look", "size", "side")]
    if not known:
        return None
    if not short:
        return known[0].text
    if draw is not None:
        return draw.choice(short[:5]).text
    return next((ref.text for ref in short if ref.by == "look"), short[0].text)


def the(scene: Scene, thing: Thing, draw: Random | None = None) -> str:
    """Return "the red dog"; "one of the red dogs" where no expression names it alone."""
    text = refer(scene, thing, draw)
    if text is not None:
        return f"the {text}"
    if thing.person:
        return f"one of the {plural(noun(thing))} in the {thing.colour} shirts"
    return f"one of the {thing.colour} {plural(thing.kind)}"


def some(thing: Thing) -> str:
    """Return "a red dog", "a man in a red shirt"."""
    return article(look(thing))


def fill(text: str, scene: Scene, person: Thing, *, definite: bool = True) -> str:
    """Put the object of a person's action into a text of `lore.ACTIONS`."""
    if "{object}" not in text:
        return text
    assert person.person is not None and person.person.object is not None
    thing = scene.thing(person.person.object)
    return text.replace("{object}", the(scene, thing) if definite else some(thing))


def action(scene: Scene, person: Thing, *, definite: bool = True) -> str:
    """Return what a person does: "reading the red book". Raises ValueError for another thing."""
    if person.person is None:
        raise ValueError(f"thing {person.id} of scene {scene.id} is no person")
    return fill(lore.ACTIONS[person.person.action].phrase, scene, person, definite=definite)


def doing(scene: Scene, person: Thing) -> str:
    """Return "the man in the red shirt is reading the book"."""
    return f"{the(scene, person)} is {action(scene, person)}"


def related(scene: Scene, relation: Relation) -> str:
    """Return "the red dog is to the left of the car"."""
    one, other = scene.thing(relation.subject), scene.thing(relation.object)
    return f"{the(scene, one)} is {relation.name} {the(scene, other)}"


def groups(scene: Scene) -> dict[str, int]:
    """Return how many there are of each noun, people as men and women, by first id."""
    found: dict[str, int] = {}
    for thing in scene.things:
        found[noun(thing)] = found.get(noun(thing), 0) + 1
    return found


def captions(scene: Scene, draw: Random, count: int = 5) -> tuple[str, ...]:
    """Return `count` different captions of a scene, each true and of one sentence.

    Raises ValueError when there is not so much to say; ten can always be had.
    """
    first = [_whole, *([_acting] if scene.people else [_two]), _all_things, _two, _standing]
    makers = [*first, _one, _one]
    found: dict[str, None] = {}
    for tries in range(40 * count):
        if len(found) == count:
            break
        maker = first[tries] if tries < len(first) else draw.choice(makers)
        found[sentence(maker(scene, draw))] = None
    if len(found) < count:
        raise ValueError(f"scene {scene.id} has {len(found)} captions, asked for {count}")
    return tuple(found)


def _whole(scene: Scene, draw: Random) -> str:
    """Say the people or the first things, and where they are."""
    if scene.people:
        person = draw.choice(scene.people)
        return f"{some(person)} is {action(scene, person, definite=False)} {place(scene)}"
    thing = draw.choice(scene.things)
    return f"{article(full_look(thing))} {place(scene)} {time(scene)}"


def _acting(scene: Scene, draw: Random) -> str:
    person = draw.choice(scene.people)
    others = (
        [t for t in scene.things if t.id not in (person.id, person.person.object)]
        if person.person
        else []
    )
    words = f"{some(person)} is {action(scene, person, definite=False)}"
    return f"{words} next to {some(near)}" if (near := _nearest(person, others)) else words


def _nearest(person: Thing, others: Iterable[Thing]) -> Thing | None:
    """Return what stands nearest, where it is near enough to say so."""
    close = [(max(gaps(person.box, t.box)), t.id, t) for t in others]
    close = [entry for entry in close if entry[0] < 12]
    return min(close)[2] if close else None


def _all_things(scene: Scene, draw: Random) -> str:
    items = [counted(count, word) for word, count in groups(scene).items()]
    draw.shuffle(items)
    return f"{listing(items)} {place(scene)}"


def _two(scene: Scene, draw: Random) -> str:
    """Say how two things stand to each other, or else name some."""
    sides = [
        r
        for r in scene.relations
        if r.name in ("to the left of", "to the right of", "above", "below", "on")
    ]
    if not sides:
        return f"there is {some(draw.choice(scene.things))} {place(scene)}"
    relation = draw.choice(sides)
    one, other = scene.thing(relation.subject), scene.thing(relation.object)
    return f"{some(one)} is {relation.name} {some(other)} {place(scene)}"


def _one(scene: Scene, draw: Random) -> str:
    """Say all that can be seen of one thing."""
    return f"there is {article(full_look(draw.choice(scene.things)))} {place(scene)}"


def _standing(scene: Scene, draw: Random) -> str:
    some_things = draw.sample(scene.things, min(3, len(scene.things)))
    return f"{listing([some(thing) for thing in some_things])} {time(scene)}"
