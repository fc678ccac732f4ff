"""COCO-Spatial: on which side of one object does another lie, left or right, above or below?

Ranasinghe et al. 2024 (LocVLM, CVPR, arXiv 2404.07449), section 4.2 and table 4. The 26,716
questions were not released; they are built here from COCO's boxes by the rule that the paper gives:
triplets of objects of three categories that each occur once, every object entirely in one half of
the image, not all in the same half. What the paper leaves open is decided below and listed in
docs/tasks/coco_spatial.md.

    sightline run --task coco_spatial --model transformers:PATH --data COCO_FOLDER

`icl` puts two worked questions about the other two objects before the one that is asked.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from random import Random
from typing import NamedTuple

from harness.errors import DataError
from harness.types import Answer, Decoding, Image, Metric, Sample, Score, Source, Task
from tasks._coco_instances import Scene, Thing, load
from tasks._data import file_sha256

VARIANTS = {"icl": "two worked questions about the other two objects of the triplet come first"}
PUBLISHED = 26_716
SEED = 0


class Axis(NamedTuple):
    """One way to lie apart: the two sides, how it is asked and answered, what counts as said."""

    sides: tuple[str, str]
    start: int
    """Position of the near edge in a box; the far edge is two further."""
    question: str
    answer: str
    words: tuple[str, str]


AXES = {
    "left_right": Axis(
        ("left", "right"),
        0,
        "Which side of the {other} is the {thing}?",
        "The {thing} is on the {side} side of the {other}.",
        ("left", "right"),
    ),
    "above_below": Axis(
        ("above", "below"),
        1,
        "Is the {thing} above or below the {other}?",
        "The {thing} is {side} the {other}.",
        ("above|over|top|upper", "below|under|underneath|beneath|bottom|lower"),
    ),
}


class Question(NamedTuple):
    """`thing` is asked for, relative to `other`; `third` is the rest of the triplet."""

    axis: str
    side: int
    thing: str
    other: str
    third: str


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on COCO's instance annotations (val2014 unless another file is named).

    Raises DataError when no image has a triplet.
    """
    found = load(data, "coco_spatial")
    samples = [
        _sample(scene, question, found.image(scene.file), variant)
        for scene in found.scenes
        for question in questions(scene)
    ]
    counts = Counter((sample.groups["axis"], sample.target) for sample in samples)
    if not samples:
        raise DataError(
            f"{found.path}: none of {len(found.scenes):,} images has three objects of categories "
            "that occur once, each in one half of the image and not all in the same"
        )
    axes = [axis for axis in AXES if any(key[0] == axis for key in counts)]
    return Task(
        name=f"coco_spatial/{variant}" if variant else "coco_spatial",
        version="1",
        source=Source(
            str(found.path),
            found.version,
            found.split,
            "CC BY 4.0",
            {found.path.name: file_sha256(found.path)},
        ),
        samples=lambda: samples,
        score=_score,
        scorer="coco_spatial/words@1",
        metrics=tuple(metric for axis in axes for metric in _metrics(axis)),
        headline=axes[0],
        decoding=Decoding(max_tokens=64, temperature=0.2),
        chance=50.0,
        notes=_notes(counts, samples),
    )


def _metrics(axis: str) -> Iterator[Metric]:
    yield Metric(axis, where={"axis": axis})
    for side in AXES[axis].sides:
        yield Metric(side, where={"axis": axis, "side": side})


def _notes(counts: Counter[tuple[str, str]], samples: Sequence[Sample]) -> tuple[str, ...]:
    listed = ", ".join(
        f"{side} {counts[axis, side]:,}" for axis, way in AXES.items() for side in way.sides
    )
    images = len({sample.cluster for sample in samples})
    return (
        f"built here: {len(samples):,} questions on {images:,} images ({listed}); the paper's "
        f"{PUBLISHED:,} were not released, so its numbers are a guide and not a target",
    )


def questions(scene: Scene) -> Iterator[Question]:
    """Yield two questions per axis on which the image has a triplet.

    One triplet is drawn (by seed and image id) of all there are. One of its objects is alone in
    its half; each of the other two is asked for relative to it. So a worked example never has to
    give the pair that is asked, and of the two examples one has each answer.
    """
    often = Counter(thing.name for thing in scene.things)
    singles = sorted((t for t in scene.things if often[t.name] == 1), key=lambda t: t.name)
    for name, axis in AXES.items():
        size = (scene.width, scene.height)[axis.start]
        halves = {t.name: side for t in singles if (side := _half(t, axis, size)) is not None}
        triplets = [
            triplet for triplet in combinations(halves, 3) if len({halves[t] for t in triplet}) == 2
        ]
        if not triplets:
            continue
        triplet = Random(f"{SEED}/{scene.id}/{name}").choice(triplets)
        shared = Counter(halves[thing] for thing in triplet).most_common(1)[0][0]
        alone = next(thing for thing in triplet if halves[thing] != shared)
        first, second = (thing for thing in triplet if thing != alone)
        yield Question(name, shared, first, alone, second)
        yield Question(name, shared, second, alone, first)


def _half(thing: Thing, axis: Axis, size: float) -> int | None:
    """Return 0 or 1 for a box entirely in the first or second half, None for one across."""
    if thing.box[axis.start + 2] <= size / 2:
        return 0
    return 1 if thing.box[axis.start] >= size / 2 else None


def _sample(scene: Scene, question: Question, image: Image, variant: str) -> Sample:
    axis = AXES[question.axis]
    text = axis.question.format(thing=question.thing, other=question.other)
    lines = _worked(question, scene.id) if variant == "icl" else []
    return Sample(
        id=f"{scene.id}/{question.axis}/{question.thing}",
        prompt=(image, "\n".join([*lines, text])),
        target=axis.sides[question.side],
        choices=axis.sides,
        cluster=scene.file,
        groups={"axis": question.axis, "side": axis.sides[question.side]},
        facts={"question": text},
    )


def _worked(question: Question, scene: str) -> list[str]:
    """Return question and answer for the third object and for the one that is alone."""
    axis = AXES[question.axis]
    pairs = [
        (question.third, question.other, axis.sides[question.side]),
        (question.other, question.third, axis.sides[1 - question.side]),
    ]
    Random(f"{SEED}/{scene}/{question}").shuffle(pairs)
    return [
        line.format(thing=thing, other=other, side=side)
        for thing, other, side in pairs
        for line in (axis.question, axis.answer)
    ]


def said_side(text: str, axis: Axis) -> str | None:
    """Return the side whose word stands in the text; None for neither or both."""
    said = [
        side
        for side, words in zip(axis.sides, axis.words, strict=True)
        if re.search(rf"\b(?:{words})\b", text, re.IGNORECASE)
    ]
    return said[0] if len(said) == 1 else None


def _score(sample: Sample, answer: Answer) -> Score:
    side = said_side(answer.text, AXES[sample.groups["axis"]])
    return Score(float(side == sample.target), side, "scored" if side else "unparsed")
