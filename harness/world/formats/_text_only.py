"""Conversations without a picture, for the text-only part of a mixture.

Everyday knowledge about the kinds, places and actions of this world, so that a small model has the
words. Imports harness.world alone.
"""

from collections.abc import Iterator
from random import Random

from harness.world import wording
from harness.world.formats._sense import FAMILIES, SENSE
from harness.world.formats._talk import Turn
from harness.world.lore import ACTIONS, KINDS, PLACES

_PLAIN = [kind for kind in KINDS if kind != "person"]


def turns() -> list[Turn]:
    """Return every question that there is, in a fixed order."""
    return [*_about_kinds(), *_about_places(), *_about_actions()]


def conversations(draw: Random, count: int) -> list[list[Turn]]:
    """Return `count` conversations of two to four turns, no turn twice in one of them."""
    every = turns()
    return [draw.sample(every, draw.randint(2, 4)) for _ in range(count)]


def _about_kinds() -> Iterator[Turn]:
    for kind in _PLAIN:
        named, sense = wording.article(kind), SENSE[kind]
        family = FAMILIES[KINDS[kind].family]
        yield f"What is {named}?", wording.sentence(f"{named} is {family}")
        if sense.use:
            yield f"What is {named} used for?", wording.sentence(f"{named} is used for {sense.use}")
        where = wording.listing([PLACES[place].name for place in KINDS[kind].places], "or")
        yield f"Where can I find {named}?", wording.sentence(f"you can find {named} {where}")
        answer = "yes" if KINDS[kind].handy else "no"
        can = "can" if KINDS[kind].handy else "cannot"
        yield (
            f"Can one hold {named} in a hand?",
            wording.sentence(f"{answer}, one {can} hold {named}"),
        )


def _about_places() -> Iterator[Turn]:
    for place in PLACES.values():
        side = "indoors" if place.indoors else "outdoors"
        bare = place.name.split(" ", 1)[1]
        yield f"Is {bare} indoors or outdoors?", wording.sentence(f"{bare} is {side}")
        yield (
            f"How do I know that I am {place.name}?",
            wording.sentence(f"look for {place.evidence}"),
        )
    for name, place in PLACES.items():
        kinds = [wording.article(kind) for kind in _PLAIN if name in KINDS[kind].places][:3]
        asked = f"Name three things that one may see {place.name}."
        yield asked, wording.sentence(wording.listing(kinds))


def _about_actions() -> Iterator[Turn]:
    for action in ACTIONS.values():
        if action.needs:
            phrase = action.phrase.replace("{object}", wording.article(action.needs[0]))
            filled = wording.article(action.needs[0])
        else:
            phrase, filled = action.phrase, ""
        for number, intent in enumerate(action.intent[:2]):
            asked = ("Why is somebody {}?", "What does somebody want who is {}?")[number]
            reason = intent.replace("{object}", "it" if filled else "")
            yield asked.replace("{}", phrase), wording.sentence(f"probably to {reason}")
