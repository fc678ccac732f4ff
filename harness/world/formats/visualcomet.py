"""VisualCOMET: what people want, what happened before, what comes next, in the official files.

`{train,val,test}_annots.json` of visualcomet.zip (github jamespark3922/visual-comet), the frames
in vcr1images/, and `val_rank_random_50.json` as `scripts/run_rank.py` writes it. The test file has
no inferences, as published. Inferences are those of `lore.ACTIONS`. Half of the events name the
thing without its colour, which has to be read from the picture.

Unlike the official draw, no candidate that is true of the event is among the wrong ones.
Imports harness.world alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats._frames import frame, place_frame
from harness.world.formats._paper import document
from harness.world.lore import ACTIONS, PLACES
from harness.world.scene import Scene, Thing, World

RELATIONS = ("intent", "before", "after")
CANDIDATES = 50
_LOOKED_AT = 400
"""Records drawn to find the wrong candidates of a group among."""
_HELD_BACK = 10
"""Every so manieth scene of the test split is one of the test file, without inferences."""
_GREETED = ("a friend", "somebody")
"""Who is meant by a wave when the person looks at somebody who is in the picture."""


@dataclass(frozen=True)
class Event:
    """One entry of an annotation file, and every inference that holds of it."""

    row: dict[str, Any]
    true: frozenset[str]


def write(world: World, folder: Path) -> None:
    """Write the annotations of both splits, the frames and the candidates of the validation."""
    train = [event for scene in world.split("train") for event in events(world, scene)]
    val: list[Event] = []
    test: list[Event] = []
    for at, scene in enumerate(world.split("test"), 1):
        (val if at % _HELD_BACK else test).extend(events(world, scene))
    for name, found in (("train", train), ("val", val)):
        document(folder / f"{name}_annots.json", [event.row for event in found])
    blind = [{k: v for k, v in e.row.items() if k not in RELATIONS} for e in test]
    document(folder / "test_annots.json", blind)
    document(folder / f"val_rank_random_{CANDIDATES}.json", ranked(world, val))
    for scene in world.scenes:
        if any(True for _ in _subjects(scene)):
            place_frame(world, scene, folder / "vcr1images")


def events(world: World, scene: Scene) -> list[Event]:
    """Return one event for each person that does something."""
    at = frame(scene)
    found = []
    for person in _subjects(scene):
        draw = world.draw("visualcomet", scene.id, person.id)
        every = {relation: _inferences(scene, person, relation) for relation in RELATIONS}
        row: dict[str, Any] = {
            "img_fn": at.image,
            "movie": at.movie,
            "metadata_fn": at.metadata,
            "place": PLACES[scene.place].name,
            "event": _event(scene, person, draw),
        }
        for relation in RELATIONS:
            texts = list(every[relation])
            row[relation] = draw.sample(texts, draw.randint(min(2, len(texts)), len(texts)))
        found.append(Event(row, frozenset(text for texts in every.values() for text in texts)))
    return found


def _subjects(scene: Scene) -> Iterable[Thing]:
    """Yield the people whose action has everything that it needs."""
    for thing in scene.people:
        if thing.person and (thing.person.object is not None or not _action(thing).needs):
            yield thing


def _action(thing: Thing) -> Any:
    assert thing.person
    return ACTIONS[thing.person.action]


def _event(scene: Scene, subject: Thing, draw: Random) -> str:
    """Say what somebody does, people by their numbers from 1."""
    person = subject.person
    assert person
    text: str = _action(subject).phrase
    if person.object is not None:
        thing = scene.thing(person.object)
        named = draw.random() < 0.5
        text = text.replace(
            "{object}", wording.the(scene, thing) if named else wording.article(thing.kind)
        )
    met = _met(scene, subject)
    if met:
        text = f"{text} and looking at {met}"
    return f"{frame(scene).number(subject) + 1} is {text}"


def _met(scene: Scene, subject: Thing) -> str:
    """Return the number of whom somebody greets; empty where the action greets nobody shown."""
    person = subject.person
    assert person
    if person.action != "wave" or person.gaze is None or not scene.thing(person.gaze).person:
        return ""
    return str(frame(scene).number(scene.thing(person.gaze)) + 1)


def _inferences(scene: Scene, subject: Thing, relation: str) -> tuple[str, ...]:
    """Return what the action implies, without repeats, in the order of the lore."""
    person = subject.person
    assert person
    thing = None if person.object is None else wording.the(scene, scene.thing(person.object))
    met = _met(scene, subject)
    found = []
    for text in getattr(_action(subject), relation):
        if thing:
            text = text.replace("{object}", thing)
        for word in _GREETED if met else ():
            text = text.replace(word, met)
        found.append(text)
    return tuple(dict.fromkeys(found))


def ranked(world: World, found: list[Event]) -> dict[str, Any]:
    """Return what run_rank.py writes: each group once, with the records that it was ranked among.

    The gold records come first. The ranking is that of a ranker that draws lots.
    """
    records: list[dict[str, Any]] = []
    groups: list[tuple[Event, list[int]]] = []
    for number, event in enumerate(found):
        for relation in RELATIONS:
            gold = list(range(len(records), len(records) + len(event.row[relation])))
            records.extend(_records(event.row, number, relation))
            groups.append((event, gold))
    results = []
    for event, gold in groups:
        record = records[gold[0]]
        draw = world.draw("visualcomet", "candidates", record["img_fn"], gold[0])
        wrong = _wrong(draw, records, event, CANDIDATES - len(gold))
        order = draw.sample(range(len(gold) + len(wrong)), len(gold) + len(wrong))
        hits = sum(at < len(gold) for at in order[: len(gold)])
        results.append(
            {
                **record,
                "inference_candidate_indices": gold + wrong,
                "rank": order,
                "num_gt": len(gold),
                "recall": hits / len(gold),
            }
        )
    mean = sum(row["recall"] for row in results) / max(len(results), 1)
    return {"mean_recall": mean, "results": results}


def _wrong(draw: Random, records: list[dict[str, Any]], event: Event, count: int) -> list[int]:
    """Draw records whose text does not hold of the event, no text twice while others are left."""
    order = draw.sample(range(len(records)), min(len(records), _LOOKED_AT))
    fresh: list[int] = []
    again: list[int] = []
    seen: set[str] = set()
    for at in order:
        text = records[at]["inference_text"]
        if text in event.true:
            continue
        (again if text in seen else fresh).append(at)
        seen.add(text)
        if len(fresh) == count:
            break
    return (fresh + again)[:count]


def _records(row: dict[str, Any], number: int, relation: str) -> Iterable[dict[str, Any]]:
    """Yield the records of one relation as the official parser makes them."""
    common = {key: value for key, value in row.items() if key not in RELATIONS}
    for text in row[relation]:
        people = {word: f"<|det{word}|>" for word in _numbers(f"{row['event']} {text}")}
        yield {
            **common,
            "event_idx": number,
            "inference_relation": relation,
            "inference_text": text,
            "event_name": _named(row["event"], people),
            "inference_text_name": _named(text, people),
            "person2name": people,
            "name2person": {name: person for person, name in people.items()},
        }


def _numbers(text: str) -> list[str]:
    return [word for word in dict.fromkeys(text.split()) if word.isdigit()]


def _named(text: str, people: dict[str, str]) -> str:
    return " ".join(people.get(word, word) for word in text.split())
