"""Variations of a picture on which regions are already drawn.

`lavis`: as LSKD's training configuration has it, a random crop of half to all of the area, a flip,
two light changes of BLIP's RandAugment. It may cut a mentioned region away, a flip makes left of
right, and changes of contrast move the colours of the highlights. `region_safe` (ours): the crop
alone, around all regions that are drawn. Lots come from the generator that is given. Imports PIL
inside.
"""

from collections.abc import Callable, Sequence
from math import exp, log
from random import Random
from typing import Any, Literal

Augment = Literal["none", "lavis", "region_safe"]
Box = tuple[float, float, float, float]

AREA = (0.5, 1.0)
"""Share of the picture's area that a crop has."""
RATIO = (3 / 4, 4 / 3)
"""Of a crop's width to its height."""
OPERATIONS = 2
CHANCE = 0.5
"""Of each of the chosen operations to be carried out."""
SHEAR, SHIFT, TURN = 0.15, 5, 15
"""Half of BLIP's largest: a share, pixels, degrees. At half, its brightness and sharpness do
nothing, as the identity that is among its operations."""
GREY = (128, 128, 128)


def varied(picture: Any, how: Augment, draw: Random, side: int, regions: Sequence[Box] = ()) -> Any:
    """Return a picture varied as `how` says, `side` pixels square; `none` returns it as it is.

    Args:
        picture: PIL, RGB, regions already drawn.
        how: Which variation.
        draw: Source of the lots.
        side: Pixels of the model's input.
        regions: Boxes that `region_safe` leaves whole, in pixels of the picture.
    """
    from PIL import Image, ImageOps

    if how == "none":
        return picture
    box = _crop(picture.width, picture.height, draw, regions if how == "region_safe" else ())
    out = picture.resize((side, side), Image.Resampling.BICUBIC, box=box)
    if how == "region_safe":
        return out
    if draw.random() < 0.5:
        out = ImageOps.mirror(out)
    for operation in draw.choices(_operations(), k=OPERATIONS):
        if draw.random() < CHANCE:
            out = operation(out, draw)
    return out


def _crop(width: int, height: int, draw: Random, keep: Sequence[Box]) -> Box:
    """Return a random part of a picture in which all boxes of `keep` lie; its whole if need be."""
    for _ in range(10):
        area = width * height * draw.uniform(*AREA)
        ratio = exp(draw.uniform(log(RATIO[0]), log(RATIO[1])))
        across, down = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if not (0 < across <= width and 0 < down <= height):
            continue
        left = _start(across, width, draw, [(box[0], box[2]) for box in keep])
        top = _start(down, height, draw, [(box[1], box[3]) for box in keep])
        if left is not None and top is not None:
            return left, top, left + across, top + down
    return 0, 0, width, height


def _start(size: int, limit: int, draw: Random, keep: Sequence[tuple[float, float]]) -> int | None:
    """Return where a stretch of `size` may begin to hold all of `keep`, by lot; None: nowhere."""
    first, last = 0, limit - size
    for begin, end in keep:
        first = max(first, int(-(-min(end, limit) // 1)) - size)
        last = min(last, int(max(begin, 0)))
    return draw.randint(first, last) if first <= last else None


def _operations() -> list[Callable[[Any, Random], Any]]:
    from PIL import Image, ImageOps

    def bent(make: Callable[[float], tuple[float, ...]], most: float) -> Callable[..., Any]:
        def operation(picture: Any, draw: Random) -> Any:
            much = most if draw.random() < 0.5 else -most
            return picture.transform(
                picture.size, Image.Transform.AFFINE, make(much),
                Image.Resampling.BILINEAR, fillcolor=GREY,
            )  # fmt: skip

        return operation

    def turn(picture: Any, draw: Random) -> Any:
        much = TURN if draw.random() < 0.5 else -TURN
        return picture.rotate(much, Image.Resampling.BILINEAR, fillcolor=GREY)

    def same(picture: Any, draw: Random) -> Any:
        return picture

    return [
        same,  # identity
        same,  # brightness at half strength
        same,  # sharpness at half strength
        lambda picture, draw: ImageOps.autocontrast(picture),
        lambda picture, draw: ImageOps.equalize(picture),
        bent(lambda much: (1, much, 0, 0, 1, 0), SHEAR),
        bent(lambda much: (1, 0, 0, much, 1, 0), SHEAR),
        bent(lambda much: (1, 0, much, 0, 1, 0), SHIFT),
        bent(lambda much: (1, 0, 0, 0, 1, much), SHIFT),
        turn,
    ]
