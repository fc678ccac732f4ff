"""ScienceQA's skills: what a school book could ask about a scene, from its picture or from words.

Every skill is a function that yields problems of one scene. Questions on a picture say nothing
about the answer by themselves; questions on words are answered by the words. Lectures and
solutions are the reasons that a model is trained to give first. Imports harness.world.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from harness.world import wording
from harness.world.lore import ACTIONS, COLOURS, HAIR, KINDS, PLACES
from harness.world.scene import Scene, Thing

NAT, SOC, LAN = "natural science", "social science", "language science"
_ANIMALS = tuple(kind for kind, known in KINDS.items() if known.family == "animal")
_MARGIN = 0.06
"""Part of the picture's width by which the farthest thing is ahead of the next."""


@dataclass(frozen=True, slots=True)
class Skill:
    """Where a kind of problem stands in the curriculum."""

    subject: str
    topic: str
    category: str
    name: str
    grade: int
    lecture: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One question before it has an id."""

    skill: Skill
    question: str
    right: str
    wrong: tuple[str, ...]
    solution: str
    hint: str = ""
    seen: bool = True
    """Whether the picture belongs to it."""


_ANIMAL = Skill(
    *(NAT, "biology", "Classification", "Identify animals", 2),
    "Animals differ in their bodies. Birds have wings, dogs and cats have paws, horses have "
    "hooves.",
)
_SURFACE = Skill(
    *(NAT, "physics", "Materials", "Compare properties of materials", 3),
    "A property of a material is something that one can see or feel. Surfaces are plain, striped, "
    "dotted or shiny.",
)
_TRAIT = Skill(
    *(NAT, "biology", "Traits and heredity", "Identify traits", 7),
    "A trait is something that one can tell about a living thing. The color of the hair is one.",
)
_HOUR = Skill(
    *(NAT, "earth-science", "Weather and climate", "Tell day from night", 1),
    "It is day while the sun is up. At night the sky is dark.",
)
_WEST = Skill(
    *(SOC, "geography", "Maps", "Read a map: cardinal directions", 4),
    "Maps have four cardinal directions. North is at the top, south at the bottom, west on the "
    "left and east on the right.",
)
_PLACE = Skill(
    *(SOC, "civics", "Communities", "Identify places of a community", 2),
    "People live, work and play in different places: in homes and offices, on streets and beaches.",
)
_TRADE = Skill(
    *(SOC, "economics", "Basic economic principles", "Trade goods", 8),
    "When two people trade, each gives something away and gets something for it.",
)
_ORDER = Skill(
    *(LAN, "reference-skills", "Reference skills", "Use alphabetical order", 3),
    "Words in a dictionary stand in the order of their letters: first by the first letter, then by "
    "the second.",
)
_TENSE = Skill(
    *(LAN, "verbs", "Verb tense", "Is the sentence in the past, present, or future tense?", 5),
    "The past tense tells what was, the present tense what is, the future tense what will be.",
)
_CAPITAL = Skill(
    *(LAN, "capitalization", "Capitalization", "Correct capitalization errors", 9),
    "A sentence begins with a capital letter, and so does a name.",
)
_READ = Skill(
    *(LAN, "reading-comprehension", "Read-alone texts", "Read about people and things", 6),
    "Read the text and look for the sentence that answers the question.",
)


def _single(scene: Scene) -> list[Thing]:
    """Return the things, people left aside, that are the only ones of their kind."""
    return [thing for thing in scene.objects if len(scene.of_kind(thing.kind)) == 1]


def animal(scene: Scene, rng: Random, seen: Sequence[str]) -> Iterator[Problem]:
    """Ask which animal there is; the others are as common elsewhere (`seen`: kinds by scene)."""
    here = {kind for kind in _ANIMALS if scene.of_kind(kind)}
    gone = [kind for kind in seen if kind in _ANIMALS and kind not in here]
    if len(here) == 1 and len(set(gone)) >= 2:
        (kind,) = here
        wrong: list[str] = []
        while len(wrong) < 2:
            wrong += [k for k in [rng.choice(gone)] if k not in wrong]
        solution = f"The picture shows {wording.article(kind)}."
        yield Problem(_ANIMAL, "Which animal is in the picture?", kind, tuple(wrong), solution)


def surface(scene: Scene, rng: Random, seen: Sequence[str]) -> Iterator[Problem]:
    """Ask which thing has a surface that no other named thing has."""
    things = _single(scene)
    look = rng.choice(("striped", "dotted", "shiny", "plain"))
    right = [thing for thing in things if thing.material == look]
    wrong = [thing for thing in things if thing.material != look]
    if right and wrong:
        one, others = rng.choice(right), rng.sample(wrong, min(2, len(wrong)))
        said = [f"The {thing.kind} is {thing.material}." for thing in (one, *others)]
        yield Problem(
            _SURFACE,
            f"Which of these things is {look}?",
            one.kind,
            tuple(thing.kind for thing in others),
            " ".join(said),
        )


def trait(scene: Scene, rng: Random, seen: Sequence[str]) -> Iterator[Problem]:
    """Ask for the hair of the only man or woman."""
    for person in scene.people:
        name = wording.noun(person)
        if person.person and len(wording.of_noun(scene, name)) == 1:
            hair = person.person.hair
            wrong = tuple(f"{other} hair" for other in HAIR if other != hair)
            yield Problem(
                _TRAIT,
                f"Which trait does the {name} in the picture have?",
                f"{hair} hair",
                wrong,
                f"The {name} has {hair} hair.",
            )
            return


def hour(scene: Scene, rng: Random, seen: Sequence[str]) -> Iterator[Problem]:
    """Ask for the time of day, out of doors."""
    if not scene.indoors:
        wrong = {"day": "night", "night": "day"}[scene.time]
        sky = {"day": "The sun is up.", "night": "The sky is dark."}[scene.time]
        solution = f"{sky} So it is {scene.time}."
        yield Problem(
            _HOUR, "What time of day does the picture show?", scene.time, (wrong,), solution
        )


def direction(scene: Scene, rng: Random, seen: Sequence[str]) -> Iterator[Problem]:
    """Ask which thing is farthest west or east; with or without a legend as a hint."""
    things = _single(scene)
    for word, sign in (("west", 1), ("east", -1)):
        if len(things) < 2:
            return
        chosen = rng.sample(things, min(rng.choice((2, 3, 4)), len(things)))
        chosen.sort(key=lambda thing, sign=sign: sign * thing.centre[0])  # type: ignore[misc]
        one, next_ = chosen[:2]
        if abs(next_.centre[0] - one.centre[0]) < _MARGIN * scene.width:
            continue
        side = {"west": "left", "east": "right"}[word]
        legend = f"North is at the top of the picture, and {word} is on the {side}."
        yield Problem(
            _WEST,
            f"Which of these things is farthest {word}?",
            one.kind,
            tuple(thing.kind for thing in chosen[1:]),
            f"{word.capitalize()} is on the {side}. The {one.kind} is farthest {side}.",
            legend if rng.random() < 0.5 else "",
        )


def place(scene: Scene, rng: Random, seen: Sequence[str]) -> Iterator[Problem]:
    """Ask what place is shown."""
    wrong = rng.sample([name for name in PLACES if name != scene.place], rng.choice((2, 3)))
    yield Problem(
        _PLACE,
        "What place does the picture show?",
        scene.place,
        tuple(wrong),
        f"The picture shows {PLACES[scene.place].evidence}. So this is "
        f"{wording.article(scene.place)}.",
    )


def trade(scene: Scene, rng: Random, seen: Sequence[str]) -> Iterator[Problem]:
    """Ask in words who has what after a trade of two things of the scene."""
    things = [thing for thing in scene.objects if KINDS[thing.kind].handy]
    names = [p.person.name for p in scene.people if p.person]
    if len(things) < 2 or len(names) < 2:
        return
    (one, two), (giver, taker) = rng.sample(things, 2), rng.sample(names, 2)
    if wording.look(one) == wording.look(two):
        return
    had, got = (wording.article(wording.look(thing)) for thing in (one, two))
    yield Problem(
        _TRADE,
        f"What does {giver} have after the trade?",
        got,
        (had,),
        f"{giver} gives {had} away and gets {got}.",
        f"{giver} has {had}. {taker} has {got}. {giver} and {taker} trade.",
        seen=False,
    )


def order(scene: Scene, rng: Random, seen: Sequence[str]) -> Iterator[Problem]:
    """Ask which of some words comes first in a dictionary."""
    words = sorted({thing.kind for thing in scene.objects})
    if len(words) >= 2:
        chosen = sorted(rng.sample(words, min(rng.choice((2, 3, 4)), len(words))))
        yield Problem(
            _ORDER,
            "Which word comes first in a dictionary?",
            chosen[0],
            tuple(chosen[1:]),
            f"In alphabetical order: {', '.join(chosen)}.",
            seen=False,
        )


def tense(scene: Scene, rng: Random, seen: Sequence[str]) -> Iterator[Problem]:
    """Ask for the tense of a sentence about somebody."""
    for person in scene.people[:1]:
        body = person.person
        assert body
        which = rng.choice(("past", "present", "future"))
        act = ACTIONS[body.action]
        text = {
            "past": f"had to {rng.choice(act.before)}",
            "present": f"is {act.phrase}",
            "future": f"will {rng.choice(act.after)}",
        }[which]
        text = wording.fill(text, scene, person, definite=False)
        sign = {"past": "had to", "present": "is", "future": "will"}[which]
        yield Problem(
            _TENSE,
            f"Which tense does the sentence use?\n{body.name} {text}.",
            f"{which} tense",
            tuple(f"{other} tense" for other in ("past", "present", "future") if other != which),
            f'The words "{sign}" show the {which} tense.',
            seen=False,
        )


def capital(scene: Scene, rng: Random, seen: Sequence[str]) -> Iterator[Problem]:
    """Ask which way of writing a sentence is right."""
    for person in scene.people[-1:]:
        body = person.person
        assert body
        doing = wording.action(scene, person, definite=False)
        yield Problem(
            _CAPITAL,
            "Which sentence is written correctly?",
            f"{body.name} is {doing}.",
            (f"{body.name.lower()} is {doing}.", f"{body.name} Is {doing}."),
            f"The name {body.name} begins with a capital letter, the word is does not.",
            seen=False,
        )


def read(scene: Scene, rng: Random, seen: Sequence[str]) -> Iterator[Problem]:
    """Ask about a short text: who does something, what color something is."""
    said = {
        p.person.name: wording.action(scene, p, definite=False) for p in scene.people if p.person
    }
    if len(said) >= 2 and len(set(said.values())) == len(said):
        hint = " ".join(f"{name} is {doing}." for name, doing in said.items())
        name = rng.choice(list(said))
        yield Problem(
            _READ,
            f"Who is {said[name]}?",
            name,
            tuple(other for other in said if other != name),
            f"The text says that {name} is {said[name]}.",
            hint,
            seen=False,
        )
    things = _single(scene)
    if len(things) >= 2:
        chosen = rng.sample(things, min(3, len(things)))
        looks = wording.listing([wording.article(wording.look(thing)) for thing in chosen])
        one = rng.choice(chosen)
        wrong = [colour for colour in COLOURS if colour != one.colour]
        yield Problem(
            _READ,
            f"What color is the {one.kind}?",
            one.colour,
            tuple(rng.sample(wrong, 3)),
            f"The text says that the {one.kind} is {one.colour}.",
            f"There {'is' if len(chosen) == 1 else 'are'} {looks} {wording.place(scene)}.",
            seen=rng.random() < 0.5,
        )


SKILLS: tuple[Callable[[Scene, Random, Sequence[str]], Iterator[Problem]], ...] = (
    *(animal, surface, trait, hour, direction, place),
    *(trade, order, tense, capital, read),
)
