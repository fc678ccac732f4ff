"""GQA: balanced questions with programs, entailments, choices and scene graphs.

    questions      {train,testdev}_balanced_questions.json
    choices        {train,testdev}_choices.json: valid and plausible answers
    scene graphs   {train,testdev}_sceneGraphs.json
    pictures       images/<imageId>.jpg

Hudson and Manning 2019 (arXiv 1902.09506); fields and their order as in questions1.2.zip. Unlike
there, test-dev comes with choices and scene graphs, and every entailed question is in the same
file, so that consistency, validity, plausibility and distribution can be computed. Answers are
evened out within each kind of question: without the picture, yes-no questions and questions with
two choices are at 50 %. Candidates: _gqa_asks.py,
_gqa_scene.py, _gqa_kinds.py, _gqa_relations.py. Imports harness.world.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from harness.world.formats import _gqa_asks, _gqa_kinds, _gqa_relations, _gqa_scene
from harness.world.formats._deal import even, thin
from harness.world.formats._gqa_asks import Asking, values_of
from harness.world.formats._gqa_refs import Ask, closure, number, spans
from harness.world.formats._paper import document
from harness.world.scene import Scene, Split, Thing, World
from harness.world.wording import noun

_KINDS = (
    _gqa_asks.attributes,
    _gqa_asks.positions,
    _gqa_scene.activities,
    _gqa_scene.places,
    _gqa_kinds.existence,
    _gqa_relations.layout,
    _gqa_kinds.families,
    _gqa_relations.doings,
    _gqa_relations.likeness,
)
_OPEN = 1.25
"""An open answer may be this much commoner than the average answer to such questions."""
_SIZE = 30
"""Most questions of a scene."""
_MOST: Mapping[Split, int] = {"train": 1_000_000, "test": 6_200}
"""Most questions of a split: fewer than half of the published test-dev set, see `_deal.thin`."""
_TIERS: tuple[tuple[str, Split], ...] = (("train", "train"), ("testdev", "test"))


def write(world: World, folder: Path) -> None:
    """Write both tiers. `folder` is what `sightline run --task gqa --data` takes."""
    plausible: dict[tuple[str, str], set[str]] = defaultdict(set)
    asked = {tier: _balanced(world, split) for tier, split in _TIERS}
    for ask in (ask for rows in asked.values() for _, ask in rows):
        plausible[ask.about].add(ask.answer)
    for tier, split in _TIERS:
        questions: dict[str, dict[str, Any]] = {}
        choices: dict[str, dict[str, list[str]]] = {}
        for scene, rows in _by_scene(asked[tier]):
            questions |= _numbered(scene, rows)
            for id, ask in zip(_ids(scene, rows), rows, strict=True):
                choices[id] = _choices(ask, plausible)
            world.place(scene, folder / "images" / f"{scene.id}.jpg")
        document(folder / f"{tier}_balanced_questions.json", questions)
        document(folder / f"{tier}_choices.json", choices)
        graphs = {str(scene.id): scene_graph(scene) for scene in world.split(split)}
        document(folder / f"{tier}_sceneGraphs.json", graphs)


def _balanced(world: World, split: Split) -> list[tuple[Scene, Ask]]:
    """Return the questions of a split, evened out, in the order of the scenes."""
    values: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, value in chain.from_iterable(map(values_of, world.split(split))):
        values[key].append(value)
    nouns = [
        name
        for scene in world.split(split)
        for name in sorted({noun(thing) for thing in scene.things})
    ]
    colours = tuple(dict.fromkeys(thing.colour for s in world.scenes for thing in s.things))
    rows: list[tuple[Scene, Ask]] = []
    size = min(_SIZE, max(_MOST[split] // max(len(world.split(split)), 1), 1))
    for scene, rng in world.each(split, "gqa"):
        asking = Asking(scene, rng, values, nouns, tuple(sorted(colours)))
        found = {ask.text: ask for make in _KINDS for ask in make(asking)}
        kept = rng.sample(list(found.values()), min(size, len(found)))
        rows += [(scene, ask) for ask in kept]
    rng = world.draw("gqa", split)
    rows = thin(rows, _MOST[split], rng)
    rng.shuffle(rows)
    return sorted(_evened(rows), key=lambda row: row[0].id)


def _evened(rows: Sequence[tuple[Scene, Ask]]) -> Iterator[tuple[Scene, Ask]]:
    """Even out answers: exactly where two are possible, open ones within a margin."""
    two = [row for row in rows if len(row[1].valid) == 2 or row[1].types[0] == "compare"]
    closed = set(map(id, two))
    more = [row for row in rows if id(row) not in closed]
    for part, slack in ((two, 1.0), (more, _OPEN)):
        yield from even(part, lambda row: row[1].balance, lambda row: row[1].answer, slack)


def _by_scene(rows: Sequence[tuple[Scene, Ask]]) -> Iterator[tuple[Scene, list[Ask]]]:
    grouped: dict[int, tuple[Scene, list[Ask]]] = {}
    for scene, ask in rows:
        grouped.setdefault(scene.id, (scene, []))[1].append(ask)
    yield from grouped.values()


def _ids(scene: Scene, rows: Sequence[Ask]) -> list[str]:
    """Return question ids: digits with zeros in front, as GQA's are."""
    return [f"{scene.id:06d}{at:02d}" for at in range(len(rows))]


def _numbered(scene: Scene, rows: Sequence[Ask]) -> dict[str, dict[str, Any]]:
    """Return a scene's questions by id, with the links between them."""
    ids = _ids(scene, rows)
    known = [closure(scene, ask.gives) for ask in rows]
    follows = [
        [ids[j] for j, other in enumerate(rows) if any(need <= known[i] for need in other.needs)]
        for i in range(len(rows))
    ]
    out = {}
    for i, (id, ask) in enumerate(zip(ids, rows, strict=True)):
        mutual = [o for o in follows[i] if o != id and id in follows[ids.index(o)]]
        entailed = [o for o in follows[i] if o != id]
        out[id] = _question(scene, ask, entailed, [id, *mutual])
    return out


def _question(scene: Scene, ask: Ask, entailed: list[str], equivalent: list[str]) -> dict[str, Any]:
    structural, semantic, detailed = ask.types
    steps = [
        {"operation": operation, "dependencies": list(uses), "argument": argument}
        for operation, argument, uses in ask.program
    ]
    shown = {"0": number(scene, ask.shown)} if ask.shown else {}
    return {
        "semantic": steps,
        "entailed": entailed,
        "equivalent": equivalent,
        "question": ask.text,
        "imageId": str(scene.id),
        "isBalanced": True,
        "groups": {"global": ask.globals, "local": ask.local},
        "answer": ask.answer,
        "semanticStr": "->".join(
            f"{operation}: {argument}" + (f" {list(uses)}" if uses else "")
            for operation, argument, uses in ask.program
        ),
        "annotations": {
            "answer": shown,
            "question": spans(ask.text, ask.named, scene),
            "fullAnswer": spans(ask.full, ask.named, scene),
        },
        "types": {"detailed": detailed, "semantic": semantic, "structural": structural},
        "fullAnswer": ask.full,
    }


def _choices(ask: Ask, plausible: dict[tuple[str, str], set[str]]) -> dict[str, list[str]]:
    """Return the answers that the question admits, and those that such things have anywhere."""
    if not ask.about[0] or len(ask.valid) == 2:
        return {"valid": list(ask.valid), "plausible": list(ask.valid)}
    known = plausible[ask.about]
    return {"valid": list(ask.valid), "plausible": [v for v in ask.valid if v in known]}


def scene_graph(scene: Scene) -> dict[str, Any]:
    """Return a scene in the format of sceneGraphs.zip: objects, attributes, relations."""
    return {
        "width": scene.width,
        "height": scene.height,
        "location": "indoors" if scene.indoors else "outdoors",
        "objects": {number(scene, thing): _node(scene, thing) for thing in scene.things},
    }


def _node(scene: Scene, thing: Thing) -> dict[str, Any]:
    left, top, right, bottom = thing.box
    person = thing.person
    traits = [_gqa_asks.doing(person.action), person.mood] if person else [thing.colour]
    relations = [
        {"object": number(scene, scene.thing(relation.object)), "name": relation.name}
        for relation in scene.relations
        if relation.subject == thing.id
    ]
    return {
        "name": noun(thing),
        "x": round(left),
        "y": round(top),
        "w": max(round(right - left), 1),
        "h": max(round(bottom - top), 1),
        "attributes": traits if person else [*traits, thing.size, thing.material],
        "relations": relations,
    }
