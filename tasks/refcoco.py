"""RefCOCO, RefCOCO+, RefCOCOg region description: say in a few words what is in a box.

Yu et al. 2016 and Mao et al. 2016 for the data (github lichengunc/refer); the way of asking and the
METEOR scores of Ranasinghe et al. 2024 (LocVLM, section 4.5), with CIDEr as in Kosmos-2 (section
4.2). Scored by pycocoevalcap 1.2: all captions tokenized, then METEOR, CIDEr, BLEU and ROUGE-L of
each evaluation set. One region is one sample; all expressions for it are its references.

    sightline run --task refcoco --model transformers:PATH --data FOLDER

The bare name gives the box as text, in integers on a 224 grid; how a box is told is the variant.
All images are COCO train2014, which models trained on COCO have seen. Files: _refcoco_files.py.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from harness.errors import DataError
from harness.types import (
    Answer,
    Decoding,
    Image,
    Metric,
    Prompt,
    Region,
    Sample,
    Score,
    Task,
)
from judges import captions
from tasks._data import unique
from tasks._refcoco_files import Refer, load

VARIANTS = {
    "bins224": "the box as integers on a 224 grid (LocVLM-B); the same as 'refcoco'",
    "bins336": "the box as integers on a 336 grid (LocVLM-L)",
    "bins224-square": "LocVLM-B's own frame: 224 bins of the square that the picture is padded to",
    "bins336-square": "LocVLM-L's: 336 bins of the same square",
    "float": "the box as fractions of width and height, 4 decimals (LocVLM's NFP)",
    "drawn": "lmms-eval: a red rectangle drawn on the picture, its prompt; another task",
    "kosmos": "Kosmos-2: the box as two location tokens after 'It'; the first sentence counts",
}
ASK = "Describe the object located at {box}."
DRAWN = "Provide a short description for this region."
KOSMOS = "<grounding><phrase> It</phrase><object>{box}</object> is"
LOCVLM = ("refcoco.testB", "refcoco+.testB", "refcocog.val", "refcocog.test")
"""The four sets of LocVLM's table; their mean METEOR is the headline where all are at hand."""
_PATCHES = 32
_TAG = re.compile(
    r"</?(?:grounding|phrase|object|p|box|s|delimiter_of_multi_objects/|patch_index_\d+|loc\d+)>"
)
"""What Kosmos-2 writes between words, in either spelling."""
_SENTENCE = re.compile(r"[.!?](?:\s|$)|\n")


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on all evaluation sets at `data`.

    Raises DataError for files that are not what they claim to be, MissingExtra when captions
    cannot be scored here.
    """
    form = variant or "bins224"
    found = load(data)
    captions.require()  # now, not after hours of answers
    samples = [_sample(refer, found.image, form) for refer in found.rows]
    unique((sample.id for sample in samples), f"refcoco in {found.source.address}")
    sets = list(dict.fromkeys(_set(sample) for sample in samples))
    metrics, headline = _metrics(sets)
    return Task(
        name=f"refcoco/{variant}" if variant else "refcoco",
        version="1",
        source=found.source,
        samples=lambda: samples,
        score=partial(_score, form),
        scorer=f"refcoco/{'first-sentence' if form == 'kosmos' else 'pycocoevalcap-1.2'}@1",
        metrics=metrics,
        headline=headline,
        decoding=_decoding(form),
        ceiling=None,
        notes=found.notes,
        derive=partial(_derive, samples),
    )


def _decoding(form: str) -> Decoding:
    """LocVLM samples at 0.2; the others are greedy. A region takes few words."""
    if form in ("drawn", "kosmos"):
        return Decoding(max_tokens=64)
    return Decoding(max_tokens=64, temperature=0.2)


def _metrics(sets: Sequence[str]) -> tuple[tuple[Metric, ...], str]:
    metrics = []
    for name in sets:
        dataset, _, split = name.partition(".")
        where = {"dataset": dataset, "split": split}
        metrics += [
            Metric(f"{name}.meteor", "meteor", where, options={"value": "meteor"}),
            Metric(f"{name}.cider", "mean", where, options={"value": "cider"}),
            Metric(f"{name}.rouge", "mean", where, options={"value": "rouge"}),
        ]
        for order in (1, 2, 3, 4):
            options = {"value": "bleu", "order": order}
            metrics.append(Metric(f"{name}.bleu{order}", "bleu", where, options=options))
    if set(LOCVLM) <= set(sets):
        parts = [f"{name}.meteor" for name in LOCVLM]
        return (*metrics, Metric("mean.meteor", "mean_of", options={"of": parts})), "mean.meteor"
    first = next((name for name in LOCVLM if name in sets), sets[0])
    return tuple(metrics), f"{first}.meteor"


def _set(sample: Sample) -> str:
    return f"{sample.groups['dataset']}.{sample.groups['split']}"


def _sample(refer: Refer, image: Callable[[str], Image], form: str) -> Sample:
    left, top, width, height = refer.box
    corners = (left, top, left + width, top + height)
    return Sample(
        id=f"{refer.dataset}/{refer.split}/{refer.number}",
        prompt=_prompt(image(refer.image), corners, refer.size, form),
        target=refer.expressions[0],
        cluster=refer.image,
        groups={"dataset": refer.dataset, "split": refer.split},
        # Tools ask in many words; the id says which region an answer is about, so any prompt fits.
        facts={"question": "", "references": refer.expressions},
        regions=(Region(corners),),
        aliases=(*((refer.number,) if refer.official else ()), refer.name),
    )


def _prompt(
    image: Image, corners: tuple[float, float, float, float], size: tuple[int, int], form: str
) -> Prompt:
    if form == "drawn":
        return (_drawn(image, corners), DRAWN)
    sizes = (*size, *size)
    shares = [min(max(x / n, 0.0), 1.0) for x, n in zip(corners, sizes, strict=True)]
    if form == "kosmos":
        first, last = _patches(shares)
        box = f"<patch_index_{first:04d}><patch_index_{last:04d}>"
        return (image, KOSMOS.replace("{box}", box))
    if form == "float":
        numbers = [f"{share:.4f}" for share in shares]
    elif form.endswith("-square"):
        bins = int(form.removeprefix("bins").removesuffix("-square"))
        numbers = [str(number) for number in _square(corners, size, bins)]
    else:
        bins = int(form.removeprefix("bins"))
        numbers = [str(round(share * bins)) for share in shares]
    return (image, ASK.replace("{box}", f"[{', '.join(numbers)}]"))


def _square(
    corners: tuple[float, float, float, float], size: tuple[int, int], bins: int
) -> list[int]:
    """Return the bins of the corners on the square that a picture of `size` is padded to.

    As our LocVLM records have them (docs/trainers/locvlm.md): the picture in the middle of the
    square, an odd pixel more on the right or below; floor, not round, so that there are
    exactly `bins`; on hundredths of pixels, since floor(x / side * bins) in floating point is one
    too low at one edge in ten.
    """
    side = max(size)
    numbers = []
    for place, value in enumerate(corners):
        offset = (side - size[place % 2]) // 2
        inside = min(max(round(value * 100) + offset * 100, 0), side * 100)
        numbers.append(min(inside * bins // (side * 100), bins - 1))
    return numbers


def _patches(shares: Sequence[float]) -> tuple[int, int]:
    """Return the cells of Kosmos-2's 32 x 32 grid that hold the first and the last corner."""
    left, top = (min(math.floor(share * _PATCHES), _PATCHES - 1) for share in shares[:2])
    right, bottom = (max(math.ceil(share * _PATCHES - 1), 0) for share in shares[2:])
    return top * _PATCHES + left, bottom * _PATCHES + right


def _drawn(image: Image, corners: tuple[float, float, float, float]) -> Image:
    """Return the picture with lmms-eval's rectangle, one red pixel wide, drawn when it is read."""
    name = f"{image.name} [{', '.join(f'{x:g}' for x in corners)}]"
    return Image(name, None if image.source is None else partial(_draw, image, corners))


def _draw(image: Image, corners: tuple[float, float, float, float]) -> bytes:
    from io import BytesIO

    from PIL import Image as Pictures
    from PIL import ImageDraw

    try:
        with Pictures.open(BytesIO(image.read())) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"image {image.name} cannot be drawn on: {error}") from error
    ImageDraw.Draw(picture).rectangle(corners, outline="red")
    out = BytesIO()
    picture.save(out, "PNG", compress_level=1)  # lossless: the rectangle is all that changes
    return out.getvalue()


def _score(form: str, sample: Sample, answer: Answer) -> Score:
    """Keep what is to be scored; scores come of all answers together (`_derive`)."""
    captions.warm_up()
    said = answer.text
    if form == "kosmos":
        said = _SENTENCE.split(_TAG.sub("", said).strip(), maxsplit=1)[0]
    return Score(None, said, "scored" if said.strip() else "unparsed")


def _derive(
    samples: Sequence[Sample], rows: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Score all captions. A row's own score is its METEOR; sets that nobody answered are left out.

    Document frequencies of CIDEr are those of the whole evaluation set, also where some answers
    are missing, so that a caption's score does not depend on which others there are.
    """
    said = {row["id"]: row["parsed"] for row in rows}
    answered = {_set(sample) for sample in samples if sample.id in said}
    asked = [sample for sample in samples if _set(sample) in answered]
    items = [(said.get(sample.id), sample.facts["references"]) for sample in asked]
    scored = captions.score(items, [_set(sample) for sample in asked])
    ids = [sample.id for sample in asked if sample.id in said]
    return {
        id: {"score": found.segment, "stats": found.stats()}
        for id, found in zip(ids, scored, strict=True)
    }
