"""German traffic signs for GTSRB's classes, 48 x 48. Imports harness.world; PIL inside functions.

Which classes are drawn is in _elevater_words.py; `sign` knows them by their position.
"""

from collections.abc import Sequence
from math import cos, pi, sin
from random import Random
from typing import Any

from harness.world.render import text_font

Rgb = tuple[int, int, int]
_RED, _BLUE, _WHITE, _INK, _GREY = (
    (200, 30, 36), (30, 80, 180), (250, 250, 250), (26, 26, 30), (120, 122, 128)
)  # fmt: skip
_SIDE = 192
_LIMITS = {0: 20, 1: 30, 2: 50, 3: 60, 4: 70, 5: 80, 7: 100, 8: 120}
_GROUNDS = ((150, 178, 150), (170, 190, 214), (186, 180, 170), (120, 140, 120))


def sign(draw: Random, place: int) -> Any:
    """Return the sign of the class at this position; a KeyError for one that is not drawn."""
    from PIL import Image, ImageDraw

    by = draw.randint(-18, 18)
    red, green, blue = (value + by for value in draw.choice(_GROUNDS))
    ground: Rgb = (red, green, blue)
    image = Image.new("RGB", (_SIDE, _SIDE), ground)
    brush = ImageDraw.Draw(image)
    if place in _LIMITS:
        _ringed(brush)
        text = str(_LIMITS[place])
        font = text_font(84 if len(text) == 2 else 64)
        brush.text(
            (96, 98), text, font=font, fill=_INK, anchor="mm", stroke_width=3, stroke_fill=_INK
        )
    elif place in (11, 18, 19, 20, 21, 26):
        _warning(brush, place)
    elif 33 <= place <= 39:
        _circle(brush, 84, _BLUE)
        _arrows(brush, place)
    else:
        _others(brush, place)
    small = image.rotate(draw.uniform(-6, 6), fillcolor=ground)
    margin = draw.uniform(0, 12)
    x, y = draw.uniform(0, margin), draw.uniform(0, margin)
    side = _SIDE - margin
    return small.crop((int(x), int(y), int(x + side), int(y + side))).resize((48, 48))


def _circle(brush: Any, radius: float, fill: Rgb) -> None:
    brush.ellipse((96 - radius, 96 - radius, 96 + radius, 96 + radius), fill=fill)


def _ringed(brush: Any) -> None:
    _circle(brush, 84, _RED)
    _circle(brush, 62, _WHITE)


def _others(brush: Any, place: int) -> None:
    if place == 12:
        brush.polygon([(96, 10), (182, 96), (96, 182), (10, 96)], fill=_WHITE, outline=_INK)
        brush.polygon([(96, 40), (152, 96), (96, 152), (40, 96)], fill=(246, 200, 40))
    elif place == 13:
        brush.polygon([(12, 26), (180, 26), (96, 172)], fill=_RED)
        brush.polygon([(44, 46), (148, 46), (96, 136)], fill=_WHITE)
    elif place == 14:
        corners = [
            (96 + 88 * cos(pi * (k + 0.5) / 4), 96 + 88 * sin(pi * (k + 0.5) / 4)) for k in range(8)
        ]
        brush.polygon(corners, fill=_RED, outline=_WHITE)
        brush.text(
            (96, 98),
            "STOP",
            font=text_font(50),
            fill=_WHITE,
            anchor="mm",
            stroke_width=2,
            stroke_fill=_WHITE,
        )
    elif place == 15:
        _ringed(brush)
    elif place == 17:
        _circle(brush, 84, _RED)
        brush.rectangle((36, 80, 156, 112), fill=_WHITE)
    elif place == 32:
        _circle(brush, 84, _WHITE)
        brush.line([(44, 148), (148, 44)], fill=_GREY, width=22)
    else:
        raise KeyError(place)


def _warning(brush: Any, place: int) -> None:
    brush.polygon([(96, 14), (182, 168), (10, 168)], fill=_RED)
    brush.polygon([(96, 50), (152, 152), (40, 152)], fill=_WHITE)
    if place == 11:
        brush.line([(74, 90), (118, 146)], fill=_INK, width=13)
        brush.line([(118, 90), (74, 146)], fill=_INK, width=13)
    elif place == 18:
        brush.polygon([(86, 76), (106, 76), (101, 124), (91, 124)], fill=_INK)
        brush.ellipse((87, 130, 105, 148), fill=_INK)
    elif place in (19, 20):
        way = -1 if place == 19 else 1
        _arrow(brush, [(96 - way * 12, 148), (96 - way * 12, 118), (96 + way * 16, 92)], _INK, 12)
    elif place == 21:
        brush.line(
            [(96, 148), (96, 132), (80, 116), (108, 98), (96, 78)],
            fill=_INK,
            width=12,
            joint="curve",
        )
    else:
        for y, paint in ((88, _RED), (112, (244, 196, 40)), (136, (40, 150, 70))):
            brush.ellipse((85, y - 11, 107, y + 11), fill=paint, outline=_INK)


def _arrows(brush: Any, place: int) -> None:
    paths: dict[int, list[list[tuple[float, float]]]] = {
        33: [[(70, 140), (70, 96), (140, 96)]],
        34: [[(122, 140), (122, 96), (52, 96)]],
        35: [[(96, 148), (96, 46)]],
        36: [[(76, 148), (76, 46)], [(76, 110), (142, 110)]],
        37: [[(116, 148), (116, 46)], [(116, 110), (50, 110)]],
        38: [[(56, 56), (134, 134)]],
        39: [[(136, 56), (58, 134)]],
    }
    for path in paths[place]:
        _arrow(brush, path, _WHITE, 20)


def _arrow(brush: Any, path: Sequence[tuple[float, float]], paint: Rgb, width: float) -> None:
    """Draw a line with a head at its end."""
    (ax, ay), (bx, by) = path[-2:]
    length = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5
    dx, dy = (bx - ax) / length, (by - ay) / length
    brush.line(path, fill=paint, width=int(width), joint="curve")
    head = width * 1.25
    brush.polygon(
        [
            (bx + dx * head, by + dy * head),
            (bx - dy * head - dx * 2, by + dx * head - dy * 2),
            (bx + dy * head - dx * 2, by - dx * head - dy * 2),
        ],
        fill=paint,
    )
