"""Drawing regions on a picture, pixel for pixel as two published scorers do; pure functions.

`lskd`: LSKD's `vc_utils.py` (`draw_region`): every box on an overlay of its own, in order, so that
where boxes overlap the later one is blended over the earlier; the colour follows the position in
the list, never the object. `sherlock`: the CLIP scripts of Sherlock's leaderboard (mode 2): all
boxes on one overlay, so that the later box replaces the earlier; one colour.

Both draw on the picture in its own size, before any resizing, on the exact box as a float. Imports
PIL inside, so that a task that draws nothing needs nothing.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Literal

from harness.errors import DataError, unknown

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int, int]
Style = Literal["lskd", "sherlock"]

LSKD_SLOTS: tuple[tuple[Colour, Colour], ...] = (
    ((0xFF, 0x05, 0xCD, 0x20), (0x05, 0xFF, 0x37, 0xFF)),  # pink, green edge
    ((0xFF, 0x80, 0x00, 0x20), (0x99, 0xCC, 0xFF, 0xFF)),
    ((0x86, 0x2D, 0x2D, 0x20), (0xCC, 0x99, 0xFF, 0xFF)),
    ((0xFF, 0x80, 0x00, 0x20), (0xF5, 0xAD, 0x42, 0xFF)),
    ((0x86, 0x2D, 0x2D, 0x20), (0xF5, 0x5D, 0x42, 0xFF)),
)
"""(fill, outline) of the first five boxes, as RGBA."""
SHERLOCK: tuple[Colour, Colour] = ((0xFF, 0x05, 0xCD, 0x3C), (0x05, 0xFF, 0x37, 0xFF))
_LSKD_WIDTH, _SHERLOCK_WIDTH = 2, 3


def lskd_colours(slot: int) -> tuple[Colour, Colour]:
    """Return (fill, outline) of the box at position `slot` of the list.

    From the sixth on the published formula takes the position for a hash, which gives nearly the
    same dark grey for all of them; kept, because the checkpoints were trained on it.
    """
    if slot < len(LSKD_SLOTS):
        return LSKD_SLOTS[slot]
    from colorsys import hls_to_rgb

    light = slot % 1025 / 1025 * 0.6 + 0.4
    red, green, blue = hls_to_rgb(slot % 1024 / 1024, light, slot % 1023 / 1023)
    colour = int(red * 255), int(green * 255), int(blue * 255)
    return (*colour, 0x20), (*colour, 0xFF)


def drawn(
    image: bytes, boxes: Sequence[Box], style: Style, slots: Sequence[int] | None = None
) -> bytes:
    """Return the picture with its regions drawn, as PNG (lossless: only the boxes change it).

    Args:
        image: an encoded picture of any format PIL reads.
        boxes: (left, top, right, bottom) in its pixels, in drawing order; none is allowed. Edges
            outside the picture are clipped.
        style: `lskd` or `sherlock`.
        slots: the colour of each box where that is not its position in the list (LSKD's letter
            prompts colour by object id); `sherlock` has one colour and ignores it.

    Raises:
        DataError: the bytes are no picture, or a box ends before it begins.
        UsageError: there is no such style.
    """
    from PIL import Image as Pictures

    if style not in _STYLES:
        raise unknown("style of drawing regions", style, _STYLES)
    slots = range(len(boxes)) if slots is None else slots
    if len(slots) != len(boxes):
        raise DataError(f"{len(boxes)} boxes and {len(slots)} slots; each box has one colour")
    for left, top, right, bottom in boxes:
        if not (left <= right and top <= bottom):
            raise DataError(
                f"the box ({left}, {top}, {right}, {bottom}) ends before it begins; a box is "
                "(left, top, right, bottom) in pixels"
            )
    try:
        with Pictures.open(BytesIO(image)) as opened:
            picture = opened.convert("RGBA" if style == "sherlock" else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"regions cannot be drawn: this is no picture ({error})") from error
    out = BytesIO()
    # Level 1: these bytes are decoded once and thrown away, so size is no concern and time is.
    _STYLES[style](picture, boxes, slots).convert("RGB").save(out, "PNG", compress_level=1)
    return out.getvalue()


def _lskd(picture: "Picture", boxes: Sequence[Box], slots: Sequence[int]) -> "Picture":
    picture = picture.convert("RGBA")  # opaque, so that blending keeps it so
    for slot, box in zip(slots, boxes, strict=True):
        _blend(picture, [box], *lskd_colours(slot), _LSKD_WIDTH)
    return picture


def _sherlock(picture: "Picture", boxes: Sequence[Box], slots: Sequence[int]) -> "Picture":
    if boxes:
        _blend(picture, boxes, *SHERLOCK, _SHERLOCK_WIDTH)
    return picture


def _blend(
    picture: "Picture", boxes: Sequence[Box], fill: Colour, outline: Colour, width: int
) -> None:
    """Draw boxes on one clear overlay and blend it in; only as large as they reach, to save time.

    The overlay begins at a whole pixel, so that a float edge falls on the pixel that it would fall
    on in an overlay of the whole picture.
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


_STYLES: dict[str, Callable[["Picture", Sequence[Box], Sequence[int]], "Picture"]] = {
    "lskd": _lskd,
    "sherlock": _sherlock,
}
