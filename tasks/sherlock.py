"""Sherlock: which inference do people find most plausible for a region of an image?

Hessel et al. 2022 (arXiv 2202.04800), github allenai/sherlock, `leaderboard_eval` for every number.
The bare name is the comparison: a model scores up to ten candidate inferences for one region, and
the score says how well their order agrees with each of two annotators (judges/sherlock.py). 100 is
a perfect order, 0 a guess, negative worse than a guess; people reach 42.28, their mean 88.60.

    sightline run --task sherlock --model transformers:PATH --data FOLDER

The region is drawn on the picture as the official CLIP scripts draw it. One sample is one image:
its candidates share picture and region. Files: tasks/_sherlock_files.py. `retrieval` and
`localization`: tasks/_sherlock_matching.py.
"""

from collections.abc import Sequence
from pathlib import Path

from harness.types import Answer, Image, Metric, Region, Sample, Score, Source, Task
from judges.sherlock import comparison, random_scores
from tasks import _sherlock_matching as matching
from tasks._data import file_sha256, unique
from tasks._sherlock_files import PUBLISHED, Comparison, comparisons, root_of, shown

VARIANTS = {
    "clip-multitask": "'inference: ' before each candidate, as the multitask CLIP was trained",
    "nobox": "no region drawn (the official mode 0; how LSKD asked its baselines)",
    "retrieval": "the inference of a region among about 1,000, and back; dual encoders",
    "localization": "which inference belongs to which region of an image",
}
PREFIX = "inference:"


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the comparison on the leaderboard's validation bundle, or one of the other two tasks.

    Raises DataError for files that are not what they claim to be.
    """
    root = root_of(data)
    if variant in matching.TASKS:
        return matching.TASKS[variant](root)
    found, files = comparisons(root)
    unique((c.id for c in found), f"sherlock in {files[0]}")
    show = shown(root)
    samples = [_sample(c, show(c.place, variant != "nobox"), variant) for c in found]
    samples.sort(key=lambda sample: sample.cluster)  # stable: an image's questions together
    ceiling = sum(_agreement(s.relevance, s) for s in samples) / len(samples)
    return Task(
        name=f"sherlock/{variant}" if variant else "sherlock",
        version="1",
        source=_source(root, files, len(found)),
        samples=lambda: samples,
        score=_score,
        scorer="sherlock/comparison@1",
        metrics=(
            Metric("corr"),
            Metric("annot1", options={"value": "annot1"}),
            Metric("annot2", options={"value": "annot2"}),
            Metric("human", options={"value": "human"}),
            Metric("oracle", options={"value": "oracle"}),
            Metric("random", options={"value": "random"}),
        ),
        headline="corr",
        ask="rank",
        chance=0.0,
        ceiling=100 * ceiling,
        notes=_notes(len(found)),
    )


def _source(root: Path, files: list[Path], count: int) -> Source:
    version = "val_comparison" if count == PUBLISHED else "custom"
    hashes = {path.name: file_sha256(path) for path in files}
    return Source(str(root), version, "validation", "CC BY 4.0", hashes)


def _notes(count: int) -> tuple[str, ...]:
    if count == PUBLISHED:
        return ()
    return (f"{count:,} images, published are {PUBLISHED}: not comparable with published numbers",)


def _sample(found: Comparison, image: Image, variant: str) -> Sample:
    relevance = tuple((a + b) / 2 for a, b in zip(found.annot1, found.annot2, strict=True))
    best = max(range(len(relevance)), key=relevance.__getitem__)
    return Sample(
        id=found.id,
        prompt=(image, PREFIX) if variant == "clip-multitask" else (image,),
        target=found.inferences[best],
        choices=found.inferences,
        relevance=relevance,
        cluster=found.place.name,
        groups={"candidates": len(relevance)},
        facts={"annotators": (found.annot1, found.annot2), "test_ids": found.test_ids},
        regions=() if variant == "nobox" else tuple(Region(box) for box in found.place.boxes),
    )


def _score(sample: Sample, answer: Answer) -> Score:
    """Return the mean agreement with both annotators; beside it that of people and of guesses."""
    if not answer.scores:
        return Score(None, status="unjudged", reason="a comparison needs one score per candidate")
    first, second = sample.facts["annotators"]
    to_first, to_second = comparison(answer.scores, first), comparison(answer.scores, second)
    guess = random_scores(len(sample.choices))
    best = max(range(len(answer.scores)), key=answer.scores.__getitem__)
    return Score(
        (to_first + to_second) / 2,
        sample.choices[best],
        stats={
            "annot1": to_first,
            "annot2": to_second,
            "human": (comparison(first, second) + comparison(second, first)) / 2,
            "oracle": _agreement(sample.relevance, sample),
            "random": _agreement(guess, sample),
        },
    )


def _agreement(scores: Sequence[float], sample: Sample) -> float:
    """Return the mean over the annotators of the comparison value."""
    first, second = sample.facts["annotators"]
    return (comparison(scores, first) + comparison(scores, second)) / 2
