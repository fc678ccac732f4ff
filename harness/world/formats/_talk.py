"""Questions about a scene with answers in full sentences: conversation, detail, reasoning.

The three kinds of LLaVA's instruction data (Liu et al. 2023, arXiv 2304.08485, section 3), here
from the scene's facts in place of GPT-4. Used for the training records (formats/instruct.py) and
for LLaVA-Bench's questions with their reference answers. Imports harness.world alone.
"""

from collections import Counter
from collections.abc import Iterator
from random import Random

from harness.world import wording
from harness.world.formats._names import Names
from harness.world.formats._sense import PLACES as ABOUT
from harness.world.formats._sense import SENSE, SIGNS
from harness.world.lore import ACTIONS, KINDS, PLACES
from harness.world.wording import article, sentence

Turn = tuple[str, str]
"""A question and its answer."""
DETAIL = (
    "Describe the image in detail.",
    "What do you see in this picture?",
    "Can you describe this image for me?",
    "Write a detailed description of the picture.",
    "What is going on in this scene?",
    "Tell me about everything in the photo.",
)
SPACE = ("near", "on", "to the left of", "to the right of", "above", "below")


def conversation(names: Names, draw: Random) -> list[Turn]:
    """Return questions about what is to be seen, in random order, each asked once."""
    makers = (_colours, _counts, _presence, _actions, _sides, _looks, _words, _setting)
    return _shuffled((turn for make in makers for turn in make(names, draw)), draw)


def _shuffled(turns: Iterator[Turn], draw: Random) -> list[Turn]:
    found = list(dict(turns).items())
    draw.shuffle(found)
    return found


def _colours(names: Names, draw: Random) -> Iterator[Turn]:
    for thing in names.objects:
        if named := names.plainly(thing, thing.colour):
            ask = draw.choice(("What color is {}?", "What is the color of {}?"))
            yield ask.replace("{}", named), sentence(f"{named} is {thing.colour}")
    for thing in names.people:
        assert thing.person
        shirt, hair = thing.person.shirt, thing.person.hair
        if named := names.plainly(thing, shirt, hair):
            asked = f"What color is the shirt of {named}?"
            yield asked, sentence(f"{named} is wearing {article(shirt)} shirt")
            asked = f"What color is the hair of {named}?"
            yield asked, sentence(f"{named} has {hair} hair")


def _counts(names: Names, draw: Random) -> Iterator[Turn]:
    for kind, count in Counter(thing.kind for thing in names.scene.things).items():
        where = draw.choice((" in the image", ""))
        verb = "is" if count == 1 else "are"
        asked = f"How many {wording.plural(kind)} are there{where}?"
        yield asked, sentence(f"there {verb} {wording.number(count)} {_plural(kind, count)}{where}")


def _plural(kind: str, count: int) -> str:
    return kind if count == 1 else wording.plural(kind)


def _presence(names: Names, draw: Random) -> Iterator[Turn]:
    present = sorted({thing.kind for thing in names.scene.things})
    absent = [kind for kind in KINDS if kind not in present]
    for kind in draw.sample(present, min(2, len(present))):
        yield f"Is there {article(kind)} in the image?", f"Yes, there is {article(kind)}."
    for kind in draw.sample(absent, min(2, len(absent))):
        yield f"Is there {article(kind)} in the image?", f"No, there is no {kind}."


def _actions(names: Names, draw: Random) -> Iterator[Turn]:
    for thing in names.people:
        if what := names.doing(thing):
            named = names.the(thing, draw)
            yield f"What is {named} doing?", sentence(f"{named} is {what}")


def _sides(names: Names, draw: Random) -> Iterator[Turn]:
    every = [relation for relation in names.relations() if relation.name in SPACE]
    for relation in draw.sample(every, min(2, len(every))):
        named = names.the(names.scene.thing(relation.subject))
        yield f"Where is {named}?", sentence(names.related(relation))


def _looks(names: Names, draw: Random) -> Iterator[Turn]:
    for thing in names.people:
        assert thing.person
        named = names.plainly(thing, thing.person.mood)
        if named is None:
            continue
        yield f"How does {named} feel?", sentence(f"{named} looks {thing.person.mood}")
        for relation in names.relations(thing):
            if relation.name == "looking at":
                seen = names.the(names.scene.thing(relation.object))
                yield f"What is {named} looking at?", sentence(f"{named} is looking at {seen}")


def _words(names: Names, draw: Random) -> Iterator[Turn]:
    for thing in names.objects:
        named = names.plainly(thing, thing.text) if thing.text else None
        if named:
            yield f"What is written on {named}?", sentence(f'{named} says "{thing.text}"')


def _setting(names: Names, draw: Random) -> Iterator[Turn]:
    scene = names.scene
    where = PLACES[scene.place].name
    yield "Where was the picture taken?", sentence(f"the picture was taken {where}")
    side = "indoors" if scene.indoors else "outdoors"
    yield "Is the scene indoors or outdoors?", sentence(f"the scene is {side}")
    yield "Is it day or night?", sentence(f"it is {scene.time}")


def detail(names: Names, draw: Random) -> str:
    """Return a description of everything in a scene, in short sentences."""
    scene = names.scene
    begin = draw.choice(("this is a scene", "the picture was taken"))
    told = [f"{begin} {wording.place(scene)} {wording.time(scene)}"]
    counts = wording.groups(scene)
    verb = "is" if next(iter(counts.values()), 1) == 1 else "are"
    listed = wording.listing([wording.counted(n, word) for word, n in counts.items()])
    told.append(f"there {verb} {listed}")
    for thing in names.people:
        assert thing.person
        looks = f"{names.the(thing)} looks {thing.person.mood}"
        what = names.doing(thing)
        told.append(f"{looks} and is {what}" if what else looks)
    told += [f'{names.the(t)} says "{t.text}"' for t in names.objects if t.text]
    every = {frozenset((r.subject, r.object)): r for r in names.relations() if r.name in SPACE}
    told += [names.related(r) for r in draw.sample(list(every.values()), min(3, len(every)))]
    return " ".join(sentence(line) for line in told)


def reasoning(names: Names, draw: Random) -> list[Turn]:
    """Return questions that the picture alone does not answer, with reasons first."""
    makers = (_why, _next, _conclude, _meaning, _guess)
    return _shuffled((turn for make in makers for turn in make(names, draw)), draw)


def _why(names: Names, draw: Random) -> Iterator[Turn]:
    for thing in names.people:
        assert thing.person
        action, named, what = ACTIONS[thing.person.action], names.the(thing), names.doing(thing)
        reason = names.filled(thing, draw.choice(action.intent))
        if what and reason:
            he = wording.pronoun(thing)
            told = f"In the image, {named} is {what}", f"{he} {action.inference}"
            last = f"So {he} probably wants to {reason}"
            yield f"Why is {named} {what}?", " ".join(map(sentence, (*told, last)))


def _next(names: Names, draw: Random) -> Iterator[Turn]:
    for thing in names.people:
        assert thing.person
        action, named, what = ACTIONS[thing.person.action], names.the(thing), names.doing(thing)
        after = names.filled(thing, draw.choice(action.after))
        before = names.filled(thing, draw.choice(action.before))
        if what and after and before:
            seen, he = sentence(f"in the image, {named} is {what}"), wording.pronoun(thing)
            told = sentence(f"next, {he} will likely {after}")
            yield f"What will {named} do next?", f"{seen} {told}"
            told = sentence(f"before that, {he} had to {before}")
            yield f"What did {named} do before?", f"{seen} {told}"


def _conclude(names: Names, draw: Random) -> Iterator[Turn]:
    for thing in names.objects:
        named, seen = names.the(thing), article(wording.look(thing))
        text = draw.choice(SENSE[thing.kind].inferences).replace("{thing}", named)
        asked = f"What can we tell from {named}?"
        yield asked, f"There is {seen} in the image. {sentence(f'so {text}')}"


def _meaning(names: Names, draw: Random) -> Iterator[Turn]:
    for thing in names.objects:
        named = names.plainly(thing, thing.text) if thing.text else None
        if named:
            seen = sentence(f'{named} says "{thing.text}"')
            told = sentence(f"so {SIGNS[thing.text].replace('{thing}', named)}")
            yield f"What does the word on {named} mean?", f"{seen} {told}"


def _guess(names: Names, draw: Random) -> Iterator[Turn]:
    place = PLACES[names.scene.place]
    ask = draw.choice(("How can we tell where this is?", "What kind of place is this and why?"))
    told = sentence(draw.choice(ABOUT[names.scene.place]))
    yield ask, f"We can see {place.evidence}. So we are {place.name}. {told}"
