"""Questions about a scene with answers of a word or two, as the mixtures for training ask them.

Each source of LLaVA-1.5's mixture (Liu et al. 2024, arXiv 2310.03744, section 4.3) has questions of
its own: `vqav2` what, how many, is there, which side; `okvqa` what things are for; `ocr_vqa` words
in the picture; `aokvqa` four lettered options (GQA's come from formats/gqa.py). Yes and no are
drawn before the question, so that both are equally common. Imports harness.world alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from random import Random

from harness.world import wording
from harness.world.formats._names import Names
from harness.world.formats._sense import SENSE, usable
from harness.world.formats._talk import Turn
from harness.world.lore import ACTIONS, COLOURS, HAIR, KINDS, MATERIALS, PLACES

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."
LETTERS = "ABCD"
_OPPOSITE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}


def vqav2(names: Names, draw: Random) -> list[Turn]:
    """Return questions about what is there, how many, which colour, where, when, doing what."""
    makers = (_there, _many, _colour, _people, _place, _doing, _related, _made)
    return _mixed((turn for make in makers for turn in make(names, draw)), draw)


def okvqa(names: Names, draw: Random) -> list[Turn]:
    """Return questions that take knowledge: what a thing is for, where it belongs."""
    found = []
    for thing in names.objects:
        use, places = SENSE[thing.kind].use, KINDS[thing.kind].places
        named = names.the(thing, draw)
        if use:
            ask = draw.choice(("What is {} used for?", "What can one use {} for?"))
            found.append((ask.replace("{}", named), use))
        if len(places) == 1:
            found.append((f"Where does one often see a thing like {named}?", places[0]))
    return _mixed(found, draw)


def ocr_vqa(names: Names, draw: Random) -> list[Turn]:
    """Return questions about the words that are to be read."""
    found = []
    for thing in names.objects:
        named = names.plainly(thing, thing.text) if thing.text else None
        if named:
            ask = draw.choice(("What word is written on {}?", "What does {} say?"))
            found.append((ask.replace("{}", named), thing.text.lower()))
    return _mixed(found, draw)


def aokvqa(names: Names, draw: Random) -> list[Turn]:
    """Return questions with four lettered options; the answer is the letter."""
    found = [_option("Where was the picture taken?", names.scene.place, PLACES, draw)]
    inferences = [action.inference for action in ACTIONS.values()]
    for thing in names.people:
        assert thing.person
        true = ACTIONS[thing.person.action].inference
        found.append(_option(f"What is true of {names.the(thing)}?", true, inferences, draw))
    for thing in names.objects:
        if named := names.plainly(thing, thing.colour):
            found.append(_option(f"What color is {named}?", thing.colour, COLOURS, draw))
        if use := SENSE[thing.kind].use:
            uses = sorted({SENSE[kind].use for kind in usable()})
            found.append(_option(f"What is {names.the(thing)} good for?", use, uses, draw))
    return _mixed(found, draw)


def _option(question: str, right: str, every: Iterable[str], draw: Random) -> Turn:
    """Return a question with four options in random order and the letter of the right one."""
    options = [right, *draw.sample([other for other in every if other != right], 3)]
    draw.shuffle(options)
    listed = "".join(f"\n{a}. {o}" for a, o in zip(LETTERS, options, strict=True))
    return question + listed, LETTERS[options.index(right)]


def _mixed(found: Iterable[Turn], draw: Random) -> list[Turn]:
    """Return the questions in random order, each once, those with two answers left out."""
    answers: dict[str, set[str]] = {}
    for question, answer in found:
        answers.setdefault(question, set()).add(answer)
    order = [(asked, next(iter(said))) for asked, said in answers.items() if len(said) == 1]
    draw.shuffle(order)
    return order


def _whether(question: str, right: str, every: Sequence[str], draw: Random) -> Iterator[Turn]:
    """Ask whether something is so: yes half of the time, else with another value in its place."""
    yes = draw.random() < 0.5
    value = right if yes else draw.choice([other for other in every if other != right])
    yield question.replace("{}", value), "yes" if yes else "no"


def absent(names: Names, draw: Random) -> str:
    """Return a kind that is not there, half of the time one that the place suggests."""
    scene = names.scene
    away = [kind for kind in KINDS if not scene.of_kind(kind)]
    likely = [kind for kind in away if scene.place in KINDS[kind].places]
    return draw.choice(likely if likely and draw.random() < 0.5 else away)


def _there(names: Names, draw: Random) -> Iterator[Turn]:
    present = sorted({thing.kind for thing in names.scene.things})
    for _ in range(6):
        yes = draw.random() < 0.5
        kind = draw.choice(present) if yes else absent(names, draw)
        where = draw.choice(("image", "image", "picture"))
        yield f"Is there {wording.article(kind)} in the {where}?", "yes" if yes else "no"


def _many(names: Names, draw: Random) -> Iterator[Turn]:
    for kind, count in Counter(thing.kind for thing in names.scene.things).items():
        ask = draw.choice(("How many {} are there?", "How many {} are in the picture?"))
        yield ask.replace("{}", wording.plural(kind)), str(count)


def _colour(names: Names, draw: Random) -> Iterator[Turn]:
    for thing in names.objects:
        if named := names.plainly(thing, thing.colour):
            yield f"What color is {named}?", thing.colour
            yield from _whether(f"Is {named} {{}}?", thing.colour, tuple(COLOURS), draw)


def _people(names: Names, draw: Random) -> Iterator[Turn]:
    for thing in names.people:
        assert thing.person
        person = thing.person
        if named := names.plainly(thing, person.shirt, person.hair):
            yield f"What color is the shirt of {named}?", person.shirt
            yield f"What color is the hair of {named}?", person.hair
            yield from _whether(f"Is the hair of {named} {{}}?", person.hair, HAIR, draw)
        if named := names.plainly(thing, person.mood):
            yield f"How does {named} feel?", person.mood


def _place(names: Names, draw: Random) -> Iterator[Turn]:
    scene = names.scene
    yield draw.choice(("Where is this?", "Where was this picture taken?")), scene.place
    yield "Is it day or night?", scene.time
    side = "indoors" if scene.indoors else "outdoors"
    yield from _whether("Is this {}?", side, ("indoors", "outdoors"), draw)


def _doing(names: Names, draw: Random) -> Iterator[Turn]:
    words = [action.phrase.split()[0] for action in ACTIONS.values()]
    for thing in names.people:
        assert thing.person
        named = names.plainly(thing, *words)
        if named is None:
            continue
        action = ACTIONS[thing.person.action]
        yield f"What is {named} doing?", action.phrase.split()[0]
        if thing.person.object is not None:
            kind = names.scene.thing(thing.person.object).kind
            yield f"What is {named} {action.relation}?", kind


def _related(names: Names, draw: Random) -> Iterator[Turn]:
    every = [relation for relation in names.relations() if relation.name in _OPPOSITE]
    for relation in draw.sample(every, min(4, len(every))):
        one, other = (names.scene.thing(n) for n in (relation.subject, relation.object))
        named, against = names.the(one, draw), names.the(other, draw)
        pair = relation.name, _OPPOSITE[relation.name]
        yield from _whether(f"Is {named} {{}} {against}?", relation.name, pair, draw)
        side = relation.name.removeprefix("to the ").removesuffix(" of")
        if side in ("left", "right"):
            yield f"Is {named} to the left or to the right of {against}?", side
        else:
            yield f"Is {named} above or below {against}?", side


def _made(names: Names, draw: Random) -> Iterator[Turn]:
    for thing in names.objects:
        named = names.plainly(thing, thing.material, thing.size)
        if named is None:
            continue
        pair = [thing.material, draw.choice([m for m in MATERIALS if m != thing.material])]
        draw.shuffle(pair)
        yield f"Is {named} {pair[0]} or {pair[1]}?", thing.material
        yield from _whether(f"Is {named} {{}}?", thing.size, ("small", "large"), draw)
