"""Image-text retrieval on Flickr30K and COCO: R@1, R@5, R@10 in both directions.

Karpathy's test splits (1,000 and 5,000 images, the first five captions of each), as in CLIP
(Radford et al. 2021), CLIP_benchmark and LAVIS. A dual encoder gives features of each image and
each caption; nearness is the cosine. Image to text: one of the image's own captions is among the
k nearest. Text to image: its own image is.

    sightline run --task retrieval --model transformers:PATH --data FOLDER

The bare name is Flickr30K with the captions as they are. Ranks come from all features together
(judges/ranking.py), so they are computed when the run ends and stand in the record. Files:
tasks/_retrieval_files.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.types import Answer, Metric, Sample, Score, Task
from judges.ranking import features_of, ranks, unit_rows
from tasks._retrieval_files import Captioned, load

VARIANTS = {
    "coco": "COCO's 5,000 test images instead of Flickr30K's 1,000",
    "photo": "'a photo of ' before each caption; Flickr30K",
    "coco-photo": "'a photo of ' before each caption; COCO",
}
TOP = (1, 5, 10)
DIRECTIONS = {"i2t": "image", "t2i": "text"}
"""What is asked with; the other kind is what is found."""


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on a folder with dataset_flickr30k.json or dataset_coco.json and images.

    Raises DataError for files that are not what they claim to be.
    """
    which = "coco" if variant.startswith("coco") else "flickr30k"
    prefix = "a photo of " if variant.endswith("photo") else ""
    rows, source, notes = load(data, which)
    samples = [sample for row in rows for sample in _samples(row, prefix)]
    captions = len(samples) - len(rows)
    return Task(
        name=f"retrieval/{variant}" if variant else "retrieval",
        version="1",
        source=source,
        samples=lambda: samples,
        score=_score,
        scorer="retrieval/cosine@1",
        metrics=tuple(
            Metric(f"{direction}.r{k}", where={"kind": kind}, options={"value": f"r{k}"})
            for direction, kind in DIRECTIONS.items()
            for k in TOP
        ),
        headline="i2t.r1",
        ask="encode",
        chance=100 * sum(len(row.captions) for row in rows) / len(rows) / captions,
        notes=notes,
        derive=_derive,
    )


def _samples(row: Captioned, prefix: str) -> Iterator[Sample]:
    """Yield the image and then its captions, so that `--limit` keeps them together."""
    common: dict[str, Any] = {"target": row.image.name, "cluster": row.image.name}
    yield Sample(f"image/{row.id}", (row.image,), groups={"kind": "image"}, **common)
    for number, caption in enumerate(row.captions):
        text = prefix + caption
        yield Sample(f"text/{row.id}/{number}", (text,), groups={"kind": "text"}, **common)


def _score(sample: Sample, answer: Answer) -> Score:
    """Take the features; what they are worth shows when all are there."""
    if not answer.features:
        return Score(None, status="unjudged", reason="retrieval needs features; none were given")
    return Score(None)


def _derive(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each row's recall at 1, 5 and 10 and its rank (of the nearest own, ties shared)."""
    features = unit_rows([features_of(row) for row in rows])
    places: dict[str, list[int]] = {kind: [] for kind in DIRECTIONS.values()}
    for at, row in enumerate(rows):
        places[row["groups"]["kind"]].append(at)
    found: dict[str, dict[str, Any]] = {}
    for asked, other in (("image", "text"), ("text", "image")):
        own: dict[str, list[int]] = {}
        for number, at in enumerate(places[other]):
            own.setdefault(rows[at]["target"], []).append(number)
        right = [own.get(rows[at]["target"], []) for at in places[asked]]
        ranked = ranks(features[places[asked]], features[places[other]], right)
        for at, rank in zip(places[asked], ranked, strict=True):
            if rank is not None:
                stats = {"rank": rank.mean, **{f"r{k}": rank.hit(k) for k in TOP}}
                found[rows[at]["id"]] = {"score": stats["r1"], "stats": stats}
    return found
