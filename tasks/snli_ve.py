"""SNLI-VE: does a picture entail, contradict or say nothing about a sentence?

Xie et al. 2019 (arXiv 1901.06706), github necla-ml/SNLI-VE: SNLI's hypotheses against the Flickr30K
pictures of their premises; three-way accuracy. The bare name is LSKD's protocol on dev (17,858):
"Does the image describe ...? Answer: <label>" is ranked for the three labels.

    sightline run --task snli_ve --model transformers:PATH --data FOLDER

Published numbers under that protocol lie between 31.7 and 40.3, several below chance (33.3): a
number here says little about a model.
"""

import re
from functools import partial
from pathlib import Path

from harness.errors import DataError
from harness.types import Answer, Decoding, Metric, Sample, Score, Source, Task
from tasks._data import data_folder, file_sha256, image_finder, read_jsonl, unique
from tasks._vqa_files import one_file, published

VARIANTS = {
    "lskd": "dev; 'Does the image describe ...? Answer: label' ranked; the same as 'snli_ve'",
    "test": "the same on test (17,901 pairs)",
    "generate": "dev; the three labels are named, one of them is to be written",
    "generate-test": "the same on test",
}
LABELS = ("contradiction", "neutral", "entailment")
"""In LSKD's order; of equal scores the first wins."""
RANK = "Does the image describe {}? Answer:"
WRITE = (
    'Statement: "{}"\nDoes the image make the statement true (entailment), false (contradiction), '
    "or neither (neutral)?\nAnswer with one word: entailment, neutral or contradiction."
)
PUBLISHED = {"dev": 17_858, "test": 17_901}
IMAGES = ("flickr30k_images", "flickr30k-images", "images", "Flickr30K/images")
LICENSE = "BSD-3-Clause (annotations); pictures under Flickr's terms"
_LABEL = re.compile(r"\b(contradiction|neutral|entailment)\b")


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on snli_ve_dev.jsonl or snli_ve_test.jsonl, with Flickr30K beside it.

    Raises DataError for files that are not what they claim to be.
    """
    split = "test" if variant.endswith("test") else "dev"
    write = variant.startswith("generate")
    root = data_folder(data, "snli_ve")
    samples, source = _load(root, split, WRITE if write else RANK)
    unique((sample.id for sample in samples), f"snli_ve in {root}")
    samples.sort(key=lambda sample: sample.cluster)  # stable: a picture's sentences together
    counts = {"questions": len(samples)}
    notes = published(f"snli_ve in {root}", {"questions": PUBLISHED[split]}, counts)
    if not write:
        notes.append("which split LSKD used is not published; dev is assumed")
    return Task(
        name=f"snli_ve/{variant}" if variant else "snli_ve",
        version="1",
        source=source,
        samples=lambda: samples,
        score=partial(_score, write),
        scorer=f"snli_ve/{'label' if write else 'argmax'}@1",
        metrics=(Metric("accuracy"), Metric("label", by="label")),
        headline="accuracy",
        ask="generate" if write else "rank",
        decoding=Decoding(max_tokens=16),
        chance=100 / 3,
        notes=tuple(notes),
    )


def _load(root: Path, split: str, prompt: str) -> tuple[list[Sample], Source]:
    folder = root if root.is_dir() else root.parent
    file = root if root.is_file() else one_file(folder, f"snli_ve_{split}.jsonl", split)
    if file is None:
        raise DataError(
            f"{root}: no SNLI-VE pairs. Expected snli_ve_{split}.jsonl (made by necla-ml/SNLI-VE), "
            "and Flickr30K's pictures in flickr30k_images/"
        )
    image = image_finder(folder, IMAGES)
    samples = []
    for line, row in read_jsonl(file, need=("Flickr30K_ID", "sentence2", "gold_label")):
        label, text = row["gold_label"], str(row["sentence2"])
        if label not in LABELS:
            raise DataError(
                f"{file}, line {line}: the gold_label {str(label)[:40]!r} is none of "
                f"{', '.join(LABELS)}"
            )
        name = str(row["Flickr30K_ID"]).removesuffix(".jpg") + ".jpg"
        samples.append(
            Sample(
                id=str(row.get("pairID") or f"{split}-{line}"),
                prompt=(image(name), prompt.replace("{}", text)),
                target=label,
                choices=LABELS,
                cluster=name,
                groups={"label": label},
                facts={"question": text},
            )
        )
    return samples, Source(str(root), "", split, LICENSE, {file.name: file_sha256(file)})


def _score(write: bool, sample: Sample, answer: Answer) -> Score:
    """Take the first of the highest scored labels, or the one label that the text names."""
    at = answer.choice
    if answer.scores:
        at = answer.scores.index(max(answer.scores))
    said = None
    if at is not None:
        said = LABELS[at] if at >= 0 else None
    elif write:
        named = set(_LABEL.findall(answer.text.lower()))
        said = named.pop() if len(named) == 1 else None
    if said is None:
        return Score(0.0, None, "unparsed")
    return Score(float(said == sample.target), said)
