"""Hal-COCO, Hal-ADE, Hal-Act: is an object that is not there said to be there?

Ranasinghe et al. 2024 (LocVLM, CVPR, arXiv 2404.07449), section 4.5 and table 8. The questions were
not released; they are built here from the annotations by the rule that the paper gives: for each
picture two objects that are present and two that are absent, "Is there a X in the image?", share of
right answers. What the paper leaves open is decided below and in docs/tasks/hallucination.md.

    sightline run --task hallucination --model transformers:PATH --data COCO_FOLDER

An answer is a yes or a no by POPE's rule (judges/yes_no.py). The ADE20K classes are those that COCO
does not have. Files: tasks/_hallucination_files.py.
"""

from collections.abc import Iterator
from random import Random

from harness.errors import DataError
from harness.types import Answer, Decoding, Metric, Sample, Score, Source, Task
from judges.yes_no import pope_rule
from tasks._data import unique
from tasks._hallucination_files import Scene, Scenes, activitynet, ade, coco

VARIANTS = {
    "ade": "Hal-ADE: ADE20K's 150 classes without those that COCO has",
    "act": "Hal-Act: activities of ActivityNet 1.3 in eight frames of each video",
}
PER_SCENE = 2
"""Names asked for that are present, and as many that are absent."""
SEED = 0
_READ = {"": coco, "ade": ade, "act": activitynet}


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on COCO instances, ADEChallengeData2016 or ActivityNet's labels.

    Raises DataError when the files are not there, damaged, or give no question.
    """
    found = _READ[variant](data)
    samples = [s for scene in found.scenes for s in _samples(scene, found, variant)]
    if not samples:
        raise DataError(
            f"{found.path}: no picture has a name that is present and one that is absent"
        )
    unique((sample.id for sample in samples), str(found.path))
    pictures = len({sample.cluster for sample in samples})
    return Task(
        name=f"hallucination/{variant}" if variant else "hallucination",
        version="1",
        source=Source(
            str(found.path), found.version, found.split, found.license, dict(found.files)
        ),
        samples=lambda: samples,
        score=_score,
        scorer="hallucination/pope-rule@1",
        metrics=(
            Metric("accuracy"),
            Metric("present", where={"gold": "yes"}),
            Metric("absent", where={"gold": "no"}),
            Metric("precision", "precision"),
            Metric("f1", "f1"),
            Metric("yes_ratio", "yes_ratio"),
        ),
        headline="accuracy",
        decoding=Decoding(max_tokens=64, temperature=0.2),
        chance=50.0,
        notes=(
            f"built here: {len(samples):,} questions on {pictures:,} of {len(found.scenes):,} "
            f"{'videos' if variant == 'act' else 'images'}, {len(found.names):,} names; the "
            "paper's questions were not released, so its numbers are a guide and not a target",
        ),
    )


def _samples(scene: Scene, found: Scenes, variant: str) -> Iterator[Sample]:
    """Yield as many questions with yes as with no; none where one of them cannot be asked."""
    here = set(scene.present)
    absent = [name for name in found.names if name not in here]
    count = min(PER_SCENE, len(scene.present), len(absent))
    draw = Random(f"{SEED}/{scene.id}")
    asked = [(name, "yes") for name in sorted(draw.sample(sorted(here), count))]
    asked += [(name, "no") for name in sorted(draw.sample(sorted(absent), count))]
    for name, gold in asked:
        text = question(name, variant)
        yield Sample(
            id=f"{scene.id}/{name}",
            prompt=(*scene.pictures, text),
            target=gold,
            choices=("yes", "no"),
            cluster=scene.id,
            groups={"gold": gold, "name": name},
            facts={"question": text},
        )


def question(name: str, variant: str) -> str:
    """Return the question; objects take the article of the authors' code, activities none."""
    if variant == "act":
        return f"Is there {name} in the video?"
    article = "an" if name.startswith(tuple("aeiou")) else "a"
    return f"Is there {article} {name} in the image?"


def _score(sample: Sample, answer: Answer) -> Score:
    yes, found = pope_rule(answer.text)
    said, gold = ("yes" if yes else "no"), sample.target
    stats = {"gold": int(gold == "yes"), "yes": int(yes)}
    return Score(float(said == gold), said, "scored" if found else "unparsed", stats)
