"""ELEVATER: 20 image-classification data sets: zero-shot, linear probe, fine-tuning; ImageNet too.

Li et al. 2022 (arXiv 2204.08790), github Computer-Vision-in-the-Wild/Elevater_Toolkit_IC. The
headline is the plain mean of the 20 data sets' own metrics (15 accuracies, 3 means per class, one
ROC-AUC, one 11-point mAP).

    sightline run --task elevater --model transformers:PATH --data FOLDER
    sightline run --task elevater/lp-5 --model transformers:PATH --data FOLDER
    sightline run --task elevater/ft-5 --model transformers:PATH --data FOLDER

Zero-shot: a model ranks the class names. A dual encoder makes each class's vector of all prompts
of the data set's templates; other rankers read the bare names. Probes: tasks/_elevater_probe.py,
fine-tuning: tasks/_elevater_finetune.py.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness import fingerprint
from harness.types import Answer, Metric, Sample, Score, Source, Task
from judges.classification import softmax, taken
from tasks._data import data_folder, unique
from tasks._elevater_files import Loaded, coverage, load, relevance_of
from tasks._elevater_finetune import rows_of, score_ends
from tasks._elevater_probe import Shots, derive, keep, metrics_of, samples_of, shots_of
from tasks._elevater_sets import ALL, TWENTY, DataSet

VARIANTS = {
    "caltech-101": "zero-shot on this data set alone: 101 kinds of objects and a background",
    "cifar-10": "zero-shot on this data set alone: ten kinds of small pictures",
    "cifar-100": "zero-shot on this data set alone: a hundred kinds of small pictures",
    "country211": "zero-shot on this data set alone: in which country a photo was taken",
    "dtd": "zero-shot on this data set alone: textures",
    "eurosat_clip": "zero-shot on this data set alone: land use from satellites, CLIP's selection",
    "fer-2013": "zero-shot on this data set alone: facial expressions",
    "fgvc-aircraft-2013b-variants102": "zero-shot on this data set alone: variants of aircraft",
    "food-101": "zero-shot on this data set alone: dishes",
    "gtsrb": "zero-shot on this data set alone: German traffic signs",
    "hateful-memes": "zero-shot on this data set alone: hateful memes; ROC-AUC",
    "kitti-distance": "zero-shot on this data set alone: how near the next car is; not cropped",
    "mnist": "zero-shot on this data set alone: handwritten digits",
    "oxford-flower-102": "zero-shot on this data set alone: flowers",
    "oxford-iiit-pets": "zero-shot on this data set alone: breeds of cats and dogs",
    "patch-camelyon": "zero-shot on this data set alone: tumour tissue in lymph nodes",
    "rendered-sst2": "zero-shot on this data set alone: the mood of a rendered sentence",
    "resisc45_clip": "zero-shot on this data set alone: aerial scenes, CLIP's selection",
    "stanford-cars": "zero-shot on this data set alone: car models",
    "voc-2007-classification": "zero-shot on this data set alone: objects in photos; 11-point mAP",
    "imagenet-1k": "zero-shot on ImageNet's validation images; not one of the 20",
    "lp-5": "linear probe, 5 images per class, three seeds; the head starts from the text",
    "lp-20": "linear probe, 20 images per class, three seeds; the head starts from the text",
    "lp-50": "linear probe, 50 images per class, three seeds; the head starts from the text",
    "lp-full": "linear probe on all training images; the head starts from the text",
    "lp-5-random": "linear probe, 5 images per class; the head starts at random, no text needed",
    "lp-20-random": "linear probe, 20 images per class; the head starts at random",
    "lp-50-random": "linear probe, 50 images per class; the head starts at random",
    "lp-full-random": "linear probe on all training images; the head starts at random",
    "ft-5": "fine-tuning of the image side, 5 images per class, three seeds; the head as in lp-5",
    "ft-20": "fine-tuning of the image side, 20 images per class, three seeds",
    "ft-50": "fine-tuning of the image side, 50 images per class, three seeds",
    "ft-full": "fine-tuning of the image side on all training images",
    "ft-5-random": "fine-tuning of the image side, 5 images per class; the head starts at random",
    "ft-20-random": "fine-tuning of the image side, 20 images per class; the head starts at random",
    "ft-50-random": "fine-tuning of the image side, 50 images per class; the head starts at random",
    "ft-full-random": "fine-tuning on all training images; the head starts at random",
}
LEAK = "the epoch is chosen on the test images, as published; last.* is without that leak"
SCALE = 100.0
"""What the toolkit multiplies cosines with; it matters to ROC-AUC and mAP, which see a softmax."""
_KINDS = {
    "accuracy": ("mean", {}),
    "mean_per_class": ("balanced_accuracy", {"gold": "class"}),
    "roc_auc": ("roc_auc", {"gold": "class", "value": "positive"}),
    "map11": ("map11", {"gold": "classes", "value": "probabilities"}),
}


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on a folder that has a folder per data set.

    Raises DataError when a data set that was named is not there, none is, or files are damaged.
    """
    root = data_folder(data, "elevater", hub="OWNER/NAME (one data set at a time)")
    shots = shots_of(variant)
    wanted = list(TWENTY.values()) if shots or not variant else [ALL[variant]]
    found, files = load(root, wanted)
    if shots:
        trained = _finetune if shots.tower else _probe
        return trained(variant, root, shots, found, files)
    complete = [each.one.name for each in found if len(each.test) == each.one.test]
    samples = [sample for each in found for sample in _samples(each)]
    unique((sample.id for sample in samples), f"elevater in {root}")
    metrics = tuple(_metric(each.one) for each in found)
    mean = _mean(metrics, all_here=len(complete) == len(TWENTY))
    return Task(
        name=f"elevater/{variant}" if variant else "elevater",
        version="1",
        source=Source(
            str(root), "published" if len(complete) == len(found) else "", "test", "", files
        ),
        samples=lambda: samples,
        score=_score,
        scorer=f"elevater/zero-shot@1+prompts.{_digest(found)}",
        metrics=(*metrics, *mean),
        headline=(mean or metrics)[0].name,
        ask="rank",
        chance=_chance(found),
        notes=tuple(_notes(found, mean=not variant)),
    )


def _probe(
    variant: str, root: Path, shots: Shots, found: list[Loaded], files: dict[str, str]
) -> Task:
    encoded = [samples_of(each, shots) for each in found]
    samples = [sample for some, _ in encoded for sample in some]
    unique((sample.id for sample in samples), f"elevater in {root}")
    sets = [each.one for each in found]
    notes = [*_notes(found), *(note for _, note in encoded if note)]
    metrics = _trained_metrics(found, shots, whole=not notes)
    return Task(
        name=f"elevater/{variant}",
        version="1",
        source=Source(str(root), "", "train+test", "", files),
        samples=lambda: samples,
        score=keep,
        scorer=f"elevater/probe@1+prompts.{_digest(found)}",
        metrics=metrics,
        headline=metrics[0].name,
        ask="encode",
        derive=partial(derive, sets, shots),
        ceiling=None,
        notes=(LEAK, *notes),
    )


def _finetune(
    variant: str, root: Path, shots: Shots, found: list[Loaded], files: dict[str, str]
) -> Task:
    trained = [rows_of(each, shots) for each in found]
    samples = [sample for some in trained for sample in some.samples]
    unique((sample.id for sample in samples), f"elevater in {root}")
    notes = [*_notes(found), *(some.note for some in trained if some.note)]
    metrics = _trained_metrics(found, shots, whole=not notes)
    images = fingerprint.digest([some.digest for some in trained])
    return Task(
        name=f"elevater/{variant}",
        version="1",
        source=Source(str(root), "", "train+test", "", files),
        samples=lambda: samples,
        score=score_ends,
        scorer=f"elevater/finetune@1+prompts.{_digest(found)}+train.{images}",
        metrics=metrics,
        headline=metrics[0].name,
        ask="rank",
        chance=_chance(found),
        notes=(LEAK, *notes),
    )


def _trained_metrics(found: list[Loaded], shots: Shots, *, whole: bool) -> tuple[Metric, ...]:
    """Return metrics over seeds; `whole`: nothing is missing of the data sets found."""
    mean = "mean20" if whole and len(found) == len(TWENTY) else f"mean_of_{len(found)}"
    parts = [(_metric(each.one), each.one) for each in found]
    return metrics_of(parts, shots, mean=mean if len(found) > 1 else "")


def _samples(each: Loaded) -> list[Sample]:
    one, classes = each.one, each.words.classes
    prompts = {
        name: tuple(template.replace("{}", name) for template in each.words.templates)
        for name in classes
    }
    relevance = relevance_of(each)
    return [
        Sample(
            id=f"{one.name}/{picture.name}",
            prompt=(picture.image,),
            target=classes[picture.labels[0]] if picture.labels else "",
            choices=classes,
            relevance=relevance.get(picture.labels, ()),
            groups={"set": one.name},
            facts={"prompts": prompts, "scale": SCALE, "set": one, "labels": picture.labels},
        )
        for picture in each.test
    ]


def _score(sample: Sample, answer: Answer) -> Score:
    one: DataSet = sample.facts["set"]
    labels: tuple[int, ...] = sample.facts["labels"]
    if not answer.scores and one.metric in ("roc_auc", "map11"):
        return Score(None, status="unjudged", reason=f"{one.metric} needs a score for every class")
    place = taken(answer.scores) if answer.scores else answer.choice
    if place is None and answer.text in sample.choices:
        place = sample.choices.index(answer.text)
    stats: dict[str, object] = {}
    if one.metric in ("mean_per_class", "roc_auc"):
        stats["class"] = labels[0]
    if one.metric == "roc_auc":
        stats["positive"] = softmax(answer.scores)[1]
    if one.metric == "map11":
        stats |= {"classes": list(labels), "probabilities": list(softmax(answer.scores))}
    if place is None or not 0 <= place < len(sample.choices):
        return Score(0.0, None, "unparsed", stats)
    return Score(float(place in labels), sample.choices[place], stats=stats)


def _metric(one: DataSet) -> Metric:
    kind, options = _KINDS[one.metric]
    return Metric(f"{one.name}.{one.metric}", kind, {"set": one.name}, options=options)


def _mean(parts: Sequence[Metric], *, all_here: bool) -> list[Metric]:
    """Return the headline of several data sets; only the whole benchmark's is called mean20."""
    if len(parts) == 1:
        return []
    name = "mean20" if all_here else f"mean_of_{len(parts)}"
    return [Metric(name, "mean_of", options={"of": [part.name for part in parts]})]


def _chance(found: Sequence[Loaded]) -> float | None:
    """Return the headline of a guesser; that of mAP depends on how common the classes are."""
    if any(each.one.metric == "map11" for each in found):
        return None
    each_chance = [50.0 if f.one.metric == "roc_auc" else 100 / f.one.classes for f in found]
    return sum(each_chance) / len(each_chance)


def _digest(found: Sequence[Loaded]) -> str:
    """Return a hash of names and templates: other prompts ask something else."""
    return fingerprint.digest(
        {each.one.name: [each.words.classes, each.words.templates] for each in found}
    )


def _notes(found: Sequence[Loaded], *, mean: bool = True) -> list[str]:
    notes = [
        note
        for each in found
        for note in (each.words.note, coverage(each.one, each.test, "test"))
        if note
    ]
    if mean and len(found) < len(TWENTY):
        absent = ", ".join(sorted(set(TWENTY) - {each.one.name for each in found}))
        notes.append(f"a mean of {len(found)} data sets is not ELEVATER's; absent: {absent}")
    return notes
