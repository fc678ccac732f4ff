"""AnyRes: which canvas a picture is put on, and how many tokens that costs (LLaVA-NeXT).

A canvas is a rectangle of whole tiles, (height, width) in pixels. The choice is transformers'
`select_best_resolution`: most effective pixels, then least waste, then the first listed. Token
counts are what `LlavaNextProcessor` expands a picture to. Dissertation, section 4.7; released
configurations of liuhaotian/llava-v1.6-*. Imports transformers inside the functions.
"""

from collections.abc import Sequence

from harness.errors import unknown

Canvas = tuple[int, int]

RELEASED: tuple[Canvas, ...] = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
"""Of the released models and scripts: up to three tiles in a row or column."""
DISSERTATION: tuple[Canvas, ...] = (*RELEASED, (336, 1344), (1344, 336))
"""The text's {2x2, 1x{2,3,4}, {2,3,4}x1}: four tiles in a row or column as well."""
GRIDS = {"released": RELEASED, "dissertation": DISSERTATION}


def grid(name: str) -> tuple[Canvas, ...]:
    """Return the canvases called `name`. Raises UsageError naming the known ones."""
    if name not in GRIDS:
        raise unknown("grid of canvases", name, GRIDS)
    return GRIDS[name]


def canvas(size: Canvas, canvases: Sequence[Canvas] = RELEASED) -> Canvas:
    """Return the canvas for a picture of `size` (height, width) in pixels."""
    from transformers.image_processing_utils import select_best_resolution

    height, width = select_best_resolution(size, [list(one) for one in canvases])
    return height, width


def tile_tokens(
    size: Canvas, canvases: Sequence[Canvas] = RELEASED, tile: int = 336, patch: int = 14
) -> int:
    """Return how many tokens a picture of `size` (height, width) pixels becomes.

    The whole picture squashed into one tile, plus the patches of the canvas without its padding,
    plus one newline for each row of them.
    """
    height, width = size
    high, wide = (side // patch for side in canvas(size, canvases))
    # Rounded before it is cut off, as transformers does: scale factors such as 1/3 times 3 must
    # not lose a row.
    if width / height > wide / high:
        high -= (high - int(round(height * wide / width, 7))) // 2 * 2
    else:
        wide -= (wide - int(round(width * high / height, 7))) // 2 * 2
    return (tile // patch) ** 2 + high * wide + high
