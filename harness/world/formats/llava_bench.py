"""LLaVA-Bench: open questions with reference answers and what the judge is told about the picture.

The folder itself is in In-the-Wild's layout (`questions.jsonl`, `answers_gpt4.jsonl`,
`context.jsonl`, `rule.json`, images/), `coco/` in COCO's (`qa90_questions.jsonl`,
`qa90_gpt4_answer.jsonl`, `caps_boxes_coco2014_val_80.jsonl`, images/). Both have the published
counts where there are pictures enough (24 and 30 test scenes), fewer questions otherwise. The
judge's rules are in our own words. Imports harness.world alone.
"""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats._names import Names
from harness.world.formats._paper import document, lines
from harness.world.formats._talk import DETAIL, conversation, detail, reasoning
from harness.world.scene import Scene, World

CATEGORIES = ("conv", "detail", "complex")
WILD = {"conv": 17, "detail": 15, "complex": 28}
COCO = {"conv": 30, "detail": 30, "complex": 30}
_FEW = {"wild": 29, "coco": 44}
"""The most questions of a set that is not taken for a damaged copy of the published one."""
_ASK = (
    "Please rate two assistants by their answers to the question above, which is about a picture. "
    "You do not see the picture: {context} "
    "Judge how helpful, relevant, accurate and detailed the answers are. Give each a score from 1 "
    "to 10, the higher the better.\n"
    "Write on the first line only the two scores, that of Assistant 1 and then that of Assistant "
    "2, with a space between them. Explain them on the following lines. Do not be swayed by the "
    "order of the answers."
)
_TOLD = {
    "": "it is given by sentences that describe it and by the boxes of its objects, (x1, y1, x2, "
    "y2) as fractions of width and height, left and top first.",
    "llava_bench_": "it is given by sentences that describe it.",
}


@dataclass(frozen=True)
class Question:
    """One question about a scene with its reference answer."""

    scene: Scene
    category: str
    text: str
    answer: str


def write(world: World, folder: Path) -> None:
    """Write both sets with their pictures and the judge's rules."""
    document(folder / "rule.json", rules())
    scenes = world.split("test")
    _wild(world, folder, _drawn(world, scenes, "wild", 24, WILD))
    _coco(world, folder / "coco", _drawn(world, scenes, "coco", 30, COCO))


def rules() -> dict[str, dict[str, str]]:
    """Return what the judge is asked for, by category."""
    return {
        prefix + category: {"role": "Assistant", "prompt": _ASK.replace("{context}", told)}
        for prefix, told in _TOLD.items()
        for category in CATEGORIES
    }


def _drawn(
    world: World, scenes: tuple[Scene, ...], name: str, pictures: int, counts: dict[str, int]
) -> list[Question]:
    """Draw questions: the published numbers of each category, or a few where scenes lack."""
    draw = world.draw("llava_bench", name)
    found: dict[str, list[Question]] = {category: [] for category in CATEGORIES}
    chosen = sorted(draw.sample(scenes, min(pictures, len(scenes))), key=lambda scene: scene.id)
    for scene in chosen:
        for question in _questions(scene, draw):
            found[question.category].append(question)
    if len(chosen) == pictures and all(len(found[c]) >= n for c, n in counts.items()):
        kept = [q for c, n in counts.items() for q in draw.sample(found[c], n)]
    else:
        every = [question for category in CATEGORIES for question in found[category]]
        kept = draw.sample(every, min(len(every), _FEW[name]))
    return sorted(kept, key=lambda q: (q.scene.id, CATEGORIES.index(q.category), q.text))


def _questions(scene: Scene, draw: Random) -> list[Question]:
    """Return one question of each category about a scene, two of those that need reasons."""
    names = Names(scene)
    found = [Question(scene, "conv", *conversation(names, draw)[0])]
    found.append(Question(scene, "detail", draw.choice(DETAIL), detail(names, draw)))
    return found + [Question(scene, "complex", *turn) for turn in reasoning(names, draw)[:2]]


def _wild(world: World, folder: Path, found: list[Question]) -> None:
    names = _names(found)
    asked, answered = [], []
    for number, question in enumerate(found):
        image = f"{names[question.scene.id]}.jpg"
        asked.append(
            {
                "image": image,
                "text": question.text,
                "category": question.category,
                "question_id": number,
            }
        )
        answered.append(
            {
                "question_id": number,
                "prompt": question.text,
                "answer_id": f"reference{number:04d}",
                "model_id": "scene world",
                "metadata": {},
                "text": question.answer,
            }
        )
    contexts = []
    for scene in _scenes(found):
        name = names[scene.id]
        draw = world.draw("llava_bench", "context", scene.id)
        contexts.append({"id": name, "image": f"{name}.jpg", "caption": detail(Names(scene), draw)})
        world.place(scene, folder / "images" / f"{name}.jpg")
    lines(folder / "questions.jsonl", asked)
    lines(folder / "answers_gpt4.jsonl", answered)
    lines(folder / "context.jsonl", contexts)


def _names(found: list[Question]) -> dict[int, str]:
    """Return "001", "002", ... by scene."""
    return {scene.id: f"{number:03d}" for number, scene in enumerate(_scenes(found), 1)}


def _scenes(found: list[Question]) -> list[Scene]:
    return list({question.scene.id: question.scene for question in found}.values())


def _coco(world: World, folder: Path, found: list[Question]) -> None:
    asked, answered = [], []
    for number, question in enumerate(found):
        image = f"{question.scene.id:012d}.jpg"
        kind = question.category
        asked.append(
            {"question_id": number, "image": image, "text": question.text, "category": kind}
        )
        answered.append({"question_id": number, "text": question.answer, "category": kind})
    contexts = []
    for scene in _scenes(found):
        contexts.append(_captioned(world, scene))
        world.place(scene, folder / "images" / f"COCO_val2014_{scene.id:012d}.jpg")
    lines(folder / "qa90_questions.jsonl", asked)
    lines(folder / "qa90_gpt4_answer.jsonl", answered)
    lines(folder / "caps_boxes_coco2014_val_80.jsonl", contexts)


def _captioned(world: World, scene: Scene) -> dict[str, Any]:
    """Return five captions and the boxes of all objects, as fractions with three decimals."""
    draw = world.draw("llava_bench", "captions", scene.id)
    size = (scene.width, scene.height) * 2
    return {
        "id": f"{scene.id:012d}",
        "image": f"{scene.id:012d}.jpg",
        "captions": wording.captions(scene, draw, 5),
        "instances": [
            {
                "category": thing.kind,
                "bbox": [round(x / of, 3) for x, of in zip(thing.box, size, strict=True)],
            }
            for thing in scene.things
        ],
    }
