"""A picture's classes, place by place, as one line of text: what segmentation answers are.

    2x3 0*2 - 17*3

is a map of 2 rows and 3 columns: class 0 twice, one place of the background, class 17 three times;
row by row, from the left. Such a map has any size; it is stretched over the picture that it
describes. A model writes it, so the reader is strict: one wrong character and there is no map.
Imports the standard library; numpy inside the functions.
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_PLACES = 16_000_000
"""Larger maps are refused: no picture that is scored has as many pixels."""
_HEAD = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4}) ")
_RUN = re.compile(r"(-|0|[1-9][0-9]{0,3})(?:\*([1-9][0-9]{0,7}))?")


def written(places: "NDArray[Any]", background: int) -> str:
    """Return the text of a map.

    Args:
        places: (height, width), at least 1 x 1, class numbers from 0.
        background: the number that stands for the background and is written as "-".
    """
    import numpy as np

    height, width = places.shape
    flat = places.ravel()
    starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
    counts = np.diff(np.r_[starts, flat.size])
    words = []
    for value, count in zip(flat[starts].tolist(), counts.tolist(), strict=True):
        name = "-" if value == background else str(value)
        words.append(name if count == 1 else f"{name}*{count}")
    return f"{height}x{width} {' '.join(words)}"


def read(text: str, classes: int) -> "NDArray[np.int64] | None":
    """Return the map (height, width) that a text holds, or None where it holds none.

    Classes are 0 to `classes` - 1; the background becomes `classes`. White space around the text
    is passed over, nothing else is forgiven.
    """
    import numpy as np

    text = text.strip()
    head = _HEAD.match(text)
    if head is None:
        return None
    height, width = int(head[1]), int(head[2])
    if height * width > MOST_PLACES:
        return None
    values: list[int] = []
    counts: list[int] = []
    room = height * width
    for word in text[head.end() :].split(" "):
        run = _RUN.fullmatch(word)
        if run is None:
            return None
        value = classes if run[1] == "-" else int(run[1])
        count = int(run[2] or 1)
        room -= count
        if room < 0 or (value >= classes and run[1] != "-"):
            return None
        values.append(value)
        counts.append(count)
    if room:
        return None
    return np.repeat(np.array(values, np.int64), counts).reshape(height, width)


def stretched(places: "NDArray[Any]", height: int, width: int) -> "NDArray[Any]":
    """Return a map at another size: each pixel takes the class of the place that it lies in."""
    import numpy as np

    rows = (2 * np.arange(height) + 1) * places.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * places.shape[1] // (2 * width)
    found: NDArray[Any] = places[rows[:, None], columns[None, :]]
    return found
