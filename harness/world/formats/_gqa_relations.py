"""GQA's questions about several things: how they lie, who does what, what is alike.

Question types as in the published files (Hudson and Manning 2019, section 3.3). Every function
yields candidates; gqa.py balances and numbers them. Imports harness.world.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from harness.world.formats._gqa_asks import YES_NO, Asking
from harness.world.formats._gqa_refs import (
    INVERSE,
    LEVELS,
    SIDES,
    Ask,
    Ref,
    Step,
    decided,
    known,
    number,
    order,
    program,
    ref,
    said,
)
from harness.world.lore import ACTIONS, KINDS
from harness.world.scene import Thing
from harness.world.wording import article, noun

_EXIST: Step = ("exist", "?")
_RELATIONS = 5
"""Pairs of things that one scene is asked about."""


def layout(ask: Asking) -> Iterator[Ask]:
    """Ask how two things lie: left or right, above or below."""
    scene, rng = ask.scene, ask.rng
    wanted = [r for r in scene.relations if r.name in SIDES or r.name in LEVELS]
    for found in rng.sample(wanted, min(_RELATIONS, len(wanted))):
        one, two = ref(scene, scene.thing(found.subject)), ref(scene, scene.thing(found.object))
        if one is None or two is None:
            continue
        word, axis = {**SIDES, **LEVELS}[found.name]
        # Left and right are alike for all kinds; what hangs in the air is known to be above.
        pair = () if axis == "h" else (noun(one.thing), noun(two.thing))
        way = rng.randrange(3)
        if way == 0:
            yield _verify_order(ask, one, two, found.name, axis, pair)
        elif way == 1 or axis == "v":
            yield _choose_order(ask, one, two, found.name, axis, word, pair)
        else:
            yield _exist_order(ask, one, two, found.name)


def _verify_order(
    ask: Asking, one: Ref, two: Ref, name: str, axis: str, pair: tuple[str, ...]
) -> Ask:
    asked = name if ask.coin() else INVERSE[name]
    answer, lead = said(asked == name)
    full = f"{lead}, {one.the} is {name} {two.the}."
    argument = f"{one.text},{asked},s ({number(ask.scene, one.thing)})"
    made = Ask(
        f"Is {one.the} {asked} {two.the}?",
        answer,
        full,
        ("verify", "rel", "relVerify"),
        f"13-{two.text}_{one.text}",
        program((*two.steps, ("verify rel", argument))),
        ("verify order", asked, *pair),
        YES_NO,
    )
    value = asked if one.thing.id < two.thing.id else INVERSE[asked]
    return decided(made, order(one.thing, two.thing, axis), value, one, two)


def _choose_order(
    ask: Asking, one: Ref, two: Ref, name: str, axis: str, word: str, pair: tuple[str, ...]
) -> Ask:
    x, y = (name, INVERSE[name]) if ask.coin() else (INVERSE[name], name)
    argument = f"{one.text},{x}|{y},s ({number(ask.scene, one.thing)})"
    short = tuple({**SIDES, **LEVELS}[which][0] for which in (x, y))
    made = Ask(
        f"Is {one.the} {x} or {y} {two.the}?".replace(" of or ", " or "),
        word,
        f"{one.the.capitalize()} is {name} {two.the}.",
        ("choose", "rel", "relChooser"),
        f"13-{two.text}_{one.text}",
        program((*two.steps, ("choose rel", argument))),
        ("choose order", axis, *pair),
        short,
        "side" if axis == "h" else "level",
    )
    return known(made, order(one.thing, two.thing, axis), one, two)


def _exist_order(ask: Asking, one: Ref, two: Ref, name: str) -> Ask:
    """Ask for a thing on a side of another; it is the only one of its kind, so "no" is sure."""
    asked = name if ask.coin() else INVERSE[name]
    answer, lead = said(asked == name)
    argument = f"{noun(one.thing)},{asked},s ({number(ask.scene, one.thing)})"
    made = Ask(
        f"Is there {article(one.text)} {asked} {two.the}?",
        answer,
        f"{lead}, {one.the} is {name} {two.the}.",
        ("verify", "rel", "existRelS" if asked == name else "existRelSC"),
        f"13-{two.text}_{one.text}",
        program((*two.steps, ("relate", argument), _EXIST)),
        ("exist order", asked),
        YES_NO,
    )
    value = asked if one.thing.id < two.thing.id else INVERSE[asked]
    return decided(made, order(one.thing, two.thing, "h"), value, one, two)


def doings(ask: Asking) -> Iterator[Ask]:
    """Ask what somebody holds, reads or looks at, and who does it."""
    scene = ask.scene
    for thing in scene.people:
        who, person = ref(scene, thing), thing.person
        if who is None or person is None:
            continue
        if person.object is not None:
            verb = ACTIONS[person.action].phrase.removesuffix(" {object}")
            yield from _done_to(ask, who, scene.thing(person.object), verb)
        if person.gaze is not None:
            yield from _gaze(ask, who, scene.thing(person.gaze))


def _done_to(ask: Asking, who: Ref, what: Thing, verb: str) -> Iterator[Ask]:
    scene, fact = ask.scene, ("object", who.thing.id, what.id)
    action = who.thing.person.action if who.thing.person else ""
    kinds = tuple(kind for kind in KINDS if kind in ACTIONS[action].needs)
    argument = f"_,{verb},o ({number(scene, what)})"
    asked = Ask(
        f"What is {who.the} {verb}?",
        what.kind,
        f"{who.the.capitalize()} is {verb} the {what.kind}.",
        ("query", "rel", "relO"),
        f"14-{who.text}_{verb},o",
        program((*who.steps, ("relate", argument), ("query", "name"))),
        ("query", "done to", verb),
        kinds,
        "object",
        ("person", verb),
        shown=what,
    )
    both = frozenset({fact, ("activity", who.thing.id)})
    yield replace(known(asked, fact, who), gives=both)
    named = ref(scene, what)
    same = [t for t in scene.people if t.person and t.person.object == what.id]
    if named and len(same) == 1:
        argument = f"person,{verb},s ({number(scene, who.thing)})"
        text = f"Who is {verb} {named.the}?"
        asked = replace(
            asked,
            text=text,
            answer=noun(who.thing),
            local=f"14-{named.text}_{verb},s",
            types=("query", "rel", "relS"),
            program=program((*named.steps, ("relate", argument), ("query", "name"))),
            balance=("query", "who", verb),
            valid=("man", "woman"),
            globals="person",
            about=("person", "gender"),
            shown=who.thing,
        )
        alone = who.text == noun(who.thing)  # else "man" does not say which man
        told = both if alone else frozenset({("is", what.id)})
        yield replace(known(asked, fact, named), gives=told)


def _gaze(ask: Asking, who: Ref, what: Thing) -> Iterator[Ask]:
    """Ask what somebody looks at; half of the yes-no questions name another thing of the scene."""
    scene, fact = ask.scene, ("gaze", who.thing.id, what.id)
    argument = f"_,looking at,o ({number(scene, what)})"
    full = f"{who.the.capitalize()} is looking at the {noun(what)}."
    asked = Ask(
        f"What is {who.the} looking at?",
        noun(what),
        full,
        ("query", "rel", "relO"),
        f"14-{who.text}_looking at,o",
        program((*who.steps, ("relate", argument), ("query", "name"))),
        ("query", "gaze"),
        tuple(dict.fromkeys(["man", "woman", *KINDS])),
        "object",
        ("person", "looking at"),
        shown=what,
    )
    if not what.person:
        yield known(asked, fact, who)
    others = [t for t in scene.things if noun(t) != noun(what) and t.id != who.thing.id]
    named = [r for t in others if (r := ref(scene, t))]
    true = ref(scene, what)
    if not named or not true:
        return
    yes = ask.coin()
    chosen = true if yes else ask.rng.choice(named)
    answer, lead = said(yes)
    argument = f"{chosen.text},looking at,o ({number(scene, chosen.thing)})"
    asked = replace(
        asked,
        text=f"Is {who.the} looking at {chosen.the}?",
        answer=answer,
        full=f"{lead}, {full[0].lower()}{full[1:]}",
        types=("verify", "rel", "relVerify"),
        local=f"13-{who.text}_{chosen.text}",
        program=program((*who.steps, ("verify rel", argument))),
        balance=("verify", "gaze", noun(chosen.thing)),
        valid=YES_NO,
        globals=None,
        about=("", ""),
        shown=None,
    )
    yield decided(asked, fact, noun(chosen.thing), who, chosen)


def likeness(ask: Asking) -> Iterator[Ask]:
    """Ask whether two things are alike in colour or material, and in which of them."""
    scene, rng = ask.scene, ask.rng
    refs = [r for thing in scene.objects if (r := ref(scene, thing, "colour"))]
    found = [pair for pair in combinations(refs, 2) if pair[0].thing.kind != pair[1].thing.kind]
    rng.shuffle(found)
    common = [p for p in found if _same(p, "colour") != _same(p, "material")]
    for pair in common[:2]:
        yield _common(pair)
    for trait, word in (("colour", "color"), ("material", "material")):
        for same in (True, False):
            fitting = [pair for pair in found if _same(pair, trait) is same]
            if fitting and ask.coin():
                yield _alike(ask, fitting[0], trait, word, same)
    people = [thing for thing in scene.people if thing.person]
    if len(people) == 2:
        same = noun(people[0]) == noun(people[1])
        answer, lead = said(same)
        made = Ask(
            "Do both people have the same gender?",
            answer,
            f"{lead}, there is a {noun(people[0])} and another {noun(people[1])}."
            if same
            else f"{lead}, there are a {noun(people[0])} and a {noun(people[1])}.",
            ("compare", "attr", "sameGender"),
            "05-person",
            program((("select", "person"), ("same gender", ""))),
            ("same gender",),
            YES_NO,
        )
        yield known(made, ("genders",))


def _same(pair: tuple[Ref, Ref], trait: str) -> bool:
    one, two = (getattr(r.thing, trait) for r in pair)
    return bool(one == two)


def _both(ask: Ask, pair: tuple[Ref, Ref], *traits: str) -> Ask:
    facts = frozenset((trait, r.thing.id) for trait in traits for r in pair)
    there = frozenset(("is", r.thing.id) for r in pair)
    return replace(ask, gives=there, needs=(facts,), named=pair)


def _common(pair: tuple[Ref, Ref]) -> Ask:
    one, two = pair
    word = "color" if _same(pair, "colour") else "material"
    value = one.thing.colour if word == "color" else one.thing.material
    made = Ask(
        f"What do {one.the} and {two.the} have in common?",
        word,
        f"The {word}: both are {value}.",
        ("compare", "attr", "twoCommon"),
        f"05-{one.text}_{two.text}",
        program(one.steps, two.steps, join=("common", "")),
        ("common",),
        ("color", "material", "shape"),
    )
    return _both(made, pair, "colour", "material")


def _alike(ask: Asking, pair: tuple[Ref, Ref], trait: str, word: str, same: bool) -> Ask:
    one, two = ask.rng.sample(pair, 2)
    differ = ask.coin()
    answer, lead = said(same != differ)
    words = "a different" if differ else "the same"
    values = [getattr(r.thing, trait) for r in (one, two)]
    kind = f"two{'Different' if differ else 'Same'}{'' if word == 'color' else 'Material'}"
    made = Ask(
        f"Do {one.the} and {two.the} have {words} {word}?",
        answer,
        f"{lead}, {one.the} is {values[0]} and {two.the} is {values[1]}.",
        ("compare", "attr", kind),
        f"05-{one.text}_{two.text}",
        program(one.steps, two.steps, join=(f"{'different' if differ else 'same'} {word}", "")),
        ("alike", trait, differ),
        YES_NO,
    )
    return _both(made, (one, two), trait)
