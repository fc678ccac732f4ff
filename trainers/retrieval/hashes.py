"""Perceptual hashes: pictures that look the same have hashes that differ in few bits.

The hash is of the discrete cosine transform: grey, 32 x 32, the 63 lowest frequencies of an 8 x 8
corner without the mean, one bit each, set where it is above their median (Zauner 2010, "Implement-
ation and benchmarking of perceptual image hash functions", section 3.2.1). Another size, quality
or file format changes few bits; a crop changes many. A picture without anything on it has no such
hash. numpy and PIL are imported inside functions.
"""

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

BITS = 63
SIDE, LOW = 32, 8
FLAT = 4
"""Levels of grey; a picture that spans fewer is flat, and what its hash says is noise."""


def of_picture(picture: Any) -> int | None:
    """Return the hash of a picture (PIL, any mode), 63 bits; None for a flat one."""
    import numpy as np
    from PIL import Image

    small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, np.float64)
    if np.ptp(grey) < FLAT:
        return None
    waves = _waves()
    low = (waves @ grey @ waves.T).ravel()[1:]
    # Rounded, so that coefficients that are equal but for the last bit of a sum stay equal.
    bits = np.round(low, 6) > np.median(np.round(low, 6))
    return int("".join("1" if bit else "0" for bit in bits), 2)


@cache
def _waves() -> "np.ndarray[Any, Any]":
    """Return the first rows (8, 32) of the matrix of the DCT-II, not scaled."""
    import numpy as np

    rows, places = np.arange(LOW)[:, None], np.arange(SIDE)
    found: np.ndarray[Any, Any] = np.cos(np.pi * rows * (2 * places + 1) / (2 * SIDE))
    return found


class Near:
    """Hashes, looked up by likeness.

    Two hashes that differ in at most d bits agree in at least one of d + 1 bands of bits, so only
    those that share a band are compared.
    """

    def __init__(self, distance: int) -> None:
        """Find hashes that differ in at most `distance` bits."""
        self._distance = distance
        edges = [BITS * i // (distance + 1) for i in range(distance + 2)]
        self._bands = [(low, (1 << (high - low)) - 1) for low, high in pairwise(edges)]
        self._kept: list[dict[int, list[tuple[int, str]]]] = [{} for _ in self._bands]

    def add(self, look: int, name: str) -> None:
        """Keep a hash and whose it is."""
        for (low, mask), kept in zip(self._bands, self._kept, strict=True):
            kept.setdefault(look >> low & mask, []).append((look, name))

    def find(self, look: int) -> str | None:
        """Return the name of a kept hash that is near; of several, one of the first kept."""
        for (low, mask), kept in zip(self._bands, self._kept, strict=True):
            for other, name in kept.get(look >> low & mask, ()):
                if (other ^ look).bit_count() <= self._distance:
                    return name
        return None
