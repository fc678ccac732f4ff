"""Conversations about scenes that are told and not shown: what a chat model reads before pictures.

`conversations.json`: records as in formats/instruct.py without a picture. The first question comes
after a description of a training scene: its things in a list (noun first, as in region_captions),
some relations, the place, words that are written somewhere, in any order. Some conversations have
answers in sentences (LLaVA's), some of a word (VQAv2's), asked for with the usual sentence in the
first question. A small language model learns here to look up what it is asked about, as published
ones have from their text (trainers/small.py). Imports harness.world alone.
"""

from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats import _short as short
from harness.world.formats._names import Names
from harness.world.formats._paper import document
from harness.world.formats._talk import SPACE, Turn, conversation
from harness.world.formats.region_captions import looks
from harness.world.scene import Thing, World

_EACH = 5
"""Conversations about a scene."""
_SHORT = 0.5
"""Share of conversations with answers of a word."""
_MOST = {"words": 12, "sentences": 8}
"""Questions of a conversation."""
_RELATIONS = 3


def write(world: World, folder: Path) -> None:
    """Write the conversations."""
    found = []
    for scene in world.split("train"):
        names = Names(scene)
        for number in range(_EACH):
            draw = world.draw("reading", scene.id, number)
            if turns := _turns(names, draw):
                found.append(_record(f"reading/{scene.id:012d}-{number}", names, turns, draw))
    world.draw("reading", "order").shuffle(found)
    document(folder / "conversations.json", found)


def _turns(names: Names, draw: Random) -> list[Turn]:
    if draw.random() >= _SHORT:
        return conversation(names, draw)[: _MOST["sentences"]]
    turns = short.vqav2(names, draw)[: _MOST["words"]]
    return [(turns[0][0] + short.SHORT, turns[0][1]), *turns[1:]] if turns else []


def _record(id: str, names: Names, turns: list[Turn], draw: Random) -> dict[str, Any]:
    said = [
        {"from": who, "value": text}
        for turn in turns
        for who, text in zip(("human", "gpt"), turn, strict=True)
    ]
    said[0]["value"] = f"{told(names, draw)}\n{said[0]['value']}"
    return {"id": id, "conversations": said}


def told(names: Names, draw: Random) -> str:
    """Return a description of a scene, its parts in any order."""
    scene = names.scene
    listed = [_listed(names, thing) for thing in scene.things]
    draw.shuffle(listed)
    parts = [", ".join(listed) + "."]
    every = {frozenset((r.subject, r.object)): r for r in names.relations() if r.name in SPACE}
    chosen = draw.sample(list(every.values()), min(_RELATIONS, len(every)))
    parts += [wording.sentence(names.related(relation)) for relation in chosen]
    where = f"this is a scene {wording.place(scene)} {wording.time(scene)}"
    parts.append(wording.sentence(where))
    parts += [f'{names.the(thing)} says "{thing.text}".' for thing in names.objects if thing.text]
    draw.shuffle(parts)
    return " ".join(parts)


def _listed(names: Names, thing: Thing) -> str:
    """Return "dog red striped large"; of people also what they do, if that can be said."""
    doing = (names.doing(thing),) if thing.person else ()
    return " ".join((wording.noun(thing), *looks(thing), *(text for text in doing if text)))
