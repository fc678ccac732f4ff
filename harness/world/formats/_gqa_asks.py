"""GQA's questions about one thing: its attributes and where in the picture it is.

Question types as in the published files (Hudson and Manning 2019, section 3.3). Every function
yields candidates; gqa.py balances and numbers them. Imports harness.world.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

from harness.world.formats._gqa_refs import Ask, Ref, Step, decided, known, program, ref, said
from harness.world.lore import ACTIONS, HAIR, MATERIALS
from harness.world.scene import Scene, Thing

YES_NO = ("yes", "no")
MOODS = ("happy", "sad", "surprised")
SIZES = ("small", "large")


@dataclass(frozen=True)
class Asking:
    """One scene, and what can be asked of it."""

    scene: Scene
    rng: Random
    values: Mapping[tuple[str, str], Sequence[str]]
    """(noun, attribute) to the values that such things have in this split, as often as there."""
    nouns: Sequence[str]
    """What is there in this split, as often as in its scenes."""
    colours: tuple[str, ...]
    """Every colour of the world."""

    def other(self, name: str, attribute: str, value: str) -> str | None:
        """Draw another value that such a thing has elsewhere, as often as there."""
        others = [v for v in self.values.get((name, attribute), ()) if v != value]
        return self.rng.choice(others) if others else None

    def coin(self) -> bool:
        """Return True half of the time."""
        return self.rng.random() < 0.5


@dataclass(frozen=True, slots=True)
class _Trait:
    """An attribute of a thing, ready to be asked."""

    name: str
    """Our word for it, as in facts: "colour"."""
    word: str
    """GQA's word in programs: "color"."""
    who: Ref
    kind: str
    """Whose values are drawn as false ones."""
    value: str
    steps: tuple[Step, ...]
    subject: str
    """What has it, with its article: "the dog", "the shirt of the man"."""
    valid: tuple[str, ...]
    queries: tuple[str, ...]
    detailed: tuple[str, str, str]
    """Of query, choose and verify."""

    @property
    def fact(self) -> tuple[str, int]:
        return (self.name, self.who.thing.id)


def traits(ask: Asking) -> Iterator[_Trait]:
    """Yield every attribute that can be asked without naming it."""
    for thing in ask.scene.things:
        who = ref(ask.scene, thing, "colour")
        if who is None:
            continue
        if thing.person:
            yield from _person_traits(ask, thing, who)
        else:
            yield from _object_traits(ask, thing, who)


def _object_traits(ask: Asking, thing: Thing, who: Ref) -> Iterator[_Trait]:
    kind, steps, the = thing.kind, who.steps, who.the
    kinds = ("directOf", "chooseAttr", "verifyAttr")
    queries: tuple[str, ...] = (
        f"What color is {the}?",
        f"What is the color of {the}?",
        f"Which color is {the}?",
    )
    colour = thing.colour
    yield _Trait(*("colour", "color", who, kind, colour, steps, the, ask.colours, queries, kinds))
    queries = (f"What material is {the}?", f"What is the material of {the}?")
    kinds = ("material", "materialChoose", "materialVerify")
    yield _Trait(
        *("material", "material", who, kind, thing.material, steps, the, MATERIALS, queries, kinds)
    )
    queries = (f"How large is {the}?", f"What size is {the}?")
    kinds = ("how", "chooseAttr", "verifyAttr")
    yield _Trait(*("size", "size", who, kind, thing.size, steps, the, SIZES, queries, kinds))


def _person_traits(ask: Asking, thing: Thing, who: Ref) -> Iterator[_Trait]:
    assert thing.person
    worn = (*who.steps, ("relate", "shirt,wearing,o (-)"))
    of = f"the shirt of {who.the}"
    queries = (f"What color is {of}?", f"What color shirt is {who.the} wearing?")
    kinds = ("directOf", "chooseAttr", "verifyAttr")
    yield _Trait(
        *("colour", "color", who, "shirt", thing.colour, worn, of, ask.colours, queries, kinds)
    )
    hair = (*who.steps, ("relate", "hair,of,s (-)"))
    of, value = f"the hair of {who.the}", thing.person.hair
    queries = (f"What color is {of}?", f"What is the color of {of}?")
    yield _Trait(*("hair", "color", who, "hair", value, hair, of, HAIR, queries, kinds))
    queries = (f"How does {who.the} feel?", f"How does {who.the} look?")
    value = thing.person.mood
    yield _Trait(
        *("mood", "mood", who, "person", value, who.steps, who.the, MOODS, queries),
        ("how", "chooseAttr", "verifyAttr"),
    )


def attributes(ask: Asking) -> Iterator[Ask]:
    """Ask for each attribute openly, and some with two choices or as yes and no."""
    found = list(traits(ask))
    for trait in found:
        yield _query(ask, trait)
        roll = ask.rng.random()
        if roll < 0.35:
            yield from _choose(ask, trait)
        elif roll < 0.8:
            yield from _verify(ask, trait)
    for one, two in pairwise(found):
        if one.who == two.who and one.subject == two.subject and ask.rng.random() < 0.5:
            yield from _verify_both(ask, one, two)


def _query(ask: Asking, trait: _Trait) -> Ask:
    text = ask.rng.choice(trait.queries)
    detailed = trait.detailed[0]
    if detailed == "directOf" and text.startswith("Which"):
        detailed = "directWhich"
    return Ask(
        text,
        trait.value,
        f"{trait.subject.capitalize()} is {trait.value}.",
        ("query", "attr", detailed),
        f"10q-{trait.kind}_{trait.word}",
        program((*trait.steps, ("query", trait.word))),
        ("query", trait.name),
        trait.valid,
        trait.word,
        (trait.kind, trait.name),
        frozenset({trait.fact}),
        (frozenset({trait.fact}),),
        (trait.who,),
    )


def _choose(ask: Asking, trait: _Trait) -> Iterator[Ask]:
    false = ask.other(trait.kind, trait.name, trait.value)
    if false is None:
        return
    x, y = (trait.value, false) if ask.coin() else (false, trait.value)
    text = f"Is {trait.subject} {x} or {y}?"
    if trait.word == "color" and ask.coin():
        text = f"What color is {trait.subject}, {x} or {y}?"
    yield Ask(
        text,
        trait.value,
        f"{trait.subject.capitalize()} is {trait.value}.",
        ("choose", "attr", trait.detailed[1]),
        f"10c-{trait.kind}_{trait.word}",
        program((*trait.steps, (f"choose {trait.word}", f"{x}|{y}"))),
        ("choose", trait.name, frozenset((x, y))),
        (x, y),
        trait.word,
        (trait.kind, trait.name),
        frozenset({trait.fact}),
        (frozenset({trait.fact}),),
        (trait.who,),
    )


def _verify(ask: Asking, trait: _Trait) -> Iterator[Ask]:
    false = ask.other(trait.kind, trait.name, trait.value)
    true = ask.coin()
    value = trait.value if true else false
    if value is None:
        return
    answer, lead = said(true)
    made = Ask(
        f"Is {trait.subject} {value}?",
        answer,
        f"{lead}, {trait.subject} is {trait.value}.",
        ("verify", "attr", trait.detailed[2]),
        f"06-{trait.kind}_{value}",
        program((*trait.steps, (f"verify {trait.word}", value))),
        ("verify", trait.name, trait.kind, value),
        YES_NO,
    )
    yield decided(made, trait.fact, value, trait.who)


def _verify_both(ask: Asking, one: _Trait, two: _Trait) -> Iterator[Ask]:
    true = ask.coin()
    values = [one.value, two.value]
    if not true:
        at = ask.rng.randrange(2)
        wrong = ask.other(one.kind, (one, two)[at].name, values[at])
        if wrong is None:
            return
        values[at] = wrong
    both = frozenset({one.fact, two.fact})
    names = (one.who.the, one.value, two.value)
    yield Ask(
        f"Is {one.who.the} {values[0]} and {values[1]}?",
        "yes" if true else "no",
        "{}, {} is {} and {}.".format("Yes" if true else "No", *names),
        ("logical", "attr", "verifyAttrAnd"),
        f"06-{one.kind}_{values[0]}",
        program(
            (*one.steps, (f"verify {one.word}", values[0])),
            (*two.steps, (f"verify {two.word}", values[1])),
            join=("and", ""),
        ),
        ("both", one.name, two.name, one.kind),
        YES_NO,
        gives=both if true else frozenset({("is", one.who.thing.id)}),
        needs=(both,),
        named=(one.who,),
    )


def positions(ask: Asking) -> Iterator[Ask]:
    """Ask on which side of the picture a thing is that is clearly on one."""
    scene = ask.scene
    for thing in scene.things:
        who, x = ref(scene, thing), thing.centre[0] / scene.width
        if who is None or 0.4 <= x <= 0.6 or ask.rng.random() < 0.5:
            continue
        side, far = ("left", "right") if x < 0.5 else ("right", "left")
        fact = ("hposition", thing.id)
        query = Ask(
            f"On which side of the photo is {who.the}?",
            side,
            f"{who.the.capitalize()} is on the {side} of the image.",
            ("query", "attr", "positionQuery"),
            f"10q-{who.text}_hposition",
            program((*who.steps, ("query", "hposition"))),
            ("query", "hposition"),
            ("left", "right"),
            "hposition",
        )
        way = ask.rng.randrange(3)
        if way == 0:
            yield known(query, fact, who)
        elif way == 1:
            choose = replace(
                query,
                text=f"Is {who.the} on the left or on the right of the image?",
                types=("choose", "attr", "positionChoose"),
                local=f"10c-{who.text}_hposition",
                program=program((*who.steps, ("choose hposition", "left|right"))),
                balance=("choose", "hposition"),
            )
            yield known(choose, fact, who)
        else:
            asked = side if ask.coin() else far
            answer, lead = said(asked == side)
            verify = replace(
                query,
                text=f"Is {who.the} on the {asked} of the picture?",
                answer=answer,
                full=f"{lead}, {who.the} is on the {side} of the image.",
                types=("verify", "attr", "positionVerify"),
                local=f"06-{who.text}_{asked}",
                program=program((*who.steps, ("verify hposition", asked))),
                balance=("verify", "hposition", asked),
                valid=YES_NO,
                globals=None,
            )
            yield decided(verify, fact, asked, who)


def doing(action: str) -> str:
    """Return the one word for an action: "reading"."""
    return ACTIONS[action].phrase.split()[0]


def values_of(scene: Scene) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield (noun, attribute) and value of everything that false answers are drawn from."""
    yield ("scene", "place"), scene.place
    for thing in scene.things:
        if thing.person:
            yield ("shirt", "colour"), thing.colour
            yield ("hair", "hair"), thing.person.hair
            yield ("person", "mood"), thing.person.mood
            yield ("person", "activity"), doing(thing.person.action)
        else:
            yield (thing.kind, "colour"), thing.colour
            yield (thing.kind, "material"), thing.material
            yield (thing.kind, "size"), thing.size
