"""Zero-shot segmentation of COCO-Stuff: which of 171 classes does each pixel have?

The annotation-free test of MaskCLIP (Zhou et al. 2022, arXiv 2112.01071), with which REACT shows
that a customised CLIP helps on pixels (dissertation, table 2.5: 12.5 for CLIP's ViT-B/16, 14.4 and
14.5 for REACT). Mean IoU over COCO-Stuff's 171 classes.

    sightline run -t coco_stuff_zeroshot -m transformers:PATH -d COCO_STUFF_FOLDER

A sample is a picture, the answer a map of classes as text (harness/classmap.py), which a dual
encoder makes from its dense features (harness/engine/dense.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness import classmap, fingerprint
from harness.types import Answer, Decoding, Metric, Sample, Score, Source, Task
from tasks._coco_names import THINGS, prompts
from tasks._coco_stuff_files import CLASSES, Maps, load, read_map

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Places = NDArray[np.int64]

VARIANTS: dict[str, str] = {}
NAMES = tuple(CLASSES.values())
ASK = (
    "Which class does each part of this picture have? Answer with a map: its height x width, then "
    "the class numbers row by row, number*count for a run and - for none of them, as in "
    "2x3 0*2 - 17*3. Classes: {classes}"
)


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on COCO-Stuff's pixel maps (val2017 unless another split is alone there).

    Raises DataError when there are none; a damaged one when the samples are read.
    """
    found = load(data, "coco_stuff_zeroshot")
    words, note = prompts(NAMES, found.root)
    return Task(
        name="coco_stuff_zeroshot",
        version="1",
        source=Source(
            str(found.folder),
            found.version,
            found.split,
            "CC BY 4.0",
            {found.folder.name: fingerprint.digest([p.name for p in found.paths])},
        ),
        samples=partial(_samples, found, words),
        score=_score,
        scorer=f"coco_stuff_zeroshot/miou@1+prompts.{fingerprint.digest(words)}",
        metrics=_metrics(),
        headline="miou",
        decoding=Decoding(max_tokens=8192),
        notes=tuple(filter(None, (note,))),
    )


def _samples(found: Maps, words: Mapping[str, Sequence[str]]) -> Iterator[Sample]:
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(NAMES))
    ask = ASK.replace("{classes}", listed)
    for path in found.paths:
        places = read_map(path)
        yield Sample(
            id=path.stem,
            prompt=(found.image(path), ask),
            target=classmap.written(places, len(NAMES)),
            facts={
                "dense": "map",
                "size": places.shape,
                "classes": NAMES,
                "prompts": words,
                "map": path,
            },
        )


def _score(sample: Sample, answer: Answer) -> Score:
    """Score the share of the picture's labelled pixels that are right; mIoU is made of the areas.

    Where nothing is labelled it is the share of the pixels that were called background.
    """
    path: Path = sample.facts["map"]
    gold = read_map(path)
    said = classmap.read(answer.text, len(NAMES))
    if said is None:
        return Score(0.0, None, "unparsed", {"areas": areas(gold, None)})
    pixels = classmap.stretched(said, *gold.shape)
    labelled = gold < len(NAMES)
    counted = labelled if labelled.any() else ~labelled
    value = float((pixels == gold)[counted].mean())
    parsed = f"{said.shape[0]}x{said.shape[1]}, {len(set(said.ravel().tolist()))} classes"
    return Score(value, parsed, stats={"areas": areas(gold, pixels)})


def areas(gold: "Places", said: "Places | None") -> list[list[int]]:
    """Return the counts of harness/metrics/segmentation.py for the classes of one picture.

    `said` is None where there is no map: then every pixel is missed and none is given a class.
    """
    import numpy as np

    size = len(NAMES) + 1
    labelled = gold < len(NAMES)
    have = np.bincount(gold.ravel(), minlength=size)
    if said is None:
        both = inside = outside = np.zeros(size, np.int64)
    else:
        both = np.bincount(gold[said == gold], minlength=size)
        inside = np.bincount(said[labelled], minlength=size)
        outside = np.bincount(said[~labelled], minlength=size)
    there = np.flatnonzero(have + inside + outside)
    table = np.stack([there, *(column[there] for column in (both, have, inside, outside))], axis=1)
    rows: list[list[int]] = table.tolist()
    return rows


def _metrics() -> tuple[Metric, ...]:
    known = {"value": "areas", "classes": len(NAMES)}
    things = [n for n, name in enumerate(NAMES) if name in THINGS.values()]
    stuff = [n for n in range(len(NAMES)) if n not in things]
    return (
        Metric("miou", "miou", options=known),
        Metric("miou.things", "miou", options={**known, "of": things}),
        Metric("miou.stuff", "miou", options={**known, "of": stuff}),
        Metric("miou.background", "miou", options={**known, "background": True}),
        Metric("pixel_accuracy", "pixel_accuracy", options=known),
        Metric("accuracy"),
    )
