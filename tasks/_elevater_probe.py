"""ELEVATER's linear probes: which images are encoded, and what is made of their features.

A model is asked for features of the class prompts, the training images that some seed drew, and the
test images. When all are there, harness/probe.py trains a classifier per data set and seed on the
features in the record, so that any reader of the record can do the same again. Sources: the
toolkit's `commands/linear_probe.py` and `evaluation/feature.py`. Imports what tasks import.
"""

from array import array
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.errors import DataError
from harness.probe import ELEVATER, Protocol, few, probe
from harness.types import Answer, Metric, Sample, Score
from tasks._elevater_files import Loaded, Picture, coverage, read_split
from tasks._elevater_sets import DataSet

SEEDS = (0, 1, 2)
SEARCHED = {"patch-camelyon": 10_000}
"""Images per class on which rate and decay are searched where all images are trained on."""
ENDS = ("best", "last")
"""The epoch with the best test metric, which is what was published, and the last one."""
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shots:
    """A few-shot setting: images per class (0: all) and whether the head starts from the text."""

    count: int
    from_text: bool
    tower: bool = False
    """Whether the image side is trained too (tasks/_elevater_finetune.py)."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the drawn subsets; with all images there is nothing to draw."""
        return SEEDS if self.count else SEEDS[:1]


def shots_of(variant: str) -> Shots | None:
    """Return the setting that a variant like lp-5 or ft-full-random names; None for others."""
    kind, _, rest = variant.partition("-")
    if kind not in ("lp", "ft"):
        return None
    count, _, head = rest.partition("-")
    return Shots(0 if count == "full" else int(count), head != "random", kind == "ft")


@dataclass(frozen=True, slots=True)
class Training:
    """The training images of a data set under a few-shot setting."""

    pictures: list[Picture]
    drawn: list[Sequence[int]]
    """Positions of each seed's subset, in the order in which they were drawn."""
    searched: Sequence[int]
    """Positions of the subset that is searched on instead; empty where there is none."""


def training_of(each: Loaded, shots: Shots) -> Training:
    """Read the training images of a data set and draw its subsets.

    Raises DataError when there is nothing to train on.
    """
    one = each.one
    train = read_split(each.folder, one, each.words.classes, "train")
    if not train:
        raise DataError(
            f"{each.folder}: no training images of {one.name}, which a probe and fine-tuning need. "
            "Expected train.txt or train.json of the toolkit, MNIST's train files, parquet files "
            "of the train split, or pictures in train/<class>/"
        )
    labels = [picture.labels for picture in train]
    drawn: list[Sequence[int]] = [
        few(labels, one.classes, shots.count, seed) if shots.count else range(len(train))
        for seed in shots.seeds
    ]
    searched = few(labels, one.classes, SEARCHED[one.name], 0) if _searches(one, shots) else []
    return Training(train, drawn, searched)


def samples_of(each: Loaded, shots: Shots) -> tuple[list[Sample], str]:
    """Return what is encoded for a data set, and a note on what is missing of its training images.

    Raises DataError when there is nothing to train on.
    """
    found = training_of(each, shots)
    subsets = (*found.drawn, found.searched)
    ranks = [{at: rank for rank, at in enumerate(subset)} for subset in subsets]
    texts = _texts(each) if shots.from_text else []
    used = [
        _sample(each, picture, "train", {"ranks": [rank.get(at) for rank in ranks]})
        for at, picture in enumerate(found.pictures)
        if any(at in rank for rank in ranks)
    ]
    tests = [_sample(each, picture, "test", {}) for picture in each.test]
    return [*texts, *used, *tests], coverage(each.one, found.pictures, "train")


def _searches(one: DataSet, shots: Shots) -> bool:
    return one.name in SEARCHED and not shots.count


def _texts(each: Loaded) -> list[Sample]:
    return [
        Sample(
            id=f"{each.one.name}/text/{place}/{number}",
            prompt=(template.replace("{}", name),),
            target=name,
            groups={"set": each.one.name, "part": "text"},
            facts={"stats": {"place": place}},
        )
        for place, name in enumerate(each.words.classes)
        for number, template in enumerate(each.words.templates)
    ]


def _sample(each: Loaded, picture: Picture, part: str, stats: Mapping[str, Any]) -> Sample:
    one = each.one
    return Sample(
        id=f"{one.name}/train/{picture.name}" if part == "train" else f"{one.name}/{picture.name}",
        prompt=(picture.image,),
        target=", ".join(each.words.classes[label] for label in picture.labels),
        groups={"set": one.name, "part": part},
        facts={"stats": {**gold_of(one, picture.labels), **stats}},
    )


def gold_of(one: DataSet, labels: Sequence[int]) -> dict[str, Any]:
    """Return the statistics of an image that do not depend on an answer."""
    gold: dict[str, Any] = {"classes": list(labels)}
    if one.metric in ("mean_per_class", "roc_auc"):
        gold["class"] = labels[0]
    return gold


def keep(sample: Sample, answer: Answer) -> Score:
    """Keep what the probe needs beside the features; the score comes from the probe."""
    if not answer.features:
        return Score(None, status="unjudged", reason="a probe needs features")
    return Score(None, stats=sample.facts["stats"])


def metrics_of(
    parts: Sequence[tuple[Metric, DataSet]], shots: Shots, *, mean: str
) -> tuple[Metric, ...]:
    """Return a setting's metrics: per data set, mean and spread over seeds, and per seed.

    Args:
        parts: each data set's zero-shot metric, which names the rule, and the data set.
        shots: the setting, for its seeds.
        mean: the name of the mean over data sets; "" for a single one.
    """
    found: list[Metric] = []
    for end in ENDS:
        first = "" if end == "best" else f"{end}."
        names = [f"{first}{metric.name}" for metric, _ in parts]
        if mean:
            found += _over_seeds(f"{first}{mean}", shots, of=names)
        for name, (metric, one) in zip(names, parts, strict=True):
            found += _over_seeds(name, shots)
            for seed in shots.seeds:
                # Fine-tuning answers an image once per seed, a probe has its seeds in one row.
                where: dict[str, Any] = {"set": one.name}
                where |= {"seed": seed} if shots.tower else {"part": "test"}
                value = stat_of(one, end) if shots.tower else f"{stat_of(one, end)}.{seed}"
                options = {**metric.options, "value": value}
                found.append(Metric(f"{name}.seed{seed}", metric.kind, where, options=options))
    return tuple(found)


def _over_seeds(name: str, shots: Shots, of: Sequence[str] = ()) -> list[Metric]:
    """Return mean and spread over seeds of `name`, itself a mean of the metrics `of` if given."""
    seeds = [f"{name}.seed{seed}" for seed in shots.seeds]
    # The seeds share their test images: a sum counts those once, and a third of it is the mean.
    found = [Metric(name, "sum_of", options={"of": seeds, "scale": 1 / len(seeds)})]
    if len(seeds) > 1:
        options = {"of": seeds}
        found.append(Metric(f"{name}.std", "std_of", options=options, higher_is_better=False))
    if of:
        found += [
            Metric(seed_name, "mean_of", options={"of": [f"{part}.seed{seed}" for part in of]})
            for seed_name, seed in zip(seeds, shots.seeds, strict=True)
        ]
    return found


def derive(
    sets: Sequence[DataSet], shots: Shots, rows: Sequence[Row], protocol: Protocol = ELEVATER
) -> dict[str, dict[str, Any]]:
    """Train the probes of all data sets on the features in `rows`; see `harness.types.Task`."""
    extras: dict[str, dict[str, Any]] = {}
    for one in sets:
        mine = [row for row in rows if row["groups"]["set"] == one.name]
        extras |= _of_set(one, shots, sorted(mine, key=lambda row: row["index"]), protocol)
    return extras


def _of_set(
    one: DataSet, shots: Shots, rows: Sequence[Row], protocol: Protocol
) -> dict[str, dict[str, Any]]:
    parts: dict[str, list[Row]] = {"text": [], "train": [], "test": []}
    for row in rows:
        parts[row["groups"]["part"]].append(row)
    test = parts["test"]
    if not test or not parts["train"]:  # a run that was limited to its first samples
        return {}
    start = _class_vectors(one, parts["text"]) if shots.from_text else None
    extras: dict[str, dict[str, Any]] = {row["id"]: {"stats": {}} for row in test}
    hits = [0.0] * len(test)
    fit = partial(probe, classes=one.classes, start=start, protocol=protocol)
    for at, seed in enumerate(shots.seeds):
        train = _subset(parts["train"], at)
        search = _subset(parts["train"], len(shots.seeds)) if _searches(one, shots) else []
        fitted = fit(
            _data(train), _data(test), one.metric, search=_data(search) if search else None
        )
        for end, scores in zip(ENDS, (fitted.best, fitted.last), strict=True):
            taken = scores.argmax(dim=1).tolist()
            for i, row in enumerate(test):
                right = float(taken[i] in row["stats"]["classes"])
                said = said_of(one, right, scores[i].tolist())
                extras[row["id"]]["stats"][f"{stat_of(one, end)}.{seed}"] = said
                hits[i] += right if end == "best" else 0.0
    for row, count in zip(test, hits, strict=True):
        extras[row["id"]]["score"] = count / len(shots.seeds)
    return extras


def stat_of(one: DataSet, end: str) -> str:
    """Return what a statistic is called; numbers and lists must not share a column."""
    kind = {"map11": "probabilities", "roc_auc": "positive"}.get(one.metric, "right")
    return f"{kind}.{end}"


def said_of(one: DataSet, right: float, scores: Sequence[float]) -> Any:
    """Return what the data set's metric reads of one image."""
    if one.metric == "map11":
        return list(scores)
    return scores[1] if one.metric == "roc_auc" else right


def _subset(train: Sequence[Row], at: int) -> list[Row]:
    """Return the images of one subset in the order in which they were drawn."""
    drawn = [row for row in train if row["stats"]["ranks"][at] is not None]
    return sorted(drawn, key=lambda row: row["stats"]["ranks"][at])


def _data(rows: Sequence[Row]) -> tuple[Any, list[list[int]]]:
    return _features(rows), [row["stats"]["classes"] for row in rows]


def _features(rows: Sequence[Row]) -> Any:
    """Return the features (n, d) of rows. Raises DataError when they are not all as long."""
    import torch

    raw = [array("f", b64decode(row["answer"]["features"])) for row in rows]
    if len({len(features) for features in raw}) > 1:
        raise DataError("the model's features differ in length from image to image")
    return torch.tensor([features.tolist() for features in raw], dtype=torch.float32)


def _class_vectors(one: DataSet, texts: Sequence[Row]) -> Any:
    """Return the zero-shot classifier (classes, d): per class the mean of unit text features."""
    import torch

    by_class: dict[int, list[Row]] = {place: [] for place in range(one.classes)}
    for row in texts:
        by_class[row["stats"]["place"]].append(row)
    empty = [place for place, found in by_class.items() if not found]
    if empty:
        raise DataError(
            f"{one.name}: no text features of {len(empty)} classes, from which the head starts; "
            "take the variant ending in -random for a model without a text side"
        )
    unit = partial(torch.nn.functional.normalize, dim=-1)
    return unit(torch.stack([unit(_features(rows)).mean(dim=0) for rows in by_class.values()]))
