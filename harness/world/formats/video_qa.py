"""Video QA: short questions about what happens in a clip, in the layouts of four data sets.

ActivityNet-QA (`{train,test}_q.json` with `_a.json`; types 0 motion, 1 spatial relationship,
3 yes/no, 4 colour, 5 object, 6 location, 7 number), MSVD-QA and MSRVTT-QA (`{train,val}_qa.json`,
videos by number), TGIF-QA FrameQA (tgif/`{Train,Test}_frameqa_question.csv`, types 0 object,
1 number, 2 colour, 3 location) and `VideoInstruct100K.json` as Video-ChatGPT trains on. Clips are
not encoded: frames/<video>/ has their frames, which is what tasks/video_qa.py shows a model.
Imports harness.world alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats._paper import document, link
from harness.world.lore import EVENTS, KINDS, PLACES
from harness.world.scene import Clip, Scene, Thing, World

MOTION, SPATIAL, YES_NO, COLOUR, OBJECT, LOCATION, NUMBER = 0, 1, 3, 4, 5, 6, 7
"""ActivityNet-QA's own numbers."""
_TGIF = {OBJECT: 0, NUMBER: 1, COLOUR: 2, LOCATION: 3}
_HEAD = ("gif_name", "question", "answer", "type", "vid_id", "key")


@dataclass(frozen=True)
class Asked:
    """One question about a clip."""

    clip: Clip
    question: str
    answer: str
    kind: int


def write(world: World, folder: Path) -> None:
    """Write the questions of both splits in every layout, and the frames."""
    for split, tests in (("train", ("train", "train")), ("test", ("test", "val"))):
        clips = [clip for clip in world.clips if clip.split == split]
        found = [asked for clip in clips for asked in questions(world, clip)]
        _pairs(folder, tests[0], found)
        document(folder / f"{tests[1]}_qa.json", [_numbered(n, a) for n, a in enumerate(found)])
        _table(folder / "tgif" / f"{split.title()}_frameqa_question.csv", found)
        for clip in clips:
            _frames(world, folder, clip)
        if split == "train":
            document(folder / "VideoInstruct100K.json", [_instruction(a) for a in found])


def questions(world: World, clip: Clip) -> list[Asked]:
    """Return the questions about a clip: what happens, to what, where, and as many yes as no."""
    draw = world.draw("video_qa", clip.id)
    return [Asked(clip, question, answer, kind) for question, answer, kind in _ask(clip, draw)]


def _shown(clip: Clip) -> Scene:
    """Return a frame in which the subject is to be seen."""
    return next(s for s in clip.frames if any(t.id == clip.subject for t in s.things))


def _ask(clip: Clip, draw: Random) -> Iterator[tuple[str, str, int]]:
    scene = _shown(clip)
    thing = scene.thing(clip.subject)
    named, event = wording.the(scene, thing), EVENTS[clip.event]
    yield draw.choice((f"what does {named} do?", f"what happens to {named}?")), event, MOTION
    yield f"what {event}?" if not thing.person else f"who {event}?", wording.noun(thing), OBJECT
    if not thing.person and len(scene.of_kind(thing.kind)) == 1:
        yield f"what color is the {thing.kind} that {event}?", thing.colour, COLOUR
    yield draw.choice(("where is this?", "where does this happen?")), scene.place, LOCATION
    yield _whether(draw, thing, clip.event)
    if clip.event in ("moves left", "moves right"):
        side = clip.event.removeprefix("moves ")
        yield f"does {named} move to the left or to the right?", side, SPATIAL
    yield from _still(scene, thing, draw)


def _still(scene: Scene, subject: Thing, draw: Random) -> Iterator[tuple[str, str, int]]:
    """Ask about what stays as it is, in every frame."""
    kinds = sorted({thing.kind for thing in scene.things} - {subject.kind})
    for kind in draw.sample(kinds, min(2, len(kinds))):
        found = scene.of_kind(kind)
        yield f"how many {wording.plural(kind)} are there?", str(len(found)), NUMBER
        if len(found) == 1 and kind != "person":
            yield f"what color is the {kind}?", found[0].colour, COLOUR


def _whether(draw: Random, thing: Thing, event: str) -> tuple[str, str, int]:
    """Ask whether something happened: yes half of the time, else another event or kind."""
    kind = thing.kind
    answer = draw.choice(("yes", "no"))
    if answer == "no":
        if draw.random() < 0.5:
            event = draw.choice([other for other in EVENTS if other != event])
        else:
            kind = draw.choice([other for other in KINDS if other != kind])
    return f"is there {wording.article(kind)} that {EVENTS[event]}?", answer, YES_NO


def _names(clip: Clip) -> tuple[str, str, str]:
    """Return how ActivityNet-QA, MSVD-QA and MSRVTT-QA call a clip."""
    return f"clip{clip.id:06d}", f"vid{clip.id}", f"video{clip.id}"


def _pairs(folder: Path, split: str, found: list[Asked]) -> None:
    """Write ActivityNet-QA's two files."""
    asked, answered = [], []
    seen: dict[int, int] = {}
    for row in found:
        number = seen[row.clip.id] = seen.get(row.clip.id, 0) + 1
        video = _names(row.clip)[0]
        name = f"v_{video}_{number}"
        question = row.question.rstrip("?")
        asked.append({"question": question, "video_name": video, "question_id": name})
        answered.append({"answer": row.answer, "type": row.kind, "question_id": name})
    document(folder / f"{split}_q.json", asked)
    document(folder / f"{split}_a.json", answered)


def _numbered(number: int, row: Asked) -> dict[str, Any]:
    """Return an entry of MSRVTT-QA, which is MSVD-QA's with a category."""
    return {
        "answer": row.answer,
        "category_id": list(PLACES).index(row.clip.frames[0].place),
        "id": number,
        "question": row.question,
        "video_id": row.clip.id,
    }


def _table(path: Path, found: list[Asked]) -> None:
    """Write TGIF-QA's table of the questions that one frame answers."""
    rows = [
        (_names(row.clip)[0], row.question, row.answer, str(_TGIF[row.kind]), f"ID{row.clip.id}")
        for row in found
        if row.kind in _TGIF
    ]
    lines = ["\t".join(_HEAD), *("\t".join((*row, str(n))) for n, row in enumerate(rows))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _instruction(row: Asked) -> dict[str, str]:
    return {"q": row.question, "a": row.answer, "video_id": _names(row.clip)[0]}


def _frames(world: World, folder: Path, clip: Clip) -> None:
    """Link the frames of a clip under each name that the layouts have for it."""
    activitynet, msvd, msrvtt = _names(clip)
    for place in (
        *(folder / "frames" / name for name in (activitynet, msvd, msrvtt)),
        folder / "tgif" / "frames" / activitynet,
    ):
        place.mkdir(parents=True, exist_ok=True)
        for path in world.frames(clip):
            link(path, place / path.name)
