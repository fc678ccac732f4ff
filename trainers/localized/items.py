"""From a corpus of triples to what a student sees: regions chosen, drawn, varied; words made ready.

Everything that is left to a lot is drawn from (seed, epoch, id of the triple), so that an item is
the same in any process and after a resume. May import torch at the top; PIL inside functions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from harness.engine.highlight import Palette
from harness.errors import DataError, UsageError
from trainers.localized import blip2, triples
from trainers.localized.augment import Augment
from trainers.localized.drawing import MOST, Choice, lot, shown
from trainers.localized.triples import Triple
from trainers.localized.views import Views
from trainers.localized.words import PIECES, STUDENT_PREFIX, WORDS, prepared, statement
from trainers.recipe import Common, Part


class Seen(Part):
    """How pictures and texts are made ready; the part of the options that students share."""

    image_size: int | None = Field(480, ge=1)
    """Pixels of a side; positions are interpolated once. None: the checkpoint's."""
    palette: Palette = "lskd"
    most: int = Field(MOST, ge=0)
    """Regions drawn at most; 0: any number."""
    draw: bool = True
    """False: no region is drawn (an ablation)."""
    regions: Choice = "student"
    """Which are drawn: `student` varies number and order, `mentioned` never varies."""
    augment: Augment = "lavis"
    """How the drawn picture is varied: `lavis`, `region_safe` or `none`."""
    rationale: float = Field(0.5, ge=0, le=1)
    """How often a text has its rationale."""
    prefix: str = STUDENT_PREFIX
    words: int = Field(WORDS, ge=0)
    """Words that are kept; 0: all."""
    pieces: int = Field(PIECES, ge=4)
    """Word pieces that are kept, marks included."""
    threshold: float | None = Field(None, ge=0, le=1)
    """Least score of the critic (`prediction`); triples below it or without one are left out."""
    cache_features: bool = False
    """Keep the frozen tower's outputs in memory; needs `augment: none`."""
    cache_gib: float = Field(8, gt=0)

    @model_validator(mode="after")
    def _fits_together(self) -> "Seen":
        if self.cache_features and self.augment != "none":
            raise ValueError(
                f"`cache_features` keeps what the tower made of a picture, and `augment: "
                f"{self.augment}` changes the picture every time; set augment=none"
            )
        return self

    def asked(self) -> blip2.Asked:
        """Return how the trained model wants to be asked."""
        return blip2.Asked(self.palette, self.most, self.draw, self.prefix, self.words, self.pieces)


@dataclass(frozen=True)
class View:
    """What is drawn of a triple this time."""

    triple: Triple
    shown: tuple[int, ...]
    """Region ids in drawing order."""
    said: str
    """Question, answer and sometimes rationale, with the numbers of what is drawn."""
    draw: Random
    """For what else is left to a lot."""


class Reader:
    """Items of a corpus."""

    def __init__(
        self, found: Sequence[Triple], views: Views, seen: Seen, seed: int,
        features: blip2.Features | None = None,
    ) -> None:  # fmt: skip
        """Read pictures through `views`; `features` keeps what a frozen tower makes of them."""
        self.triples, self.views, self.seen = list(found), views, seen
        self.seed, self.features = seed, features
        list(self.files())  # a picture that is not there is said before the first step

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield the name and the file of every picture."""
        for name in dict.fromkeys(triple.image for triple in self.triples):
            yield name, self.views.path(name)

    def view(self, place: int, epoch: int) -> View:
        """Return which regions triple `place` shows in `epoch`, and its text."""
        triple, seen = self.triples[place], self.seen
        draw = lot(self.seed, epoch, triple.id, "student")
        ids = shown(triple, seen.regions, draw, seen.most)
        reason = draw.random() < seen.rationale
        return View(triple, ids, statement(triple, ids, rationale=reason), draw)

    def text(self, view: View) -> str:
        """Return the text as the model reads it."""
        return prepared(view.said, self.seen.prefix, self.seen.words)

    def vision(self, view: View) -> dict[str, Tensor]:
        """Return `pixels` (3, side, side), or `hidden` (patches + 1, width) where it is kept."""
        triple, ids = view.triple, view.shown
        if self.features is None:
            return {"pixels": self.views.pixels(triple, ids, view.draw)}
        key = self.views.key(triple, ids)
        return {"hidden": self.features.get(key, lambda: self.views.pixels(triple, ids))}


def kept(model: Any, seen: Seen, recipe: Common) -> blip2.Features | None:
    """Return where outputs of the frozen tower are kept; None where they are not to be."""
    if not seen.cache_features:
        return None
    if recipe.workers:
        raise UsageError(
            "cache_features keeps the tower's outputs in this process: set workers to 0"
        )
    dtype = torch.bfloat16 if recipe.precision == "bf16" else None
    return blip2.Features(model, int(seen.cache_gib * blip2.GIB), dtype)


def corpus(data: Path, seen: Seen) -> tuple[list[Triple], dict[str, int]]:
    """Return the triples of a corpus that take part, and how many were left out by reason.

    Args:
        data: A file of triples, or the folder with `triples.jsonl`.
        seen: The threshold, and how many regions can be drawn.

    Raises:
        DataError: There is no such corpus, or nothing of it is left.
    """
    path = data / "triples.jsonl" if data.is_dir() else data
    kept: list[Triple] = []
    out = {"below the threshold": 0, "no critic's score": 0, "too many regions": 0, "no boxes": 0}
    for triple in triples.read(path):
        if reason := _reason(triple, seen):
            out[reason] += 1
        else:
            kept.append(triple)
    counts = {reason: count for reason, count in out.items() if count}
    if not kept:
        told = ", ".join(f"{reason}: {count:,}" for reason, count in counts.items())
        raise DataError(f"{path}: no triple to train on ({told or 'the file is empty'})")
    return kept, counts


def _reason(triple: Triple, seen: Seen) -> str:
    if seen.threshold is not None and triple.prediction is None:
        return "no critic's score"
    if seen.threshold is not None and (triple.prediction or 0.0) < seen.threshold:
        return "below the threshold"
    about = {*triple.region, *triples.mentioned(triple.question, triple.answer, triple.rationale)}
    if seen.most and len(about) > seen.most:
        return "too many regions"
    boxed = {one.name for one in triple.references if one.boxes}
    return "" if {str(id) for id in about} <= boxed else "no boxes"


def number(image: str) -> int:
    """Return a number for a picture's name, the same in every process."""
    return int.from_bytes(sha256(image.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1
