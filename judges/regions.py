"""Drawing regions on a picture, pixel for pixel as two published scorers do; pure functions.

`lskd`: LSKD's `vc_utils.py` (`draw_region`): every box on an overlay of its own, in order, so that
where boxes overlap the later one is blended over the earlier; the colour follows the position in
the list, never the object. `sherlock`: the CLIP scripts of Sherlock's leaderboard (mode 2): all
boxes on one overlay, so that the later box replaces the earlier; one colour.

Both draw on the picture in its own size, before any resizing, on the exact box as a float. LSKD's
colours and the blending are in harness/engine/highlight.py, which trainers and model adapters use
too. Imports PIL inside, so that a task that draws nothing needs nothing.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Literal

from harness.engine.highlight import SLOTS, WIDTH, Colour, blend, colours
from harness.engine.highlight import Box as Box
from harness.errors import DataError, unknown

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Style = Literal["lskd", "sherlock"]

LSKD_SLOTS, lskd_colours = SLOTS, colours
SHERLOCK: tuple[Colour, Colour] = ((0xFF, 0x05, 0xCD, 0x3C), (0x05, 0xFF, 0x37, 0xFF))
_SHERLOCK_WIDTH = 3


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
        blend(picture, [box], *lskd_colours(slot), WIDTH)
    return picture


def _sherlock(picture: "Picture", boxes: Sequence[Box], slots: Sequence[int]) -> "Picture":
    if boxes:
        blend(picture, boxes, *SHERLOCK, _SHERLOCK_WIDTH)
    return picture


_STYLES: dict[str, Callable[["Picture", Sequence[Box], Sequence[int]], "Picture"]] = {
    "lskd": _lskd,
    "sherlock": _sherlock,
}
