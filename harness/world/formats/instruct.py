"""Instruction records of the training scenes, in LLaVA's files, and LLaVA-1.5's mixture.

`conversation_58k.json`, `detail_23k.json`, `complex_reasoning_77k.json` (Liu et al. 2023) and
`llava_instruct.json` of all three; `mix.json` is composed like LLaVA-1.5's mixture (Liu et al.
2024, section 4.3). A record is {id, image, conversations: [{from, value}]}; no `image` where it is
text alone. The id begins with the source (`vqav2/000000000012`), so that a ladder of mixtures can
choose; `mix_sources.json` counts the records of each. Image paths are relative to this folder.

Short answers are asked for with the sentence that our tasks use, in every turn; boxes are fractions
of the picture padded to a square, x1, y1, x2, y2 with two decimals. Train split alone.
Imports harness.world alone.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats import _short as short
from harness.world.formats._names import Names
from harness.world.formats._paper import document
from harness.world.formats._talk import DETAIL, Turn, conversation, detail, reasoning
from harness.world.formats._text_only import conversations
from harness.world.formats.gqa import _balanced as gqa_questions
from harness.world.scene import Scene, Thing, World

Record = dict[str, Any]
BOX = "Please provide the bounding box coordinate of the region this sentence describes: {}"
REGION = "Please provide a short description for this region: {}"
CAPTION = "Provide a one-sentence caption for the provided image.\nReference OCR token: {}"
_MOST = {"vqav2": 8, "gqa": 5, "okvqa": 2, "ocr_vqa": 3, "aokvqa": 2, "boxes": 4}
"""Questions of one picture in one conversation."""
_DETAIL = 0.4
"""Share of the pictures with a detailed description: 23K for 58K conversations."""
_TEXT_ONLY = 0.25
"""Conversations without a picture per scene of the split."""


def write(world: World, folder: Path) -> None:
    """Write LLaVA's three files, all of them as one, the mixture, and the pictures."""
    known = [Names(scene) for scene in world.split("train")]
    kinds = {
        "conversation_58k.json": [r for names in known for r in _conversation(world, names)],
        "detail_23k.json": [r for names in known for r in _detail(world, names)],
        "complex_reasoning_77k.json": [r for names in known for r in _reasoning(world, names)],
    }
    for name, records in kinds.items():
        document(folder / name, records)
    every = [record for records in kinds.values() for record in records]
    world.draw("instruct", "order").shuffle(every)
    document(folder / "llava_instruct.json", every)
    mix = [*every, *_compositional(world)]
    mix += [record for names in known for record in mixed(world, names)]
    mix += _text_only(world, round(_TEXT_ONLY * len(known)))
    world.draw("instruct", "mix").shuffle(mix)
    document(folder / "mix.json", mix)
    counts = Counter(record["id"].partition("/")[0] for record in mix)
    document(folder / "mix_sources.json", dict(sorted(counts.items())))
    for names in known:
        world.place(names.scene, folder / image(names.scene))


def image(scene: Scene) -> str:
    """Return the path of a picture, as LLaVA-1.5's mixture has COCO's."""
    return f"coco/train2017/{scene.id:012d}.jpg"


def _record(scene: Scene | None, id: str, turns: Sequence[Turn]) -> Record:
    """Return a record; the picture comes before the first question."""
    said = []
    for number, (question, answer) in enumerate(turns):
        slot = "<image>\n" if scene and number == 0 else ""
        said.append({"from": "human", "value": slot + question})
        said.append({"from": "gpt", "value": answer})
    picture = {} if scene is None else {"image": image(scene)}
    return {"id": id, **picture, "conversations": said}


def _conversation(world: World, names: Names) -> Iterator[Record]:
    draw = world.draw("instruct", "conversation", names.scene.id)
    turns = conversation(names, draw)[: draw.randint(3, 5)]
    yield _record(names.scene, _id("llava/conversation", names.scene), turns)


def _detail(world: World, names: Names) -> Iterator[Record]:
    draw = world.draw("instruct", "detail", names.scene.id)
    if draw.random() < _DETAIL:
        turn = draw.choice(DETAIL), detail(names, draw)
        yield _record(names.scene, _id("llava/detail", names.scene), [turn])


def _reasoning(world: World, names: Names) -> Iterator[Record]:
    """Yield one question or two, so that there are 77K for 58K conversations."""
    draw = world.draw("instruct", "reasoning", names.scene.id)
    count = 2 if draw.random() < 1 / 3 else 1
    for number, turn in enumerate(reasoning(names, draw)[:count]):
        yield _record(names.scene, f"{_id('llava/complex', names.scene)}-{number}", [turn])


def _id(source: str, scene: Scene) -> str:
    return f"{source}/{scene.id:012d}"


def _compositional(world: World) -> Iterator[Record]:
    """Yield questions of GQA's train file, several of one picture in one conversation."""
    asked: dict[int, tuple[Scene, list[Turn]]] = {}
    for scene, ask in gqa_questions(world, "train"):
        asked.setdefault(scene.id, (scene, []))[1].append((ask.text, ask.answer))
    for scene, turns in asked.values():
        draw = world.draw("instruct", "gqa", scene.id)
        kept = draw.sample(turns, min(_MOST["gqa"], len(turns)))
        yield _record(scene, _id("gqa", scene), _briefly(kept))


def _briefly(turns: Sequence[Turn]) -> list[Turn]:
    """Return questions with the sentence that asks for a word or a phrase."""
    return [(question + short.SHORT, answer) for question, answer in turns]


def mixed(world: World, names: Names) -> Iterator[Record]:
    """Yield what LLaVA-1.5 adds about a scene, all but GQA's questions."""
    scene = names.scene
    asks: dict[str, Callable[[Names, Random], list[Turn]]] = {
        "vqav2": short.vqav2,
        "okvqa": short.okvqa,
        "ocr_vqa": short.ocr_vqa,
    }
    for source, ask in asks.items():
        if turns := ask(names, world.draw("instruct", source, scene.id))[: _MOST[source]]:
            yield _record(scene, _id(source, scene), _briefly(turns))
    lettered = short.aokvqa(names, world.draw("instruct", "aokvqa", scene.id))
    for number, (question, answer) in enumerate(lettered[: _MOST["aokvqa"]]):
        turn = question + short.LETTER, answer
        yield _record(scene, f"{_id('aokvqa', scene)}-{number}", [turn])
    if caption := _captioned(names, world.draw("instruct", "textcaps", scene.id)):
        yield _record(scene, _id("textcaps", scene), [caption])
    for source, phrase in (("refcoco", _expression), ("vg", _statement)):
        if turns := _regions(names, world.draw("instruct", source, scene.id), phrase):
            yield _record(scene, _id(source, scene), turns)


def _captioned(names: Names, draw: Random) -> Turn | None:
    """Return a caption that the words in the picture belong to; None where there are none."""
    worded = [thing for thing in names.scene.things if thing.text]
    if not worded:
        return None
    thing = draw.choice(worded)
    where = wording.place(names.scene)
    tokens = ", ".join(other.text for other in worded)
    answer = wording.sentence(f'{wording.some(thing)} {where} says "{thing.text}"')
    return CAPTION.replace("{}", tokens), answer


def _expression(names: Names, thing: Thing, draw: Random) -> str:
    """Return a phrase that means one thing of the picture, without its article."""
    return draw.choice(names.found(thing)[:5]).text


def _statement(names: Names, thing: Thing, draw: Random) -> str:
    """Return a sentence about a thing, as people describe regions."""
    facts = [names.related(relation) for relation in names.relations(thing)]
    if what := names.doing(thing):
        facts.append(f"{names.the(thing)} is {what}")
    plain = names.plainly(thing, thing.colour)
    if plain and not thing.person:
        facts += [f"{plain} is {thing.colour}"] * 2
    return wording.sentence(draw.choice(facts)) if facts else names.the(thing)


def _regions(
    names: Names, draw: Random, phrase: Callable[[Names, Thing, Random], str]
) -> list[Turn]:
    """Return questions from box to words and from words to box, each thing once."""
    turns = []
    for thing in draw.sample(names.clear, min(_MOST["boxes"], len(names.clear))):
        text, box = phrase(names, thing, draw), fractions(names.scene, thing)
        if draw.random() < 0.5:
            turns.append((REGION.replace("{}", f"{box}."), text))
        else:
            turns.append((BOX.replace("{}", text), str(box)))
    return turns


def fractions(scene: Scene, thing: Thing) -> list[float]:
    """Return a box as fractions of the padded square: x1, y1, x2, y2 with two decimals.

    The picture lies in the middle of the square, its offset cut to a whole pixel, as LLaVA pads.
    """
    side = max(scene.width, scene.height)
    offset = ((side - scene.width) // 2, (side - scene.height) // 2) * 2
    return [round((x + by) / side, 2) for x, by in zip(thing.box, offset, strict=True)]


def _text_only(world: World, count: int) -> list[Record]:
    draw = world.draw("instruct", "sharegpt")
    found = conversations(draw, count)
    return [_record(None, f"sharegpt/{n:06d}", turns) for n, turns in enumerate(found)]
