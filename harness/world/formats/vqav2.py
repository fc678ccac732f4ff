"""VQAv2: open questions, ten people's answers each, every question asked of two pictures.

    questions      v2_OpenEnded_mscoco_{train,val}2014_questions.json
    annotations    v2_mscoco_{train,val}2014_annotations.json
    pairs          v2_mscoco_{train,val}2014_complementary_pairs.json
    pictures       {train,val}2014/COCO_{train,val}2014_<id>.jpg

Goyal et al. 2017 (arXiv 1612.00837): as there, each question comes with two pictures and two
answers, so that a model that does not look is right about half of the time at best. People say the
same thing in different words ("2", "two"); all of them are right. Imports harness.world.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats._deal import pairs, thin
from harness.world.formats._paper import document
from harness.world.lore import ACTIONS, KINDS
from harness.world.scene import Scene, Split, Thing, World

_FILES: tuple[tuple[str, Split], ...] = (("train2014", "train"), ("val2014", "test"))
_MOST: Mapping[Split, int] = {"train": 1_000_000, "test": 107_000}
"""Most questions of a split: fewer than half of the published validation set (`_deal.thin`)."""
_HEAD = {
    "info": {
        "description": "Questions about pictures of the scene world in the format of VQA v2.0.",
        "version": "2.0",
    },
    "license": {"name": "Creative Commons Attribution 4.0 International License"},
}
_TYPES = (
    *("how many people are", "how many", "what color is the", "what animal is", "what room is"),
    *("what is the man", "what is the woman", "what is the person", "what is the"),
    *("what does the", "is there a", "is there an", "are there any", "is the man", "is the woman"),
    *("is the person", "is the", "is this a", "is this an", "is this", "is it", "where is the"),
    *("what is", "what", "where are the", "which", "does the", "are there", "are the", "how"),
)
"""Question types of the published files that occur here; the longest one that fits is meant."""
_SURE = (7, 8, 9, 10, 10, 10)
"""How many of ten people give the usual answer."""


@dataclass(frozen=True, slots=True)
class _Asked:
    scene: Scene
    text: str
    answer: str
    kind: str
    """Answer type: "yes/no", "number", "other"."""
    also: tuple[str, ...] = ()
    """The same answer in other words."""


def write(world: World, folder: Path) -> None:
    """Write both splits. `folder` is what `sightline run --task vqav2 --data` takes."""
    for name, split in _FILES:
        asked = [one for scene, rng in world.each(split, "vqav2") for one in _ask(scene, rng)]
        rng = world.draw("vqav2", split)
        asked = thin(asked, _MOST[split], rng)
        joined = pairs(asked, lambda one: one.text, lambda one: one.answer, rng)
        order = sorted(
            ((one, number) for number, pair in enumerate(joined) for one in pair),
            key=lambda entry: (entry[0].scene.id, entry[1]),
        )
        ids: dict[int, list[int]] = {}
        questions, annotations, count = [], [], dict.fromkeys((s.id for s in world.scenes), 0)
        for one, number in order:
            id = one.scene.id * 1000 + count[one.scene.id]
            count[one.scene.id] += 1
            ids.setdefault(number, []).append(id)
            questions.append({"image_id": one.scene.id, "question": one.text, "question_id": id})
            annotations.append(_annotation(one, id, rng))
        names = {"task_type": "Open-Ended", "data_type": "mscoco", "data_subtype": name}
        document(
            folder / f"v2_OpenEnded_mscoco_{name}_questions.json",
            {**_HEAD, **names, "questions": questions},
        )
        document(
            folder / f"v2_mscoco_{name}_annotations.json",
            {**_HEAD, "data_type": "mscoco", "data_subtype": name, "annotations": annotations},
        )
        document(
            folder / f"v2_mscoco_{name}_complementary_pairs.json",
            [ids[number] for number in sorted(ids)],
        )
        for scene in world.split(split):
            world.place(scene, folder / name / f"COCO_{name}_{scene.id:012d}.jpg")


def question_type(text: str) -> str:
    """Return the longest known beginning of a question."""
    low = text.lower()
    known = [kind for kind in _TYPES if low.startswith(f"{kind} ")]
    return max(known, key=len, default="none of the above")


def _annotation(one: _Asked, id: int, rng: Random) -> dict[str, Any]:
    sure = rng.choice(_SURE) if one.also else 10
    said = [one.answer] * sure + [rng.choice(one.also) for _ in range(10 - sure)]
    rng.shuffle(said)
    return {
        "question_type": question_type(one.text),
        "multiple_choice_answer": one.answer,
        "answers": [
            {
                "answer": text,
                "answer_confidence": "yes" if rng.random() < 0.9 else "maybe",
                "answer_id": number,
            }
            for number, text in enumerate(said, 1)
        ],
        "image_id": one.scene.id,
        "answer_type": one.kind,
        "question_id": id,
    }


def _ask(scene: Scene, rng: Random) -> Iterator[_Asked]:
    yield from _place(scene)
    yield from _counts(scene, rng)
    yield from _presence(scene, rng)
    for thing in scene.things:
        if len(wording.of_noun(scene, wording.noun(thing))) == 1:
            yield from _person(scene, thing, rng) if thing.person else _object(scene, thing, rng)


def _yes(scene: Scene, text: str, right: bool) -> _Asked:
    return _Asked(scene, text, "yes" if right else "no", "yes/no")


def _place(scene: Scene) -> Iterator[_Asked]:
    where = scene.place
    also = (wording.place(scene), f"{'in' if scene.indoors else 'at'} the {where}")
    yield _Asked(scene, "Where was this picture taken?", where, "other", also)
    if scene.indoors:
        yield _Asked(scene, "What room is this?", where, "other", also[:1])
    yield _yes(scene, "Is this indoors?", scene.indoors)
    if not scene.indoors:
        yield _yes(scene, "Is it daytime?", scene.time == "day")


def _counts(scene: Scene, rng: Random) -> Iterator[_Asked]:
    here = sorted({thing.kind for thing in scene.objects})
    for kind in ("person", *rng.sample(here, min(2, len(here))), rng.choice(list(KINDS))):
        count = len(scene.of_kind(kind))
        text = f"How many {wording.plural(kind)} are there?"
        yield _Asked(scene, text, str(count), "number", (wording.number(count),) * (count > 0))


def _presence(scene: Scene, rng: Random) -> Iterator[_Asked]:
    here = sorted({thing.kind for thing in scene.objects})
    gone = [kind for kind in KINDS if kind not in here and kind != "person"]
    for kind in (*rng.sample(here, min(2, len(here))), *rng.sample(gone, 2)):
        yield _yes(scene, f"Is there {wording.article(kind)} in the picture?", kind in here)
    animals = [thing for thing in scene.things if KINDS[thing.kind].family == "animal"]
    if len(animals) == 1:
        yield _Asked(scene, "What animal is this?", animals[0].kind, "other")


def _object(scene: Scene, thing: Thing, rng: Random) -> Iterator[_Asked]:
    yield _Asked(scene, f"What color is the {thing.kind}?", thing.colour, "other")
    yield _yes(scene, f"Is the {thing.kind} small?", thing.size == "small")
    pattern = rng.choice(("striped", "dotted", "shiny"))
    yield _yes(scene, f"Is the {thing.kind} {pattern}?", thing.material == pattern)
    if thing.text:
        said = thing.text.lower()
        yield _Asked(scene, f"What does the {thing.kind} say?", said, "other", (f"it says {said}",))


def _person(scene: Scene, thing: Thing, rng: Random) -> Iterator[_Asked]:
    person, who = thing.person, wording.noun(thing)
    assert person
    verb = ACTIONS[person.action].phrase.split()[0]
    whole = wording.action(scene, thing, definite=False)
    yield _Asked(scene, f"What is the {who} doing?", verb, "other", (whole,))
    yield _Asked(scene, f"What color is the {who}'s shirt?", person.shirt, "other")
    yield _yes(scene, f"Is the {who} {person.mood}?", True)
    others = [mood for mood in ("happy", "sad", "surprised") if mood != person.mood]
    yield _yes(scene, f"Is the {who} {rng.choice(others)}?", False)
    if person.gaze is not None and not scene.thing(person.gaze).person:
        seen = scene.thing(person.gaze).kind
        yield _Asked(scene, f"What is the {who} looking at?", seen, "other", (f"the {seen}",))
    if person.object is not None:
        held = scene.thing(person.object).kind
        phrase = ACTIONS[person.action].phrase.removesuffix(" {object}")
        text = f"What is the {who} {phrase}?"
        yield _Asked(scene, text, held, "other", (wording.article(held),))
