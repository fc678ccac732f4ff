"""How a place in a picture is written as text, and read back.

The three forms of LocVLM (Ranasinghe et al. 2024, arXiv 2404.07449, section 3.2): normalised
fractions (NFP), integer bins (IVB), deviation from grid anchors (DIGA). The paper's appendix with
the exact forms is not public; what is chosen here is listed in docs/trainers/locvlm.md.

A location is a point (x, y) or a box (left, top, right, bottom) in pixels of the original picture.
Numbers are told in a frame: the picture itself, the square that it is padded to, or the square
that its centre is cropped to. Pixels are taken to hundredths, COCO's own precision, and divided as
integers: floor(x / width * bins) in floating point puts one bin edge in ten a bin too low.
Imports only the standard library and harness.errors.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.errors import UsageError, unknown

Location = tuple[float, ...]
"""Two numbers: a point. Four: a box."""
Size = tuple[int, int]
"""Width and height of the original picture in pixels."""
FRAMES = ("image", "square", "crop")
_HUNDREDTHS = 100
_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_LOCATION = re.compile(
    rf"[\[(]\s*(?:(\d+)\s*[:;]\s*)?({_NUMBER}(?:\s*,\s*{_NUMBER})*)\s*[\])]", re.ASCII
)


class Unreadable(ValueError):
    """Text that holds no location in the codec's form; `reason` is one of REASONS."""

    def __init__(self, reason: str, text: str) -> None:
        """Keep why, for counting."""
        super().__init__(f"{reason}: {text[:200]!r}")
        self.reason = reason


REASONS = ("no location", "wrong form", "wrong arity", "out of range", "corners swapped")


@dataclass(frozen=True, slots=True)
class Frame:
    """The rectangle, in pixels of the original picture, that numbers are fractions of."""

    kind: Literal["image", "square", "crop"] = "square"

    def window(self, size: Size) -> tuple[int, int, int, int]:
        """Return (left, top, width, height) of the frame; left and top may be negative.

        A picture is padded and cropped around its middle, halves rounded down, as CLIP's and
        LLaVA's preprocessing do.
        """
        width, height = size
        if self.kind == "image":
            return 0, 0, width, height
        side = max(size) if self.kind == "square" else min(size)
        if self.kind == "square":
            return -((side - width) // 2), -((side - height) // 2), side, side
        return (width - side) // 2, (height - side) // 2, side, side

    def holds(self, location: Location, size: Size) -> bool:
        """Say whether the whole location lies inside the frame (always, unless it is cropped)."""
        left, top, width, height = self.window(size)
        xs, ys = location[0::2], location[1::2]
        return (
            left <= min(xs)
            and max(xs) <= left + width
            and top <= min(ys)
            and max(ys) <= top + height
        )


@dataclass(frozen=True)
class Codec(ABC):
    """What the three forms share: the frame, the brackets, the order of corners."""

    frame: Frame = field(default_factory=Frame)
    brackets: Literal["[]", "()"] = "[]"
    name: str = ""

    def encode(self, location: Sequence[float], size: Size) -> str:
        """Write a point or a box. Coordinates outside the frame are moved to its edge.

        Raises UsageError for another number of coordinates or swapped corners.
        """
        if len(location) not in (2, 4):
            raise UsageError(f"a location has 2 or 4 numbers, found {len(location)}")
        if len(location) == 4 and (location[0] > location[2] or location[1] > location[3]):
            raise UsageError(f"a box is (left, top, right, bottom), found {tuple(location)}")
        opened, closed = self.brackets
        return f"{opened}{self._write(self._shares(location, size))}{closed}"

    def decode(self, text: str, size: Size, numbers: int | None = None) -> Location:
        """Read the first location in a text, in pixels of the original picture.

        Args:
            text: What a model wrote; either kind of bracket, any spacing.
            size: Width and height of the original picture.
            numbers: 2 to admit points only, 4 for boxes only.

        Raises:
            Unreadable: With one of REASONS.
        """
        found = _LOCATION.search(text)
        if found is None:
            raise Unreadable("no location", text)
        anchor, words = found.group(1), [word.strip() for word in found.group(2).split(",")]
        if len(words) not in ((2, 4) if numbers is None else (numbers,)):
            raise Unreadable("wrong arity", text)
        shares = self._read(anchor, words, text)
        if len(shares) == 4 and (shares[0] > shares[2] or shares[1] > shares[3]):
            raise Unreadable("corners swapped", text)
        left, top, width, height = self.frame.window(size)
        return tuple(
            (top + share * height) if place % 2 else (left + share * width)
            for place, share in enumerate(shares)
        )

    def _shares(self, location: Sequence[float], size: Size) -> list[tuple[int, int]]:
        """Return each coordinate as (hundredths of a pixel in the frame, frame in the same)."""
        left, top, width, height = self.frame.window(size)
        shares = []
        for place, value in enumerate(location):
            start, length = (top, height) if place % 2 else (left, width)
            whole = length * _HUNDREDTHS
            inside = round(value * _HUNDREDTHS) - start * _HUNDREDTHS
            shares.append((min(max(inside, 0), whole), whole))
        return shares

    @abstractmethod
    def _write(self, shares: list[tuple[int, int]]) -> str:
        """Return what stands between the brackets."""

    @abstractmethod
    def _read(self, anchor: str | None, words: list[str], text: str) -> list[float]:
        """Return fractions of the frame; raise Unreadable for another form."""


@dataclass(frozen=True)
class Fractions(Codec):
    """NFP: fractions of the frame, 4 decimals. Half a unit in the last place is what it loses."""

    name: str = "nfp"
    decimals: int = 4

    def _write(self, shares: list[tuple[int, int]]) -> str:
        return ", ".join(f"{inside / whole:.{self.decimals}f}" for inside, whole in shares)

    def _read(self, anchor: str | None, words: list[str], text: str) -> list[float]:
        if anchor is not None:
            raise Unreadable("wrong form", text)
        values = [float(word) for word in words]
        if not all(0 <= value <= 1 for value in values):
            raise Unreadable("out of range", text)
        return values


@dataclass(frozen=True)
class Bins(Codec):
    """IVB: integers from 0 to bins - 1. Read back as the middle of the bin: half a bin is lost."""

    name: str = "ivb"
    bins: int = 224

    def _bin(self, inside: int, whole: int) -> int:
        return min(inside * self.bins // whole, self.bins - 1)

    def _write(self, shares: list[tuple[int, int]]) -> str:
        return ", ".join(str(self._bin(*share)) for share in shares)

    def _read(self, anchor: str | None, words: list[str], text: str) -> list[float]:
        if anchor is not None or not all(word.isdecimal() for word in words):
            raise Unreadable("wrong form", text)
        return self._middles([_integer(word, text) for word in words], text)

    def _middles(self, bins: list[int], text: str) -> list[float]:
        if not all(0 <= number < self.bins for number in bins):
            raise Unreadable("out of range", text)
        return [(number + 0.5) / self.bins for number in bins]


@dataclass(frozen=True)
class Anchors(Bins):
    """DIGA: the cell of a grid, then the signed deviation from its middle in bins.

    `[27: +3, -12]`: cells are counted row by row from 0; a box belongs to the cell of its centre
    and all its four sides deviate from that cell's middle. The grid divides the bins.
    """

    name: str = "diga"
    grid: int = 8

    def __post_init__(self) -> None:
        """Refuse a grid that does not divide the bins."""
        if self.grid < 1 or self.bins % self.grid:
            raise UsageError(f"a grid of {self.grid} does not divide {self.bins} bins")

    def _middle(self, cell: int) -> int:
        return cell * (self.bins // self.grid) + self.bins // self.grid // 2

    def _write(self, shares: list[tuple[int, int]]) -> str:
        bins = [self._bin(*share) for share in shares]
        centres = [(bins[axis] + bins[axis - 2]) // 2 for axis in (0, 1)]  # of a point: itself
        column, row = (centre * self.grid // self.bins for centre in centres)
        middles = (self._middle(column), self._middle(row))
        told = (f"{number - middles[place % 2]:+d}" for place, number in enumerate(bins))
        return f"{row * self.grid + column}: {', '.join(told)}"

    def _read(self, anchor: str | None, words: list[str], text: str) -> list[float]:
        if anchor is None or not all(word.lstrip("+-").isdecimal() for word in words):
            raise Unreadable("wrong form", text)
        row, column = divmod(_integer(anchor, text), self.grid)
        if row >= self.grid:
            raise Unreadable("out of range", text)
        middles = (self._middle(column), self._middle(row))
        deviations = [_integer(word, text) for word in words]
        return self._middles([n + middles[place % 2] for place, n in enumerate(deviations)], text)


def _integer(word: str, text: str) -> int:
    if len(word) > 9:  # no picture has so many bins, and int() refuses very long numbers
        raise Unreadable("out of range", text)
    return int(word)


def codec(
    name: str,
    *,
    bins: int = 224,
    grid: int = 8,
    frame: str = "square",
    brackets: str = "[]",
) -> Codec:
    """Make the codec called `name`: nfp, ivb or diga.

    Raises UsageError for unknown names and for a grid that does not divide the bins.
    """
    if frame not in FRAMES:
        raise unknown("frame", frame, FRAMES)
    if brackets not in ("[]", "()"):
        raise unknown("brackets", brackets, ("[]", "()"))
    told: dict[str, Any] = {"frame": Frame(frame), "brackets": brackets}  # type: ignore[arg-type]
    if name == "nfp":
        return Fractions(**told)
    if bins < 1:
        raise UsageError(f"a codec needs at least one bin, found {bins}")
    if name == "ivb":
        return Bins(bins=bins, **told)
    if name == "diga":
        return Anchors(bins=bins, grid=grid, **told)
    raise unknown("codec", name, ("nfp", "ivb", "diga"))


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the intersection over union of two boxes; 0 where both are empty."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    whole = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared
    return shared / whole if whole > 0 else 0.0
