"""Asking a model that was trained on drawn regions the way it was trained (`-o regions=draw`).

A student of LSKD reads `[0]`, `[1]` in a text and sees `[0]`, `[1]` in their colours in the picture
(harness/engine/highlight.py). Tasks know their regions by other names and some draw them in a style
of their own. Here a sample's regions are numbered in the order in which it lists them, drawn on the
picture as it was published, and called by these numbers in its texts; its texts are put into the
form of the training (lower case, so many words, a prefix). The rules lie beside the weights in
regions.json; without it they are those of LSKD. PIL inside functions.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from harness.engine.highlight import PALETTES, Box, Palette, highlight
from harness.engine.inputs import open_image
from harness.errors import DataError
from harness.types import Image, Region, Sample

CARD = "regions.json"
NUMBERED = re.compile(r"\[([0-9]{1,4})\]")
_REFERENCE = re.compile(r"\[[^\[\]]{1,40}\]|[A-Za-z_]{1,30}[0-9]{1,4}")
"""What a name must look like to be looked for in texts: [3], [person1], person1; not "dog"."""
_BLANKS = re.compile(r"\s{2,}")


@dataclass(frozen=True, slots=True)
class Rules:
    """How a model wants to be asked."""

    palette: Palette = "lskd"
    draw: bool = True
    """False: it was trained with numbers and nothing drawn."""
    prefix: str = "question: "
    words: int = 70
    """Words that are kept, the prefix not counted; 0: all."""


def rules(address: str) -> Rules:
    """Return the rules of the model at `address`; LSKD's where it has none.

    Raises DataError when its regions.json cannot be read.
    """
    path = Path(address) / CARD
    if not path.is_file():
        return Rules()
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        found = Rules(
            facts["palette"], bool(facts["draw"]), str(facts["prefix"]), int(facts["words"])
        )
        if found.palette not in PALETTES:
            raise ValueError(f"no palette {found.palette!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: does not say how regions and texts are made ready "
            f"({type(error).__name__}: {error})"
        ) from error
    return found


class Shower:
    """Puts samples into the form that a model was trained on."""

    def __init__(self, found: Rules) -> None:
        """Follow the rules `found`."""
        self.rules = found
        self.drawn = self.kept = 0
        """Samples whose regions were drawn here, and whose task had drawn them already in a way
        that cannot be undone."""
        self._images: dict[tuple[Image, str], Image] = {}

    def facts(self) -> dict[str, Any]:
        """Return what the record says."""
        return {**asdict(self.rules), "drawn": self.drawn, "drawn_by_the_task": self.kept}

    def __call__(self, sample: Sample) -> Sample:
        """Return a sample of one picture and choices that are whole texts, for ranking.

        A sample with more or fewer pictures, or without choices, comes back as it is.
        """
        images = [part for part in sample.prompt if isinstance(part, Image)]
        if len(images) != 1 or not sample.choices:
            return sample
        slots = numbered(sample.regions)
        names = [region.label for region in sample.regions]
        said = [part.strip() for part in sample.prompt if isinstance(part, str) and part.strip()]
        texts = renamed([" ".join([*said, choice]) for choice in sample.choices], names, slots)
        image = self._shown(images[0], [region.box for region in sample.regions], slots)
        choices = tuple(self.text(text) for text in texts)
        return replace(sample, prompt=(image,), choices=choices)

    def text(self, said: str) -> str:
        """Return a text in the form of the training; a prefix that it has already counts once."""
        plain = _BLANKS.sub(" ", said.lower()).strip()
        prefix = self.rules.prefix
        if prefix and plain.startswith(prefix.lower()):
            plain = plain[len(prefix) :]
        parts = plain.split(" ")
        count = self.rules.words
        return prefix + (" ".join(parts[:count]) if count and len(parts) > count else plain)

    def _shown(self, image: Image, boxes: Sequence[Box], slots: Sequence[int]) -> Image:
        if not self.rules.draw:
            return undrawn(image)
        if not boxes:
            return image
        plain = undrawn(image)
        if plain is image and "#" in image.name and not isinstance(image.source, Path):
            self.kept += 1
            return image
        return self._drawn(image, plain, boxes, slots)

    def _drawn(
        self, image: Image, plain: Image, boxes: Sequence[Box], slots: Sequence[int]
    ) -> Image:
        listed = ";".join(
            f"{slot}:{','.join(f'{edge:.10g}' for edge in box)}"
            for slot, box in zip(slots, boxes, strict=True)
        )
        key = plain, listed
        if key not in self._images:
            name = f"{plain.name}#{self.rules.palette}={listed}"
            source = partial(_render, plain, tuple(boxes), tuple(slots), self.rules.palette)
            self._images[key] = Image(name, None if plain.source is None else source)
        self.drawn += 1
        return self._images[key]


def undrawn(image: Image) -> Image:
    """Return the picture as it was published where a task draws on it.

    A task that draws makes its picture as `partial(draw, plain picture, ...)`.
    """
    if isinstance(image.source, partial):
        for value in image.source.args:
            if isinstance(value, Image):
                return undrawn(value)
    return image


def numbered(regions: Sequence[Region]) -> list[int]:
    """Return the position of each region: by first appearance; those of one name share theirs.

    Regions without a name are one: the boxes of a clue.
    """
    slots: dict[str, int] = {}
    return [slots.setdefault(region.label, len(slots)) for region in regions]


def renamed(texts: Sequence[str], names: Sequence[str], slots: Sequence[int]) -> list[str]:
    """Return texts with each name of a region replaced by its number in brackets.

    Only names that look like references are looked for. Where some have the form `[3]`, other such
    numbers in the texts are of things that are not drawn, and go on counting behind those that are.
    """
    known = {
        name: f"[{slot}]"
        for name, slot in zip(names, slots, strict=True)
        if _REFERENCE.fullmatch(name)
    }
    if not known:
        return list(texts)
    if any(NUMBERED.fullmatch(name) for name in known):
        after = max(slots) + 1
        for text in texts:
            for match in NUMBERED.finditer(text):
                if match[0] not in known:
                    known[match[0]] = f"[{after}]"
                    after += 1
    longest = sorted(known, key=lambda name: (-len(name), name))
    pattern = re.compile("|".join(_whole(name) for name in longest))
    return [pattern.sub(lambda match: known[match[0]], text) for text in texts]


def _whole(name: str) -> str:
    return re.escape(name) if name.startswith("[") else rf"(?<!\w){re.escape(name)}(?!\w)"


def _render(plain: Image, boxes: Sequence[Box], slots: Sequence[int], palette: Palette) -> bytes:
    out = BytesIO()
    # Level 1: these bytes are decoded once and thrown away, so size is no concern and time is.
    highlight(open_image(plain), boxes, palette, slots).save(out, "PNG", compress_level=1)
    return out.getvalue()
