"""A-OKVQA: what is the use, the next step, the meaning? Four choices and ten direct answers.

    questions    aokvqa_v1p0_{train,val}.json
    pictures     {train,val}2017/<id>.jpg

Schwenk et al. 2022 (arXiv 2206.01718), fields and their order as published. What must be known
beyond the picture is in `harness.world.lore` and _sense.py. Wrong choices are right answers to the
same kind of question elsewhere, each as often wrong as every other. Imports harness.world.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats._choices import (
    About,
    Question,
    arguable,
    beyond,
    plain_name,
    with_choices,
)
from harness.world.formats._deal import thin
from harness.world.formats._paper import document
from harness.world.formats._sense import PLACES, SENSE, SIGNS
from harness.world.lore import ACTIONS
from harness.world.lore import PLACES as SCENERY
from harness.world.scene import Scene, Split, Thing, World

_FILES: tuple[tuple[str, Split], ...] = (("train", "train"), ("val", "test"))
_MOST: Mapping[Split, int] = {"train": 1_000_000, "test": 570}
"""Most questions of a split: fewer than half of the published validation set (`_deal.thin`)."""
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LONG = 3
"""An answer of more words counts as difficult to give directly."""
_ABOUT: tuple[tuple[About, tuple[str, ...]], ...] = (
    ("intent", ("What does {} want to do?", "What is {} trying to do?")),
    ("after", ("What will {} do next?", "What is {} likely to do after this?")),
    ("before", ("What did {} do before this?", "What came first for {}?")),
)


def write(world: World, folder: Path) -> None:
    """Write both splits. `folder` is what `sightline run --task aokvqa --data` takes."""
    for name, split in _FILES:
        asked = [one for scene, rng in world.each(split, "aokvqa") for one in _ask(scene, rng)]
        rng = world.draw("aokvqa", split)
        asked = thin(asked, _MOST[split], rng)
        rows = [
            _row(name, number, question, wrong, rng)
            for number, (question, wrong) in enumerate(with_choices(asked, rng))
        ]
        document(folder / f"aokvqa_v1p0_{name}.json", rows)
        for scene in world.split(split):
            world.place(scene, folder / f"{name}2017" / f"{scene.id:012d}.jpg")


def _row(
    name: str, number: int, question: Question, wrong: tuple[str, ...], rng: Random
) -> dict[str, Any]:
    choices = rng.sample((question.answer, *wrong), 4)
    others = sorted(question.true - {question.answer})
    usual = 10 if not others else rng.choice((6, 7, 8, 10))
    said = [question.answer] * usual + [rng.choice(others) for _ in range(10 - usual)]
    return {
        "split": name,
        "image_id": question.scene.id,
        "question_id": _id(f"{name} {number} {question.scene.id}"),
        "question": question.text,
        "choices": choices,
        "correct_choice_idx": choices.index(question.answer),
        "direct_answers": rng.sample(said, 10),
        "difficult_direct_answer": len(question.answer.split()) > _LONG,
        "rationales": list(question.reasons),
    }


def _id(text: str) -> str:
    """Return 22 letters and digits, as A-OKVQA's ids are."""
    number = int.from_bytes(sha256(text.encode()).digest(), "big")
    return "".join(_DIGITS[number // 62**at % 62] for at in range(22))


def _ask(scene: Scene, rng: Random) -> Iterator[Question]:
    place = SCENERY[scene.place]
    yield Question(
        scene,
        "place",
        rng.choice(("What is true of this place?", "What should one know about this place?")),
        rng.choice(PLACES[scene.place]),
        frozenset(PLACES[scene.place]),
        (
            wording.sentence(f"the picture was taken {place.name}"),
            wording.sentence(f"one can see {place.evidence}"),
            wording.sentence(f"people know what it is like {place.name}"),
        ),
    )
    for person in scene.people:
        yield from _of_person(scene, person, rng)
    for thing in scene.objects:
        if thing.text and wording.references(scene, thing):
            yield _meaning(scene, thing)


def _of_person(scene: Scene, person: Thing, rng: Random) -> Iterator[Question]:
    who, body = plain_name(scene, person), person.person
    if who is None or body is None:
        return
    doing = wording.action(scene, person)
    reasons = (
        wording.sentence(f"{who} is {doing}"),
        wording.sentence(f"{who} {ACTIONS[body.action].inference}"),
        wording.sentence(f"this is what people do who are {doing}"),
    )
    for about, texts in rng.sample(_ABOUT, 2):
        answer = rng.choice(beyond(scene, person, about))
        text, true = rng.choice(texts).format(who), arguable(scene, person, about)
        yield Question(scene, about, text, answer, true, reasons)
    for relation, number in (("looking at", body.gaze), ("dealing with", body.object)):
        thing = None if number is None else scene.thing(number)
        use = SENSE[thing.kind].use if thing is not None and not thing.person else ""
        if thing is not None and use and (relation == "looking at") == (body.object is None):
            text = f"What is the thing that {who} is {relation} good for?"
            named = wording.the(scene, thing)
            yield Question(
                scene,
                f"use {relation}",
                text,
                use,
                frozenset({use}),
                (
                    wording.sentence(f"{who} is {relation} {named}"),
                    wording.sentence(f"{wording.article(thing.kind)} is good for {use}"),
                    wording.sentence(f"{named} is a thing for {use}"),
                ),
            )


def _meaning(scene: Scene, thing: Thing) -> Question:
    named = (
        f"the {thing.kind}" if len(scene.of_kind(thing.kind)) == 1 else f"the {_by(scene, thing)}"
    )
    means = SIGNS[thing.text].format(thing="it")
    return Question(
        scene,
        "meaning",
        f"What does the word on {named} tell people?",
        means,
        frozenset({means}),
        (
            wording.sentence(f"the word on {named} is {thing.text}"),
            f"{thing.text} means that {means}.",
            wording.sentence(f"people read {thing.text} and know that {means}"),
        ),
    )


def _by(scene: Scene, thing: Thing) -> str:
    """Return an expression that does not quote the word itself, which would give it away."""
    known = [r.text for r in wording.references(scene, thing) if thing.text not in r.text]
    return known[0] if known else thing.kind
