"""Visual7W telling: what, where, when, who, why and how, with four choices.

    questions    dataset_v7w_telling.json: train, val and test
    pictures     images/v7w_<id>.jpg

Zhu et al. 2016 (arXiv 1511.03416), fields as in the published file. Half of the test scenes are
`val`, half `test`. Wrong choices are right answers to the same kind of question elsewhere, each as
often wrong as every other. Imports harness.world.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats._choices import Question, arguable, beyond, plain_name, with_choices
from harness.world.formats._deal import even, thin
from harness.world.formats._paper import document
from harness.world.scene import Scene, Thing, World

_SPLITS = ("train", "val", "test")
_MOST: Mapping[str, int] = {"train": 1_000_000, "val": 14_000, "test": 21_000}
"""Most questions of a split: fewer than half of the published ones (`_deal.thin`)."""


def write(world: World, folder: Path) -> None:
    """Write the telling file. `folder` is what `sightline run --task visual7w --data` takes."""
    parts: dict[str, list[Scene]] = {name: [] for name in _SPLITS}
    parts["train"] += world.split("train")
    for at, scene in enumerate(world.split("test")):
        parts["val" if at % 2 == 0 else "test"].append(scene)
    images: list[dict[str, Any]] = []
    number = 0
    for name, scenes in parts.items():
        rng = world.draw("visual7w", name)
        asked = [one for s in scenes for one in _ask(s, world.draw("visual7w", s.id))]
        rng.shuffle(asked)  # so that no scene is favoured when counts are evened out
        counts = even(
            [q for q in asked if q.group == "count"], lambda q: q.group, lambda q: q.answer
        )
        asked = [*counts, *(q for q in asked if q.group != "count")]
        asked = sorted(thin(asked, _MOST[name], rng), key=lambda q: q.scene.id)
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for question, wrong in with_choices(asked, rng):
            number += 1
            found[question.scene.id].append(_pair(question, wrong, number))
        for scene in scenes:
            if found[scene.id]:
                images.append(_image(scene, name, found[scene.id]))
                world.place(scene, folder / "images" / f"v7w_{scene.id}.jpg")
    document(folder / "dataset_v7w_telling.json", {"dataset": "visual7w-telling", "images": images})


def _image(scene: Scene, split: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "qa_pairs": found,
        "image_id": scene.id,
        "split": split,
        "filename": f"v7w_{scene.id}.jpg",
    }


def _pair(question: Question, wrong: tuple[str, ...], number: int) -> dict[str, Any]:
    return {
        "qa_id": 100_000 + number,
        "image_id": question.scene.id,
        "question": question.text,
        "answer": question.answer,
        "multiple_choices": list(wrong),
        "type": question.text.split()[0].lower(),
    }


def _one(scene: Scene, group: str, text: str, answer: str, *true: str) -> Question:
    said = wording.sentence(answer)
    return Question(scene, group, text, said, frozenset(map(wording.sentence, (answer, *true))))


def _ask(scene: Scene, rng: Random) -> Iterator[Question]:
    yield _one(
        scene,
        "where",
        rng.choice(("Where was this photo taken?", "Where is this?")),
        wording.place(scene),
    )
    named = [
        (thing, f"the {wording.noun(thing)}")
        for thing in scene.objects
        if len(scene.of_kind(thing.kind)) == 1
    ]
    for thing, name in rng.sample(named, min(3, len(named))):
        yield _one(scene, "color", f"What color is {name}?", thing.colour)
    count = wording.number(len(scene.people)) if scene.people else "none"
    yield _one(scene, "count", "How many people are there?", count)
    for person in scene.people:
        yield from _of_person(scene, person, rng)


def _of_person(scene: Scene, person: Thing, rng: Random) -> Iterator[Question]:
    body, who = person.person, plain_name(scene, person)
    if body is None:
        return
    does = wording.action(scene, person, definite=False)
    doings = {wording.action(scene, other, definite=False) for other in scene.people}
    while_doing = {f"while somebody was {doing}" for doing in doings}
    yield _one(
        scene, "when", "When was the photo taken?", f"while somebody was {does}", *while_doing
    )
    same = [other for other in scene.people if other.person and other.person.action == body.action]
    if len(same) == 1:
        text = f"Who is {wording.action(scene, person)}?"
        yield _one(scene, "who", text, wording.some(person))
    if who is None:
        return
    yield _one(scene, "what", f"What is {who} doing?", does, *_held(scene, person))
    intents = [f"to {text}" for text in sorted(arguable(scene, person, "intent"))]
    wanted = f"to {rng.choice(beyond(scene, person, 'intent'))}"
    yield _one(scene, "why", f"Why is {who} doing this?", wanted, *intents)
    if "hair" not in who:
        yield _one(scene, "how", f"How does {who} look?", f"{body.mood}, with {body.hair} hair")


def _held(scene: Scene, person: Thing) -> Iterator[str]:
    """Yield what is true as well: who drinks from a cup holds it."""
    if person.person and person.person.object is not None:
        yield f"holding {wording.some(scene.thing(person.person.object))}"
