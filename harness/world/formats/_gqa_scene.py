"""GQA's questions about the whole picture and what people do in it.

Question types as in the published files (Hudson and Manning 2019, section 3.3). Every function
yields candidates; gqa.py balances and numbers them. Imports harness.world.
"""

from collections.abc import Iterator
from dataclasses import replace

from harness.world.formats._gqa_asks import YES_NO, Asking, doing
from harness.world.formats._gqa_refs import Ask, Step, decided, known, program, ref, said
from harness.world.lore import ACTIONS, PLACES
from harness.world.wording import article

_SCENE: Step = ("select", "scene")


def activities(ask: Asking) -> Iterator[Ask]:
    """Ask what somebody is doing; "holding" is no false answer, as who drinks holds the cup."""
    words = tuple(dict.fromkeys(map(doing, ACTIONS)))
    for thing in ask.scene.people:
        who = ref(ask.scene, thing)
        if who is None or thing.person is None:
            continue
        word, fact = doing(thing.person.action), ("activity", thing.id)
        others = [v for v in ask.values["person", "activity"] if v not in (word, "holding")]
        full = f"{who.the.capitalize()} is {word}."
        query = Ask(
            f"What is {who.the} doing?",
            word,
            full,
            ("query", "attr", "activity"),
            "10q-person_activity",
            program((*who.steps, ("query", "activity"))),
            ("query", "activity"),
            words,
            "activity",
            ("person", "activity"),
        )
        yield known(query, fact, who)
        if not others or word == "holding":
            continue
        false = ask.rng.choice(others)
        x, y = (word, false) if ask.coin() else (false, word)
        choose = replace(
            query,
            text=f"Is {who.the} {x} or {y}?",
            types=("choose", "attr", "activityChoose"),
            local="10c-person_activity",
            program=program((*who.steps, ("choose activity", f"{x}|{y}"))),
            balance=("choose", "activity", frozenset((x, y))),
            valid=(x, y),
        )
        yield known(choose, fact, who)
        asked = word if ask.coin() else false
        answer, lead = said(asked == word)
        made = Ask(
            f"Is {who.the} {asked}?",
            answer,
            f"{lead}, {who.the} is {word}.",
            ("verify", "attr", "verifyAttr"),
            f"06-person_{asked}",
            program((*who.steps, ("verify activity", asked))),
            ("verify", "activity", asked),
            YES_NO,
        )
        yield decided(made, fact, asked, who)


def places(ask: Asking) -> Iterator[Ask]:
    """Ask where the picture was taken."""
    scene, fact = ask.scene, ("place",)
    full = f"It is {article(scene.place)}."
    text = ("Which place is it?", "Which place is shown?", "What place is this?")
    query = Ask(
        ask.rng.choice(text),
        scene.place,
        full,
        ("query", "global", "place"),
        "02q-place",
        program((_SCENE, ("query", "place"))),
        ("query", "place"),
        tuple(PLACES),
        "place",
        ("scene", "place"),
    )
    yield known(query, fact)
    false = ask.other("scene", "place", scene.place)
    if false:
        x, y = (scene.place, false) if ask.coin() else (false, scene.place)
        choose = replace(
            query,
            text=f"Is it {article(x)} or {article(y)}?",
            types=("choose", "global", "placeChoose"),
            local="02c-place",
            program=program((_SCENE, ("choose place", f"{x}|{y}"))),
            balance=("choose", "place", frozenset((x, y))),
            valid=(x, y),
        )
        yield known(choose, fact)
        asked = scene.place if ask.coin() else false
        answer, lead = said(asked == scene.place)
        verify = Ask(
            f"Is this {article(asked)}?",
            answer,
            f"{lead}, it is {article(scene.place)}.",
            ("verify", "global", "placeVerify"),
            f"02-{asked}",
            program((_SCENE, ("verify place", asked))),
            ("verify", "place", asked),
            YES_NO,
        )
        yield decided(verify, fact, asked)
    yield _indoors(ask)


def _indoors(ask: Asking) -> Ask:
    where = "indoors" if ask.scene.indoors else "outdoors"
    asked = ask.rng.choice(("indoors", "outdoors"))
    answer, lead = said(asked == where)
    return Ask(
        f"Is it {asked}?",
        answer,
        f"{lead}, it is {where}.",
        ("verify", "global", "locationVerify"),
        f"02-{asked}",
        program((_SCENE, ("verify location", asked))),
        ("verify", "location", asked),
        YES_NO,
        gives=frozenset({("location",)}),
        needs=(frozenset({("location",)}), frozenset({("place",)})),
    )
