"""LocVLM's pseudo-data: captions of single objects by a model, boxes by a detector.

Ranasinghe et al. 2024 (arXiv 2404.07449), section 3.4. Self-training: the model after stage 1 is
asked about each object that is alone of its category, by its name (it cannot read coordinates yet),
and once more in relation to another object. What it says replaces category names in all three
objectives (trainers/locating.py). Weak supervision: a detector's boxes take the place of people's.
The wording of the questions and the filters are ours. May import harness and trainers.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError
from harness.types import Answer, Decoding, Image, Sample
from trainers.locating import Item, Locating, Picture, usable
from trainers.teacher import Teacher

ALONE = "Describe the {kind} in this image in a few words."
RELATED = "Describe the {kind} in this image in relation to the {other}."
DECODING = Decoding(max_tokens=48)
_REFUSAL = re.compile(
    r"\b(?:sorry|cannot|can't|can not|unable|as an ai|no image|not (?:able|visible|possible))\b",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"[\[(]\s*\d+(?:\.\d+)?\s*,")
WHY = ("failed", "empty", "cut off", "refusal", "too short", "too long", "name missing",
       "coordinates", "duplicate")  # fmt: skip


@dataclass(frozen=True)
class Caption:
    """What a model said about one object."""

    image: str
    item: int
    kind: str
    text: str
    related: bool
    source: Mapping[str, str]
    """Model, its fingerprint, the key of the call, the prompt."""


@dataclass
class Captioned:
    """The captions that passed, and why the others did not."""

    captions: list[Caption] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def lookup(self) -> dict[tuple[str, int], str]:
        """Return (image, annotation) to caption, the relational one where there are both."""
        found: dict[tuple[str, int], str] = {}
        for caption in sorted(self.captions, key=lambda caption: caption.related):
            found[caption.image, caption.item] = caption.text
        return found


def self_train(
    teacher: Teacher,
    pictures: Sequence[Picture],
    folder: Path,
    how: Locating,
    *,
    related: bool = True,
    words: tuple[int, int] = (2, 40),
) -> Captioned:
    """Ask the teacher about every object that can be named without doubt.

    Args:
        teacher: Usually the checkpoint after stage 1.
        pictures: With all their annotations.
        folder: Where the images are.
        how: Decides which objects are usable, and the seed.
        related: Ask a second time, relative to another object of the picture.
        words: Fewest and most words of a caption.

    Returns:
        Captions that name their object, are no refusal, cite no coordinates, are not cut off and
        are not said about another object of the same picture.
    """
    asked = {about[0].id: about for about in questions(pictures, folder, how)}
    chosen = [sample for sample, _, _ in asked.values() if related or sample.id.endswith("/a")]
    result = Captioned()
    about: dict[tuple[str, str], set[int]] = {}
    kept = []
    for reply in sorted(teacher.ask(chosen, DECODING), key=lambda reply: reply.sample.id):
        sample, picture, item = asked[reply.sample.id]
        text, why = _text(reply.answer, item.kind, words)
        if why:
            result.dropped[why] += 1
            continue
        source = {
            "model": str(teacher.identity["name"]),
            "fingerprint": str(teacher.identity["fingerprint"]),
            "call": reply.key,
            "prompt": next(part for part in sample.prompt if isinstance(part, str)),
        }
        twice = sample.id.endswith("/b")
        kept.append(Caption(picture.id, item.id, item.kind, text, twice, source))
        about.setdefault((picture.id, text.lower()), set()).add(item.id)
    for caption in kept:
        if len(about[caption.image, caption.text.lower()]) > 1:
            result.dropped["duplicate"] += 1
        else:
            result.captions.append(caption)
    return result


def questions(
    pictures: Iterable[Picture], folder: Path, how: Locating
) -> Iterator[tuple[Sample, Picture, Item]]:
    """Yield what would be asked about each usable object, ids ending in /a; /b: relational."""
    for picture in pictures:
        image = Image(picture.file, folder / picture.file)
        named = usable(picture, how)
        for item in named:
            id = f"{picture.id}/{item.id}"
            first = ALONE.replace("{kind}", item.kind)
            yield Sample(f"{id}/a", (image, first), cluster=picture.id), picture, item
            others = [other.kind for other in named if other is not item]
            if others:
                other = Random(repr((how.seed, picture.id, item.id))).choice(others)
                second = RELATED.replace("{kind}", item.kind).replace("{other}", other)
                yield Sample(f"{id}/b", (image, second), cluster=picture.id), picture, item


def _text(answer: Any, kind: str, words: tuple[int, int]) -> tuple[str, str]:
    """Return (caption, "") or ("", why it is dropped)."""
    if not isinstance(answer, Answer):
        return "", "failed"
    text = " ".join(answer.text.split())
    count = len(text.split())
    checks = (
        ("empty", not text),
        ("cut off", answer.stop == "length"),
        ("refusal", answer.stop == "refused" or bool(_REFUSAL.search(text))),
        ("too short", count < words[0]),
        ("too long", count > words[1]),
        ("coordinates", bool(_NUMBERS.search(text))),
        ("name missing", kind.split()[-1].lower() not in text.lower()),
    )
    why = next((name for name, wrong in checks if wrong), "")
    return ("", why) if why else (text, "")


def read_detections(
    path: Path, pictures: Sequence[Picture], names: Mapping[int, str], threshold: float = 0.5
) -> list[Picture]:
    """Return the pictures with a detector's boxes in the place of people's.

    Args:
        path: COCO results: [{image_id, category_id, bbox [left, top, width, height], score}].
        pictures: Their items are dropped; size and file are kept.
        names: Category id to name. What the detector never says is absent, so it should know
            every category that NegPred may ask for.
        threshold: Lowest score of a box that is believed. Boxes below it still count as present
            (crowds), so that nothing doubtful is called absent.

    Raises:
        DataError: With the row that is no detection, or whose image is unknown.
    """
    found: dict[str, list[Item]] = {picture.id: [] for picture in pictures}
    number = 0
    try:
        for number, row in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            left, top, width, height = (float(x) for x in row["bbox"])
            doubtful = float(row["score"]) < threshold
            box = (left, top, left + width, top + height)
            item = Item(number, names[int(row["category_id"])], box, crowd=doubtful)
            found[str(row["image_id"])].append(item)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}, row {number}: not COCO detection results ({type(error).__name__}: {error}); "
            "expected image_id, category_id, bbox and score of known images and categories"
        ) from error
    return [replace(picture, items=tuple(found[picture.id])) for picture in pictures]
