"""GQA's questions about what there is: kinds, families, colors, one thing or another.

Question types as in the published files (Hudson and Manning 2019, section 3.3). Every function
yields candidates; gqa.py balances and numbers them. Imports harness.world.
"""

from collections.abc import Iterator
from dataclasses import replace

from harness.world.formats._gqa_asks import YES_NO, Asking
from harness.world.formats._gqa_refs import (
    FAMILIES,
    SIDES,
    Ask,
    Ref,
    Step,
    decided,
    known,
    number,
    program,
    ref,
    said,
    tagged,
)
from harness.world.lore import KINDS
from harness.world.scene import Scene, Thing
from harness.world.wording import article, noun

_EXIST: Step = ("exist", "?")


def existence(ask: Asking) -> Iterator[Ask]:
    """Ask whether there is a kind of thing, two kinds, one of two, one of a colour."""
    here = sorted({noun(thing) for thing in ask.scene.things})
    gone = [name for name in ask.nouns if name not in here]
    if len(here) < 2 or len(set(gone)) < 2:
        return
    for name in (ask.rng.choice(here), ask.rng.choice(gone)):
        yield _exist(ask, name, name in here)
    yield from _families(ask)
    one, two = ask.rng.sample(here, 2)
    not_one = ask.rng.choice(gone)
    not_two = ask.rng.choice([name for name in gone if name != not_one])
    both = (one, two) if ask.coin() else ask.rng.sample((one, not_one), 2)
    yield _two(ask, (both[0], both[1]), "and")
    either = (not_one, not_two) if ask.coin() else ask.rng.sample((one, not_one), 2)
    yield _two(ask, (either[0], either[1]), "or")
    yield from _coloured(ask)


def _one_of(scene: Scene, name: str) -> Thing | None:
    return next((thing for thing in scene.things if noun(thing) == name), None)


def _exist(ask: Asking, name: str, yes: bool) -> Ask:
    answer, lead = said(yes)
    text = ask.rng.choice(("Is there {} in the picture?", "Do you see {}?", "Is there {}?"))
    made = Ask(
        text.format(article(name)),
        answer,
        f"{lead}, there is {article(name) if yes else f'no {name}'}.",
        ("verify", "obj", "exist"),
        f"03-{name}",
        program((("select", tagged(ask.scene, _one_of(ask.scene, name), name)), _EXIST)),
        ("exist", name),
        YES_NO,
    )
    return known(made, ("exist" if yes else "absent", name))


def _families(ask: Asking) -> Iterator[Ask]:
    family = ask.rng.choice(FAMILIES)
    thing = next((t for t in ask.scene.things if KINDS[t.kind].family == family), None)
    answer, lead = said(thing is not None)
    an = article(family) if family in ("animal", "vehicle") else f"any {family}"
    made = Ask(
        f"Is there {an} in this photo?",
        answer,
        f"{lead}, there is {an if thing is None else article(thing.kind)}.".replace(
            "is any", "is no"
        ),
        ("verify", "obj", "exist"),
        f"03-{family}",
        program((("select", tagged(ask.scene, thing, family)), _EXIST)),
        ("exist", family),
        YES_NO,
    )
    yield known(made, ("exist" if thing else "absent", family))


def _two(ask: Asking, names: tuple[str, str], word: str) -> Ask:
    """Ask for both kinds or either; which of them is there tells nothing about the answer."""
    found = [_one_of(ask.scene, name) for name in names]
    here = [thing is not None for thing in found]
    yes = all(here) if word == "and" else any(here)
    answer, lead = said(yes)
    one, two = map(article, names)
    text = f"Are there both {one} and {two}?" if word == "and" else f"Is there {one} or {two}?"
    parts = [("exist" if h else "absent", n) for h, n in zip(here, names, strict=True)]
    full = " and ".join(article(n) if h else f"no {n}" for h, n in zip(here, names, strict=True))
    branches = [
        (("select", tagged(ask.scene, thing, name)), _EXIST)
        for thing, name in zip(found, names, strict=True)
    ]
    # Either part decides alone: a missing one of "and", a present one of "or".
    alone = [part for part, h in zip(parts, here, strict=True) if h == yes]
    together = yes == (word == "and")
    return Ask(
        text,
        answer,
        f"{lead}, there is {full}.",
        ("logical", "obj", "existAnd" if word == "and" else "existOr"),
        f"03-{names[0]}_{names[1]}",
        program(*branches, join=(word, "")),
        ("exist", word),
        YES_NO,
        gives=frozenset(parts) if together else frozenset(),
        needs=(frozenset(parts),) if together else tuple(frozenset({p}) for p in alone),
    )


def _coloured(ask: Asking) -> Iterator[Ask]:
    things = [thing for thing in ask.scene.objects if ref(ask.scene, thing, "colour")]
    if not things:
        return
    thing = ask.rng.choice(things)
    false = ask.other(thing.kind, "colour", thing.colour)
    yes = ask.coin() or false is None
    colour = thing.colour if yes else str(false)
    answer, lead = said(yes)
    kind = thing.kind
    end = "" if yes else f", but the {kind} is {thing.colour}"
    named = article(f"{colour} {kind}") if yes else f"no {colour} {kind}"
    made = Ask(
        f"Is there {article(f'{colour} {kind}')}?",
        answer,
        f"{lead}, there is {named}{end}.",
        ("verify", "obj", "existAttr" if yes else "existAttrC"),
        f"04-{kind}_{colour}",
        program((("select", tagged(ask.scene, thing, kind)), ("filter color", colour), _EXIST)),
        ("exist colour", kind),
        YES_NO,
    )
    yield decided(made, ("colour", thing.id), colour)


def families(ask: Asking) -> Iterator[Ask]:
    """Ask which kind the only animal (vehicle, ...) is, alone or on a side of something."""
    scene, rng = ask.scene, ask.rng
    for family in FAMILIES:
        thing, *more = [*(t for t in scene.things if KINDS[t.kind].family == family), None]
        if thing is None or more != [None]:
            continue
        kinds = tuple(kind for kind, known_as in KINDS.items() if known_as.family == family)
        piece = "piece of furniture" if family == "furniture" else family
        fact = ("category", thing.id)
        step: Step = ("select", tagged(scene, thing, family))
        asked = Ask(
            rng.choice((f"What kind of {piece} is it?", f"What {piece} is in the picture?")),
            thing.kind,
            f"The {piece} is {article(thing.kind)}.",
            ("query", "cat", "category"),
            f"09q-{family}",
            program((step, ("query", "name"))),
            ("query", "category", family),
            kinds,
            family,
            (family, "kind"),
            shown=thing,
        )
        beside = [
            (r, other)
            for r in scene.relations
            if r.subject == thing.id and r.name in SIDES
            if (other := ref(scene, scene.thing(r.object)))
        ]
        named: list[Ref] = []
        if beside and ask.coin():
            relation, other = rng.choice(beside)
            named = [other]
            argument = f"{family},{relation.name},s ({number(scene, thing)})"
            asked = replace(
                asked,
                text=f"Which {piece} is {relation.name} {other.the}?",
                types=("query", "rel", "categoryRelS"),
                local=f"14-{other.text}_{relation.name},s",
                program=program((*other.steps, ("relate", argument), ("query", "name"))),
            )
        yield known(asked, fact, *named)
        other_kinds = [k for k in ask.nouns if k in kinds and k != thing.kind]
        if not other_kinds:
            continue
        false = rng.choice(other_kinds)
        x, y = (thing.kind, false) if ask.coin() else (false, thing.kind)
        chosen = replace(
            asked,
            text=f"Is the {piece} {article(x)} or {article(y)}?",
            types=("choose", "cat", "typeChoose"),
            local=f"09c-{family}",
            program=program((step, ("choose name", f"{x}|{y}"))),
            balance=("choose", "category", frozenset((x, y))),
            valid=(x, y),
        )
        yield known(chosen, fact)
