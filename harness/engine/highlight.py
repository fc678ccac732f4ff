"""Region highlights with colours that follow the position in a list; pure functions of pictures.

LSKD (Park et al. 2023, github jamespark3922/lskd, `vc_utils.py`) shows a model where `[0]`, `[1]`
are by a box in a colour of its own: `[0]` is pink with a green edge wherever it stands. The trainer
of such models and the model adapters that show them new questions draw with this file. A picture is
drawn on in its own size, before any resizing. Imports PIL inside.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from harness.errors import DataError, unknown

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int, int]
Palette = Literal["lskd", "extended"]

PALETTES: tuple[Palette, ...] = ("lskd", "extended")
SLOTS: tuple[tuple[Colour, Colour], ...] = (
    ((0xFF, 0x05, 0xCD, 0x20), (0x05, 0xFF, 0x37, 0xFF)),  # pink, green edge
    ((0xFF, 0x80, 0x00, 0x20), (0x99, 0xCC, 0xFF, 0xFF)),
    ((0x86, 0x2D, 0x2D, 0x20), (0xCC, 0x99, 0xFF, 0xFF)),
    ((0xFF, 0x80, 0x00, 0x20), (0xF5, 0xAD, 0x42, 0xFF)),
    ((0x86, 0x2D, 0x2D, 0x20), (0xF5, 0x5D, 0x42, 0xFF)),
)
"""(fill, outline) of the first five positions, as RGBA; the same in both palettes."""
WIDTH = 2
"""Of the outline, in pixels of the picture."""
FILL_ALPHA = 0x20
_GOLDEN = 0.6180339887498949
"""Steps of this share of the circle keep any number of hues apart."""


def colours(slot: int, palette: Palette = "lskd") -> tuple[Colour, Colour]:
    """Return (fill, outline) of the region at position `slot`, both RGBA.

    `lskd`: from the sixth on the published formula takes the position for a hash, which gives
    nearly the same dark grey for all of them; kept, because checkpoints were trained on it.
    `extended` (ours): from the sixth on hues far from each other, dark and light in turn.

    Raises:
        UsageError: there is no such palette.
        DataError: `slot` is negative.
    """
    from colorsys import hls_to_rgb

    if palette not in PALETTES:
        raise unknown("palette of region highlights", palette, PALETTES)
    if slot < 0:
        raise DataError(f"position {slot} of a region: the first is 0")
    if slot < len(SLOTS):
        return SLOTS[slot]
    if palette == "lskd":
        tone = slot % 1024 / 1024, slot % 1025 / 1025 * 0.6 + 0.4, slot % 1023 / 1023
    else:
        tone = (slot * _GOLDEN) % 1, (0.35, 0.7)[slot % 2], 1.0
    red, green, blue = (int(part * 255) for part in hls_to_rgb(*tone))
    return (red, green, blue, FILL_ALPHA), (red, green, blue, 0xFF)


def highlight(
    image: "Picture",
    boxes: Sequence[Box],
    palette: Palette = "lskd",
    slots: Sequence[int] | None = None,
) -> "Picture":
    """Return an RGB copy of a picture with its regions drawn; `image` stays as it is.

    Every box is blended in turn, so that where two overlap the later one lies over the earlier.

    Args:
        image: a picture of any mode that converts to RGB.
        boxes: (left, top, right, bottom) in its pixels, in drawing order; none is allowed. Edges
            outside the picture are clipped.
        palette: `lskd` as published, or `extended` for more than five regions.
        slots: the position that gives each box its colour, where that is not its place in `boxes`
            (the boxes of one region share theirs).

    Raises:
        DataError: a box ends before it begins, or boxes and slots differ in number.
        UsageError: there is no such palette.
    """
    slots = range(len(boxes)) if slots is None else slots
    if len(slots) != len(boxes):
        raise DataError(f"{len(boxes)} boxes and {len(slots)} slots; each box has one colour")
    painted = image.convert("RGB").convert("RGBA")  # opaque, so that blending keeps it so
    for slot, box in zip(slots, boxes, strict=True):
        left, top, right, bottom = box
        if not (left <= right and top <= bottom):
            raise DataError(
                f"the box ({left}, {top}, {right}, {bottom}) ends before it begins; a box is "
                "(left, top, right, bottom) in pixels"
            )
        blend(painted, [box], *colours(slot, palette), WIDTH)
    return painted.convert("RGB")


def blend(
    picture: "Picture", boxes: Sequence[Box], fill: Colour, outline: Colour, width: int
) -> None:
    """Draw boxes on one clear overlay and blend it into an RGBA picture, in place.

    The overlay is only as large as the boxes reach, to save time. It begins at a whole pixel, so
    that a float edge falls on the pixel that it would fall on in an overlay of the whole picture.
    """
    from PIL import Image as Pictures
    from PIL import ImageDraw

    spare = width + 1  # the edge of a box smaller than its edge reaches out of it
    left = min(max(int(min(box[0] for box in boxes)) - spare, 0), picture.width)
    top = min(max(int(min(box[1] for box in boxes)) - spare, 0), picture.height)
    right = min(int(max(box[2] for box in boxes)) + 1 + spare, picture.width)
    bottom = min(int(max(box[3] for box in boxes)) + 1 + spare, picture.height)
    if right <= left or bottom <= top:
        return  # outside the picture
    overlay = Pictures.new("RGBA", (right - left, bottom - top), (0, 0, 0, 0))
    draw = ImageDraw.Draw(overlay, "RGBA")
    for box in boxes:
        moved = box[0] - left, box[1] - top, box[2] - left, box[3] - top
        draw.rectangle(moved, fill=fill, outline=outline, width=width)
    picture.alpha_composite(overlay, (left, top))
