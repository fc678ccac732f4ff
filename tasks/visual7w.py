"""Visual7W telling: what, where, when, who, why and how; four choices, one of them people's answer.

Zhu et al. 2016 (arXiv 1511.03416), github yukezhu/visual7w-toolkit, `evaluate.py`: the chosen text
equals the answer, case aside. 28,020 validation questions. The bare name is LSKD's protocol:
"question Answer: choice" is ranked for the four choices.

    sightline run --task visual7w --model transformers:PATH --data FOLDER

The files keep the answer apart from the wrong choices. As the toolkit does, the four are shuffled,
here with a generator per question, so that a model that cannot tell them apart gets chance.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError
from harness.types import Answer, Decoding, Image, Metric, Sample, Score, Source, Task
from tasks._data import data_folder, file_sha256, image_finder, read_json, unique
from tasks._vqa_files import SHORT, field_of, one_file, published, rows_of

VARIANTS = {
    "lskd": "'question Answer: choice' ranked for the four choices; the same as 'visual7w'",
    "test": "the same on the 42,031 test questions",
    "official": "the choices are shown, one of them is to be said; case aside",
    "open": "no choices: the answer itself, case aside",
}
CHOOSE = "{question}\nChoices: {choices}\nAnswer with one of the choices, word for word."
PUBLISHED = {"val": 28_020, "test": 42_031}
SEED = 0
IMAGES = ("images", "visual7w-images", "visual7w_images")
LICENSE = "MIT"


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on dataset_v7w_telling.json, with the images beside it.

    Raises DataError for files that are not what they claim to be.
    """
    how = "lskd" if variant in ("", "test") else variant
    split = "test" if variant == "test" else "val"
    root = data_folder(data, "visual7w")
    samples, source = _load(root, split, how)
    unique((sample.id for sample in samples), f"visual7w in {root}, split {split}")
    samples.sort(key=lambda sample: sample.cluster)  # stable: an image's questions together
    counts = {"questions": len(samples)}
    return Task(
        name=f"visual7w/{variant}" if variant else "visual7w",
        version="1",
        source=source,
        samples=lambda: samples,
        score=partial(_score, how),
        scorer=f"visual7w/{'argmax' if how == 'lskd' else how}@1",
        metrics=(Metric("accuracy"), Metric("type", by="type")),
        headline="accuracy",
        ask="rank" if how == "lskd" else "generate",
        decoding=Decoding(max_tokens=32),
        chance=None if how == "open" else 25.0,
        notes=(
            *published(f"visual7w in {root}", {"questions": PUBLISHED[split]}, counts),
            *(() if how == "open" else (f"choices are shuffled per question with seed {SEED}",)),
        ),
    )


def _load(root: Path, split: str, how: str) -> tuple[list[Sample], Source]:
    folder = root if root.is_dir() else root.parent
    file = root if root.is_file() else None
    for pattern in ("dataset_v7w_telling*.json", "dataset.json"):
        file = file or one_file(folder, pattern, "telling")
    if file is None:
        raise DataError(
            f"{root}: no Visual7W questions. Expected dataset_v7w_telling.json (visual7w-toolkit) "
            "and the pictures in images/"
        )
    image = image_finder(folder, IMAGES)
    document = read_json(file, dict)
    samples = [
        _sample(where, pair, name, image, how)
        for where, pair, name in _pairs(file, rows_of(file, document, "images"), split)
    ]
    if not samples:
        raise DataError(f"{file}: no questions of the split '{split}' in it")
    return samples, Source(str(root), file.stem, split, LICENSE, {file.name: file_sha256(file)})


def _pairs(
    file: Path, pictures: list[dict[str, Any]], split: str
) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield (where it stands, question, file name of the picture) of a split."""
    for at, picture in enumerate(pictures, 1):
        where = f"{file}, image {at}"
        if field_of(where, picture, "split") == split:
            name = str(field_of(where, picture, "filename"))
            for number, pair in enumerate(field_of(where, picture, "qa_pairs"), 1):
                yield f"{where}, question {number}", pair, name


def _sample(
    where: str, pair: Mapping[str, Any], name: str, image: Callable[[str], Image], how: str
) -> Sample:
    id, question = str(field_of(where, pair, "qa_id")), str(field_of(where, pair, "question"))
    gold = str(field_of(where, pair, "answer"))
    choices = [gold, *map(str, field_of(where, pair, "multiple_choices"))]
    if len(choices) != 4:
        raise DataError(f"{where}: expected 3 wrong choices, found {len(choices) - 1}")
    Random(f"{SEED}/{id}").shuffle(choices)
    text = f"{question} Answer:"
    if how == "official":
        listed = ", ".join(choices)
        text = CHOOSE.replace("{question}", question).replace("{choices}", listed)
    relevance = tuple(float(choice.lower() == gold.lower()) for choice in choices)
    return Sample(
        id=id,
        prompt=(image(name), question + SHORT if how == "open" else text),
        target=gold,
        choices=() if how == "open" else tuple(choices),
        relevance=relevance if how == "lskd" else (),
        cluster=name,
        groups={"type": str(pair["type"])} if pair.get("type") else {},
        facts={"question": question},
    )


def _score(how: str, sample: Sample, answer: Answer) -> Score:
    """Take the first of the highest scored choices, or what was said; equal to the gold answer."""
    at = answer.choice
    if answer.scores:
        at = answer.scores.index(max(answer.scores))
    if at is not None:
        said = sample.choices[at] if at >= 0 else None
    else:
        said = _said(how, sample, answer.text)
    if said is None:
        return Score(0.0, None, "unparsed")
    return Score(float(said.lower() == sample.target.lower()), said)


def _said(how: str, sample: Sample, text: str) -> str | None:
    """Return the text if it can be compared: one of the choices shown, or anything if none are."""
    if how == "open":
        return text if text.strip() else None
    known = {choice.lower() for choice in sample.choices}
    return text if how == "official" and text.lower() in known else None
