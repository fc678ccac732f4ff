"""ELEVATER's fine-tuning: what a model is trained on, and what is made of its answers.

A model trains a copy of itself for each data set and seed (harness/fit.py says on what) and answers
each test image once per seed, with class probabilities of two epochs: `scores` are those of the
epoch with the best test metric, which is what was published, `features` those of the last one.
Source: the toolkit's `commands/finetune.py` and `evaluation/full_model_finetune.py`. Imports what
tasks import.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from harness import fingerprint
from harness.fit import Fit, Shown
from harness.types import Answer, Sample, Score
from judges.classification import taken
from tasks._elevater_files import Loaded, Picture, coverage, relevance_of
from tasks._elevater_probe import Shots, Training, gold_of, said_of, stat_of, training_of
from tasks._elevater_sets import DataSet


@dataclass(frozen=True, slots=True)
class Rows:
    """What is asked about a data set."""

    samples: list[Sample]
    note: str
    """What is missing of the training images; "" for nothing."""
    digest: str
    """Of the training images' names and labels: trained on others, a number is another."""


def rows_of(each: Loaded, shots: Shots) -> Rows:
    """Return one sample per test image and seed.

    Raises DataError when there is nothing to train on.
    """
    one, found = each.one, training_of(each, shots)
    relevance = relevance_of(each)
    samples = []
    for seed, fit in zip(shots.seeds, _fits(each, shots, found), strict=True):
        for picture in each.test:
            name = f"{one.name}/{picture.name}"
            samples.append(
                Sample(
                    id=f"{one.name}/seed{seed}/{picture.name}",
                    prompt=(picture.image,),
                    target=fit.classes[picture.labels[0]] if picture.labels else "",
                    choices=fit.classes,
                    relevance=relevance.get(picture.labels, ()),
                    cluster=name,
                    groups={"set": one.name, "seed": seed},
                    facts={"fit": fit, "set": one, "labels": picture.labels},
                )
            )
    subsets = [*found.drawn, found.searched]
    seen = [[(found.pictures[at].name, found.pictures[at].labels) for at in s] for s in subsets]
    return Rows(samples, coverage(one, found.pictures, "train"), fingerprint.digest(seen))


def _fits(each: Loaded, shots: Shots, found: Training) -> list[Fit]:
    one, classes, searched = each.one, each.words.classes, found.searched
    prompts = {
        name: tuple(template.replace("{}", name) for template in each.words.templates)
        for name in classes
    }
    test = _shown(each.test)
    return [
        Fit(
            name=f"{one.name}, seed {seed}",
            classes=classes,
            prompts=prompts if shots.from_text else None,
            metric=one.metric,
            train=_shown([found.pictures[at] for at in drawn]),
            test=test,
            search=_shown([found.pictures[at] for at in searched]) if searched else None,
        )
        for seed, drawn in zip(shots.seeds, found.drawn, strict=True)
    ]


def _shown(pictures: Sequence[Picture]) -> Shown:
    return [picture.image for picture in pictures], [picture.labels for picture in pictures]


def score_ends(sample: Sample, answer: Answer) -> Score:
    """Keep what the data set's metric reads of both epochs; the score is the best epoch's.

    A model that is not trained (a floor) has one answer for both.
    """
    one: DataSet = sample.facts["set"]
    labels: tuple[int, ...] = sample.facts["labels"]
    ends = {"best": answer.scores, "last": answer.features or answer.scores}
    if any(len(scores) != len(sample.choices) for scores in ends.values()):
        return Score(None, status="unjudged", reason="fine-tuning needs a score for every class")
    right = {end: float(taken(scores) in labels) for end, scores in ends.items()}
    stats = gold_of(one, labels)
    for end, scores in ends.items():
        stats[stat_of(one, end)] = said_of(one, right[end], scores)
    return Score(right["best"], sample.choices[taken(answer.scores)], stats=stats)
