"""Zero-shot detection on COCO with the true boxes given: what is in each of them?

The region-classification test of RegionCLIP (Zhong et al. 2022, arXiv 2112.09106, "GT" proposals),
with which REACT shows that a customised CLIP helps on regions (dissertation, table 2.4: 58.6 novel,
58.2 base, 58.3 all for CLIP's ResNet-50). AP50 over the 65 classes of the open-vocabulary split.

    sightline run -t coco_det_zeroshot -m transformers:PATH -o regions=crop -d COCO_FOLDER

A sample is a box; a model ranks the class names for it. A dual encoder looks at the box alone
(harness/engine/dense.py); other rankers see the whole picture and are told where to look.
"""

from collections.abc import Collection, Sequence
from functools import partial

from harness import fingerprint
from harness.errors import DataError
from harness.types import Answer, Metric, Region, Sample, Score, Source, Task
from judges.classification import taken
from tasks._coco_boxes import MOST, OVERLAP, Crowds, derive, overlaps
from tasks._coco_instances import Scene, Scenes, Thing, load
from tasks._coco_names import BASE, NOVEL, THINGS, prompts
from tasks._data import file_sha256, unique

VARIANTS = {"coco80": "all 80 categories instead of the 65 of the open-vocabulary split"}
SCALE = 100.0
"""What RegionCLIP multiplies cosines with (a temperature of 0.01)."""
ASK = (
    "What is the object in the box from {left}, {top} to {right}, {bottom} of this picture of "
    "{width} x {height} pixels? Answer with its name."
)


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on COCO's instance annotations (val2017 unless another file is named).

    Raises DataError when no box has one of the classes.
    """
    found = load(data, "coco_det_zeroshot", ("val2017", "val2014"))
    ovd = variant != "coco80"
    names = tuple(n for n in THINGS.values() if not ovd or n in BASE or n in NOVEL)
    root = found.path.parent.parent if found.path.parent.name == "annotations" else None
    words, note = prompts(names, root or found.path.parent)
    boxes = [(s, t) for s in found.scenes for t in s.things if t.name in words and not t.crowd]
    if not boxes:
        raise DataError(
            f"{found.path}: no box has one of the {len(names)} classes of COCO that are asked for"
        )
    samples = [_sample(found, scene, thing, words, ovd) for scene, thing in boxes]
    unique((sample.id for sample in samples), str(found.path))
    metrics = _metrics(samples, names, ovd)
    return Task(
        name=f"coco_det_zeroshot/{variant}" if variant else "coco_det_zeroshot",
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
        scorer=f"coco_det_zeroshot/ap50@1+prompts.{fingerprint.digest(words)}",
        metrics=metrics,
        headline="ap50",
        ask="rank",
        derive=partial(derive, _crowds(found, names)),
        ceiling=None if any(_crowded(scene, words) for scene in found.scenes) else 100.0,
        notes=tuple(filter(None, (note,))),
    )


def _sample(
    found: Scenes, scene: Scene, thing: Thing, words: dict[str, tuple[str, ...]], ovd: bool
) -> Sample:
    left, top, right, bottom = (f"{edge:.0f}" for edge in thing.box)
    place = {"left": left, "top": top, "right": right, "bottom": bottom}
    size = {"width": f"{scene.width:.0f}", "height": f"{scene.height:.0f}"}
    split = {"split": "novel" if thing.name in NOVEL else "base"} if ovd else {}
    return Sample(
        id=f"{scene.id}/{thing.id}",
        prompt=(found.image(scene.file), ASK.format(**place, **size)),
        target=thing.name,
        choices=tuple(words),
        cluster=scene.id,
        groups={"class": thing.name, **split},
        facts={
            "dense": "region",
            "size": (scene.height, scene.width),
            "prompts": words,
            "scale": SCALE,
        },
        regions=(Region(thing.box),),
    )


def _score(sample: Sample, answer: Answer) -> Score:
    """Score 1 where the box's own class is the highest; AP50 is made of all scores (`derive`)."""
    if not answer.scores:
        return Score(None, status="unjudged", reason="AP50 needs a score for every class")
    name = sample.choices[taken(answer.scores)]
    return Score(float(name == sample.target), name)


def _metrics(samples: Sequence[Sample], names: Sequence[str], ovd: bool) -> tuple[Metric, ...]:
    metrics = [_ap("ap50", names, names), Metric("accuracy")]
    for split, part in (("base", BASE), ("novel", NOVEL)) if ovd else ():
        if any(sample.groups["split"] == split for sample in samples):
            metrics.append(_ap(f"ap50.{split}", names, part))
            metrics.append(Metric(f"accuracy.{split}", where={"split": split}))
    return tuple(metrics)


def _ap(metric: str, names: Sequence[str], part: Sequence[str]) -> Metric:
    classes = [names.index(name) for name in part]
    options = {"value": "detections", "classes": classes}
    return Metric(metric, "average_precision", options=options)


def _crowds(found: Scenes, names: Sequence[str]) -> Crowds:
    return {
        scene.id: [
            (names.index(t.name), t.box) for t in scene.things if t.crowd and t.name in names
        ]
        for scene in found.scenes
    }


def _crowded(scene: Scene, names: Collection[str]) -> bool:
    """Whether even a perfect model loses a box: two of a class on one place, none, too many."""
    import numpy as np

    by_name: dict[str, list[tuple[float, float, float, float]]] = {}
    for thing in scene.things:
        if thing.name in names and not thing.crowd:
            by_name.setdefault(thing.name, []).append(thing.box)
    if sum(map(len, by_name.values())) > MOST:
        return True
    for boxes in by_name.values():
        shared = overlaps(np.array(boxes), np.array(boxes))
        if (shared > OVERLAP).sum() != len(boxes):
            return True
    return False
