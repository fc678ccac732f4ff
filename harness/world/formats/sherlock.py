"""Sherlock: what may be concluded from a region of a picture, in the official files.

Corpus: `sherlock_train_v1_1.json` and `sherlock_val_with_split_idxs_v1_1.json`. Leaderboard
bundles (github allenai/sherlock, `leaderboard_eval`): `val_comparison/`, `val_localization/`. An
inference follows from what a person does, from what a thing is or says, from a face, or from the
place (`lore.ACTIONS`, formats/_sense.py). Pictures: images/VG_100K and images/<film>, as the last
two parts of the URLs say.

Two annotators are simulated. Each gives a candidate 3 where it is about the region, 2 where it is
about something else that the picture shows, 1 where it is about something that it does not show,
and now and then a neighbour of that: their agreement is what a model can reach, not 100.
Imports harness.world alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats._frames import frame
from harness.world.formats._paper import document
from harness.world.formats._sense import MOODS, PLACES, SENSE, SIGNS
from harness.world.lore import ACTIONS
from harness.world.lore import PLACES as SCENERY
from harness.world.scene import Box, Scene, Thing, World

_Draft = tuple[tuple[Box, ...], str, list[str]]
"""Boxes, clue and conclusions."""
HOST = "https://example.org"
_SPLIT = 100
"""Instances of a retrieval split; the published ones have about 1,000."""
_MOST = 4
"""Instances of one picture."""
_CANDIDATES = 10
_FACES = 0.3
"""Share of the people of whom the face is the clue, not the action."""
_WAVERS = 0.3
"""How often an annotator gives a point more or less than the truth."""
_PROPOSALS = 3
"""Boxes of the simulated detector that lie anywhere."""


@dataclass(frozen=True)
class Clue:
    """A region, what is seen there and what follows from it."""

    scene: Scene
    boxes: tuple[Box, ...]
    clue: str
    inference: str
    id: str
    at: int
    """Its number among the clues of the picture."""
    also: tuple[str, ...] = ()
    """What else follows from the same region."""


def write(world: World, folder: Path) -> None:
    """Write corpus, comparison and localization, with the pictures that they are about."""
    found = {split: _corpus(world, split) for split in ("train", "test")}
    document(folder / "sherlock_train_v1_1.json", [_instance(c) for c in found["train"]])
    splits = _splits([clue.inference for clue in found["test"]])
    val = [{**_instance(c), "split_idx": n} for c, n in zip(found["test"], splits, strict=True)]
    document(folder / "sherlock_val_with_split_idxs_v1_1.json", val)
    _bundle(folder, "comparison", *_comparison(world, found["test"]))
    _bundle(folder, "localization", *_localization(world, found["test"]))
    for clues in found.values():
        for scene in {clue.scene.id: clue.scene for clue in clues}.values():
            world.place(scene, folder / "images" / _name(scene))


def _bundle(folder: Path, task: str, instances: list[dict[str, Any]], key: Any) -> None:
    place = folder / f"val_{task}"
    document(place / f"val_{task}_instances.json", instances)
    document(place / f"val_{task}_instance_ids.json", sorted(i["test_id"] for i in instances))
    document(place / f"val_{task}_answer_key.json", key)


def _name(scene: Scene) -> str:
    """Return the last two parts of a picture's URL: a film frame where there are people."""
    return frame(scene).image if scene.people else f"VG_100K/{scene.id}.jpg"


def _corpus(world: World, split: Any) -> list[Clue]:
    found = []
    for scene, draw in world.each(split, "sherlock"):
        found.extend(clues(scene, draw))
    return found


def clues(scene: Scene, draw: Random) -> list[Clue]:
    """Return up to four clues of a picture about different regions, in random order."""
    drafts = [_of_place(scene, draw)]
    for thing in scene.things:
        drafts += _of_thing(scene, thing, draw)
    draw.shuffle(drafts)
    chosen: list[_Draft] = []
    for draft in drafts:
        said = {text for other in chosen for text in other[2]}
        if len(chosen) < _MOST and not said.intersection(draft[2]):
            chosen.append(draft)
    return [
        Clue(scene, boxes, clue, texts[0], _hash(scene.id, at, texts[0]), at, tuple(texts[1:]))
        for at, (boxes, clue, texts) in enumerate(chosen)
    ]


def _of_place(scene: Scene, draw: Random) -> _Draft:
    whole = (0.0, 0.0, float(scene.width), float(scene.height))
    texts = [*PLACES[scene.place], f"this is {SCENERY[scene.place].name}"]
    draw.shuffle(texts)
    return (whole,), SCENERY[scene.place].evidence, texts


def _of_thing(scene: Scene, thing: Thing, draw: Random) -> Iterator[_Draft]:
    """Yield the clue of a thing; none for a person whose action lacks its object."""
    named = wording.the(scene, thing)
    if not thing.person:
        texts = [text.replace("{thing}", named) for text in SENSE[thing.kind].inferences]
        clue = named
        if thing.text:
            clue = f'{named} with the word "{thing.text}"'
            texts = [SIGNS[thing.text].replace("{thing}", named)]
        draw.shuffle(texts)
        yield (thing.box,), clue, texts
        return
    person = thing.person
    if draw.random() < _FACES:
        texts = [MOODS[person.mood].replace("{thing}", named)]
        yield (thing.box,), f"the {person.mood} face of {named}", texts
        return
    boxes = [thing.box]
    if person.object is not None:
        boxes.append(scene.thing(person.object).box)
    elif ACTIONS[person.action].needs:
        return
    texts = [f"{named} {ACTIONS[person.action].inference}"]
    yield tuple(boxes), f"{wording.some(thing)} {wording.action(scene, thing)}", texts


def _hash(*key: object) -> str:
    """Return an id of 32 hex digits, as the corpus has them."""
    return md5(repr(key).encode(), usedforsecurity=False).hexdigest()


def _image(scene: Scene) -> dict[str, Any]:
    url = f"{HOST}/{_name(scene)}"
    return {"url": url, "width": scene.width, "height": scene.height}


def _edges(boxes: Iterable[Box]) -> list[dict[str, int]]:
    """Return boxes as Sherlock has them: height, width, left and top in whole pixels."""
    found = []
    for box in boxes:
        left, top, right, bottom = (round(x) for x in box)
        found.append(
            {
                "height": max(bottom - top, 1),
                "width": max(right - left, 1),
                "left": left,
                "top": top,
            }
        )
    return found


def _instance(clue: Clue) -> dict[str, Any]:
    """Return an entry of the corpus; the writer's confidence is the larger the fewer readings."""
    return {
        "inputs": {
            "image": _image(clue.scene),
            "bboxes": _edges(clue.boxes),
            "clue": clue.clue,
            "confidence": float(3 - min(len(clue.also), 2)),
            "obs_idx": clue.at,
        },
        "targets": {"inference": clue.inference},
        "instance_id": clue.id,
    }


def _splits(texts: Sequence[str]) -> list[int]:
    """Deal instances out over retrieval splits of about equal size, equal texts far apart."""
    count = max(1, round(len(texts) / _SPLIT))
    sizes, taken = [0] * count, Counter[tuple[int, str]]()
    found = []
    for text in texts:
        best = min(range(count), key=lambda n: (taken[n, text], sizes[n], n))
        sizes[best] += 1
        taken[best, text] += 1
        found.append(best)
    return found


def _entry(clue: Clue, boxes: Iterable[Box], inference: str, task: str, *key: object) -> Any:
    return {
        "image": _image(clue.scene),
        "region": _edges(boxes),
        "inference": inference,
        "test_id": _hash(task, *key),
        "extra_info": {"task": task},
    }


def _comparison(world: World, found: list[Clue]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return instances and key of the comparison: one region of each picture."""
    by_scene: dict[int, list[Clue]] = {}
    for clue in found:
        by_scene.setdefault(clue.scene.id, []).append(clue)
    instances, annotations, ids = [], [], {}
    for number, own in by_scene.items():
        draw = world.draw("sherlock", "comparison", number)
        given = draw.choice(own)
        rated = []
        for source, points in _candidates(draw, given, own, found):
            entry = _entry(given, given.boxes, source.inference, "comparison", given.id, source.id)
            instances.append(entry)
            ids[entry["test_id"]] = {"Input_iid": given.id, "candidate": source.id}
            first, second = (_judged(draw, points) for _ in range(2))
            rated.append({"source_iid": source.id, "annot1": first, "annot2": second})
        annotations.append({"Input_iid": given.id, "candidates": rated})
    return instances, {"annotations": annotations, "test_id_map": ids}


def _candidates(
    draw: Random, given: Clue, own: list[Clue], found: list[Clue]
) -> list[tuple[Clue, int]]:
    """Return inferences of the corpus with the points that they deserve, in random order."""
    rated = [(clue, 3 if clue is given else 2) for clue in own]
    texts = {clue.inference for clue in own}
    true = texts.union(*(clue.also for clue in own))
    others = draw.sample(found, min(len(found), 12 * _CANDIDATES))
    for clue in others:
        if len(rated) == _CANDIDATES:
            break
        if clue.inference not in texts and clue.scene is not given.scene:
            if clue.inference in given.also:
                points = 3
            elif clue.inference in true or _holds(given.scene, clue):
                points = 2
            else:
                points = 1
            rated.append((clue, points))
            texts.add(clue.inference)
    draw.shuffle(rated)
    return rated


def _holds(scene: Scene, clue: Clue) -> bool:
    """Whether a conclusion of another picture fits this one: the same place, or the same kind."""
    if clue.boxes[0] == (0.0, 0.0, float(clue.scene.width), float(clue.scene.height)):
        return clue.scene.place == scene.place
    about = next(t for t in clue.scene.things if t.box == clue.boxes[0])
    alike = [t for t in scene.objects if (t.kind, t.colour) == (about.kind, about.colour)]
    return bool(alike)


def _judged(draw: Random, points: int) -> float:
    """Return what an annotator gives: the points deserved, or a neighbour of them."""
    if draw.random() < _WAVERS:
        points = 2 if points != 2 else draw.choice((1, 3))
    return float(points)


def _localization(world: World, found: list[Clue]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return instances and key of the localization: all pairs of regions and inferences."""
    by_scene: dict[int, list[Clue]] = {}
    for clue in found:
        by_scene.setdefault(clue.scene.id, []).append(clue)
    instances: list[dict[str, Any]] = []
    key: dict[str, dict[str, Any]] = {}
    for number, own in by_scene.items():
        if len(own) < 2:
            continue
        draw = world.draw("sherlock", "localization", number)
        proposals = _proposals(draw, own[0].scene)
        for clue in own:
            pairs: list[tuple[Sequence[Box], dict[str, Any]]] = [
                (other.boxes, {"type": "gt", "correct": other is clue, "bbox_idx": other.at})
                for other in own
            ]
            pairs += [
                ((box,), {"type": "auto", "IoU": _overlap(box, clue.boxes), "bbox_idx": at})
                for at, box in enumerate(proposals)
            ]
            for boxes, facts in pairs:
                place = facts["type"], facts["bbox_idx"]
                entry = _entry(clue, boxes, clue.inference, "localization", clue.id, *place)
                instances.append(entry)
                image = entry["image"]["url"]
                key[entry["test_id"]] = {"image": image, "inst_id": clue.id, **facts}
    return instances, key


def _proposals(draw: Random, scene: Scene) -> list[Box]:
    """Return what a detector proposes: about the boxes of all things, and some that are nothing."""
    found = []
    for thing in scene.things:
        left, top, right, bottom = thing.box
        shift = 0.08 * (right - left), 0.08 * (bottom - top)
        moved = [
            edge + draw.uniform(-1, 1) * shift[at % 2]
            for at, edge in enumerate((left, top, right, bottom))
        ]
        found.append(_inside(scene, moved))
    for _ in range(_PROPOSALS):
        left, top = draw.uniform(0, 0.7) * scene.width, draw.uniform(0, 0.7) * scene.height
        wide, high = draw.uniform(0.1, 0.3) * scene.width, draw.uniform(0.1, 0.3) * scene.height
        found.append(_inside(scene, (left, top, left + wide, top + high)))
    return list(dict.fromkeys(found))


def _inside(scene: Scene, edges: Sequence[float]) -> Box:
    left, top, right, bottom = (float(round(edge)) for edge in edges)
    left, top = max(left, 0.0), max(top, 0.0)
    right, bottom = min(right, float(scene.width)), min(bottom, float(scene.height))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _overlap(box: Box, others: Iterable[Box]) -> float:
    """Return the largest intersection over union of a box with one of others."""
    return round(max(_iou(box, other) for other in others), 4)


def _iou(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    both = max(wide, 0.0) * max(high, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both)
