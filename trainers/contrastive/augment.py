"""REACT's random changes of a picture, drawn from a generator of its own for each item and epoch.

The released script's (microsoft/react, react_customization/README.md), carried out with timm:
a random crop resized, a mirror image, RandAugment (`rand-m9-mstd0.5-inc1`: two changes, each made
with probability 0.5 at a strength near 9 of 10 that grows with it), random erasing. The script also
asks for colour jitter of 0.4, which timm leaves out where RandAugment is on; so do we. The random
numbers are numpy's, not timm's. Imports numpy and Pillow at the top.
"""

from collections.abc import Callable
from hashlib import sha256
from math import exp, log, sqrt
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

SCALE = (0.08, 1.0)
"""Share of the picture's area that a crop has."""
RATIO = (3 / 4, 4 / 3)
"""Width by height of a crop."""
MIRROR = 0.5
CHANGES, CHANGE, STRENGTH, SPREAD = 2, 0.5, 9.0, 0.5
"""Changes of RandAugment, how likely each is made, its strength (of 10) and its deviation."""
ERASE = 0.25
ERASED = (0.02, 1 / 3)
"""Share of the area that is erased."""

Picture = Image.Image
Change = Callable[[Picture, float, np.random.Generator, tuple[int, ...]], Picture]


def generator(seed: int, epoch: int, id: str) -> np.random.Generator:
    """Return the generator of an item in an epoch."""
    digest = sha256(f"{seed} {epoch} {id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def changed(
    picture: Picture, side: int, mean: Any, std: Any, draw: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a picture randomly changed, as normalised pixels [3, side, side].

    Args:
        picture: RGB.
        side: Pixels of a side.
        mean: Of the three colours, of 1; it also fills what a shift or turn uncovers.
        std: Of the three colours, of 1.
        draw: From `generator`.
    """
    picture = crop(picture, side, draw)
    if draw.random() < MIRROR:
        picture = ImageOps.mirror(picture)
    fill = tuple(min(255, round(255 * float(value))) for value in mean)
    for at in draw.integers(len(OPERATIONS), size=CHANGES):
        if draw.random() < CHANGE:
            level = float(np.clip(draw.normal(STRENGTH, SPREAD), 0, 10)) / 10
            picture = OPERATIONS[at](picture, level, draw, fill)
    pixels = np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
    columns = [np.asarray(v, dtype=np.float32).reshape(3, 1, 1) for v in (mean, std)]
    normal: np.ndarray[Any, np.dtype[np.float32]] = (pixels - columns[0]) / columns[1]
    return erase(normal, draw)


def crop(picture: Picture, side: int, draw: np.random.Generator) -> Picture:
    """Return a random part of the picture, resized (bicubic) to `side` x `side`.

    After ten tries that do not fit, the largest central part of an allowed shape.
    """
    width, height = picture.size
    for _ in range(10):
        area = width * height * draw.uniform(*SCALE)
        ratio = exp(draw.uniform(log(RATIO[0]), log(RATIO[1])))
        w, h = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(draw.integers(width - w + 1))
            top = int(draw.integers(height - h + 1))
            break
    else:
        w = min(width, max(1, round(height * RATIO[1])))
        h = min(height, max(1, round(width / RATIO[0])))
        left, top = (width - w) // 2, (height - h) // 2
    box = (left, top, left + w, top + h)
    return picture.resize((side, side), Image.Resampling.BICUBIC, box=box)


def erase(
    pixels: np.ndarray[Any, np.dtype[np.float32]], draw: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Replace a random rectangle by noise of standard deviation 1, with probability ERASE."""
    if draw.random() >= ERASE:
        return pixels
    _, height, width = pixels.shape
    for _ in range(10):
        area = width * height * draw.uniform(*ERASED)
        ratio = exp(draw.uniform(log(0.3), log(1 / 0.3)))
        h, w = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if 0 < w < width and 0 < h < height:
            top = int(draw.integers(height - h + 1))
            left = int(draw.integers(width - w + 1))
            noise = draw.standard_normal((3, h, w), dtype=np.float32)
            pixels[:, top : top + h, left : left + w] = noise
            break
    return pixels


def _signed(value: float, draw: np.random.Generator) -> float:
    return value if draw.random() < 0.5 else -value


def _affine(picture: Picture, matrix: tuple[float, ...], fill: tuple[int, ...]) -> Picture:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=fill
    )


def _enhancer(kind: Any) -> Change:
    def enhance(
        picture: Picture, level: float, draw: np.random.Generator, fill: tuple[int, ...]
    ) -> Picture:
        found: Picture = kind(picture).enhance(1 + _signed(0.9 * level, draw))
        return found

    return enhance


def _solarize_add(
    picture: Picture, level: float, draw: np.random.Generator, fill: tuple[int, ...]
) -> Picture:
    added = int(110 * level)
    table = [min(255, value + added) if value < 128 else value for value in range(256)]
    return picture.point(table * 3)


def _posterize(picture: Picture, bits: int) -> Picture:
    return picture.point([value & (0xFF << (8 - bits)) & 0xFF for value in range(256)] * 3)


OPERATIONS: tuple[Change, ...] = (
    lambda p, level, draw, fill: ImageOps.autocontrast(p),
    lambda p, level, draw, fill: ImageOps.equalize(p),
    lambda p, level, draw, fill: ImageOps.invert(p),
    lambda p, level, draw, fill: p.rotate(
        _signed(30 * level, draw), Image.Resampling.BICUBIC, fillcolor=fill
    ),
    # Posterising keeps 4 bits at most and none at full strength, as there.
    lambda p, level, draw, fill: _posterize(p, 4 - int(4 * level)),
    lambda p, level, draw, fill: ImageOps.solarize(p, 256 - min(256, int(256 * level))),
    _solarize_add,
    _enhancer(ImageEnhance.Color),
    _enhancer(ImageEnhance.Contrast),
    _enhancer(ImageEnhance.Brightness),
    _enhancer(ImageEnhance.Sharpness),
    lambda p, level, draw, fill: _affine(p, (1, _signed(0.3 * level, draw), 0, 0, 1, 0), fill),
    lambda p, level, draw, fill: _affine(p, (1, 0, 0, _signed(0.3 * level, draw), 1, 0), fill),
    lambda p, level, draw, fill: _affine(
        p, (1, 0, _signed(0.45 * level, draw) * p.size[0], 0, 1, 0), fill
    ),
    lambda p, level, draw, fill: _affine(
        p, (1, 0, 0, 0, 1, _signed(0.45 * level, draw) * p.size[1]), fill
    ),
)
"""RandAugment's changes; `level` is a share of the full strength."""
