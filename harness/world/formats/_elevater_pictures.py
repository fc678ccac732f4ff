"""The pictures of ELEVATER's data sets: digits, textures, land from above, faces, cars, sentences.

Each function takes a random source and returns a PIL image of a class. Painted larger and reduced.
Traffic signs are in _elevater_signs.py,
how textures are painted in _elevater_textures.py. Imports harness.world; PIL inside functions.
"""

from collections.abc import Callable, Sequence
from math import sin
from random import Random
from typing import Any

from harness.world import lore
from harness.world._shapes import Part, bounds, fit
from harness.world._shapes_kinds import of_kind
from harness.world.formats import _elevater_shapes as more
from harness.world.formats._elevater_textures import TEXTURES
from harness.world.render import colours_of, paint_parts, text_font
from harness.world.scene import Box

Rgb = tuple[int, int, int]
_OBJECTS: dict[str, str | Callable[[], list[Part]]] = {
    "airplane": more.airplane,
    "automobile": "car",
    "bird": "bird",
    "cat": "cat",
    "deer": more.deer,
    "dog": "dog",
    "frog": more.frog,
    "horse": "horse",
    "ship": "boat",
    "truck": more.truck,
}
_GROUNDS: tuple[Rgb, ...] = (
    (190, 214, 170),
    (214, 206, 190),
    (200, 222, 240),
    (224, 214, 176),
    (206, 206, 210),
    (176, 200, 160),
)
GOOD = ("warm", "funny", "clever", "lovely", "charming", "moving", "brilliant", "great")
BAD = ("dull", "boring", "lazy", "clumsy", "silly", "flat", "weak", "terrible")
_FILMS = ("film", "story", "comedy", "drama", "thriller")
_WITH = ("songs", "jokes", "actors", "pictures", "scenes")


def digit(draw: Random, name: str) -> Any:
    """Return a digit in white on black, 28 x 28, grey."""
    image, brush = _canvas(112, "L", 0)
    font = text_font(draw.randint(72, 96))
    at = (56 + draw.uniform(-8, 8), 56 + draw.uniform(-8, 8))
    brush.text(
        at,
        name,
        font=font,
        fill=255,
        anchor="mm",
        stroke_width=draw.choice((1, 2, 4)),
        stroke_fill=255,
    )
    return image.rotate(draw.uniform(-14, 14)).reduce(4)


def thing(draw: Random, name: str) -> Any:
    """Return one of CIFAR-10's kinds on a plain ground, 32 x 32."""
    image, brush = _canvas(128, "RGB", _shade(draw, draw.choice(_GROUNDS)))
    found = _OBJECTS[name]
    parts = of_kind(found) if isinstance(found, str) else tuple(found())
    left, top, right, bottom = bounds(parts)
    wide = draw.uniform(84, 116)
    high = wide * (bottom - top) / (right - left)
    if high > 116:
        wide, high = wide * 116 / high, 116.0
    x, y = draw.uniform(4, 124 - wide), draw.uniform(4, max(5.0, 124 - high))
    box: Box = (x, y, x + wide, y + high)
    paint_parts(
        brush,
        fit(parts, box, mirrored=draw.random() < 0.5),
        colours_of(draw.choice(list(lore.COLOURS))),
    )
    return image.reduce(4)


def texture(draw: Random, name: str) -> Any:
    """Return a texture in two colours, 96 x 96."""
    first, second = draw.sample(list(lore.COLOURS.values()), 2)
    image, brush = _canvas(288, "RGB", _shade(draw, first))
    TEXTURES[name](brush, _shade(draw, second), draw.uniform(30, 52), draw)
    return image.rotate(draw.uniform(-4, 4)).crop((48, 48, 240, 240)).reduce(2)


def land(draw: Random, name: str) -> Any:
    """Return land seen from above, 64 x 64."""
    image, brush = _canvas(192, "RGB", _shade(draw, _LAND[name]))
    _MAPS[name](brush, draw)
    return image.reduce(3)


_LAND: dict[str, Rgb] = {
    "annual crop land": (196, 176, 116),
    "forest": (40, 84, 44),
    "brushland or shrubland": (190, 180, 140),
    "highway or road": (150, 170, 110),
    "industrial buildings or commercial buildings": (160, 160, 160),
    "pasture land": (138, 190, 96),
    "permanent crop land": (176, 150, 108),
    "residential buildings or homes or apartments": (132, 160, 110),
    "river": (120, 150, 90),
    "lake or sea": (30, 80, 130),
}


def _fields(brush: Any, draw: Random) -> None:
    y = 0.0
    while y < 192:
        high, x = draw.uniform(30, 60), 0.0
        while x < 192:
            wide = draw.uniform(30, 70)
            paint = _shade(draw, draw.choice(((206, 184, 110), (150, 160, 80), (170, 130, 80))))
            brush.rectangle((x, y, x + wide, y + high), fill=paint, outline=(110, 100, 70))
            x += wide
        y += high


def _blobs(count: int, size: float, paint: Rgb) -> Callable[[Any, Random], None]:
    def paint_them(brush: Any, draw: Random) -> None:
        for _ in range(count):
            x, y, r = draw.uniform(0, 192), draw.uniform(0, 192), draw.uniform(0.6, 1.3) * size
            brush.ellipse((x - r, y - r, x + r, y + r), fill=_shade(draw, paint))

    return paint_them


def _road(brush: Any, draw: Random) -> None:
    start, end = draw.uniform(20, 172), draw.uniform(20, 172)
    line = [(-5, start), (197, end)] if draw.random() < 0.5 else [(start, -5), (end, 197)]
    brush.line(line, fill=(96, 96, 100), width=26)
    brush.line(line, fill=(240, 240, 230), width=2)


def _halls(brush: Any, draw: Random) -> None:
    for x in (6, 102):
        for y in (6, 102):
            paint = draw.choice(((226, 226, 230), (196, 204, 214), (176, 140, 130)))
            wide, high = draw.uniform(56, 84), draw.uniform(56, 84)
            brush.rectangle(
                (x, y, x + wide, y + high), fill=_shade(draw, paint), outline=(90, 90, 96), width=3
            )


def _meadow(brush: Any, draw: Random) -> None:
    at = draw.uniform(40, 150)
    brush.line([(0, at), (192, at + draw.uniform(-30, 30))], fill=(110, 160, 76), width=4)


def _rows(brush: Any, draw: Random) -> None:
    for row in range(12):
        for column in range(12):
            x, y = column * 17 + draw.uniform(2, 4), row * 17 + draw.uniform(2, 4)
            brush.ellipse((x, y, x + 11, y + 11), fill=(52, 104, 50))


def _houses(brush: Any, draw: Random) -> None:
    for row in range(5):
        brush.line([(0, row * 40 + 34), (192, row * 40 + 34)], fill=(150, 150, 150), width=6)
        for column in range(7):
            x, y = column * 28 + draw.uniform(0, 6), row * 40 + draw.uniform(4, 9)
            brush.rectangle(
                (x, y, x + 16, y + 16), fill=_shade(draw, (190, 84, 60)), outline=(110, 50, 40)
            )


def _river(brush: Any, draw: Random) -> None:
    turn, at = draw.uniform(0, 6), draw.uniform(70, 122)
    points = [(float(x), at + 34 * sin(turn + x / 42)) for x in range(-10, 210, 6)]
    if draw.random() < 0.5:
        points = [(y, x) for x, y in points]
    brush.line(points, fill=(52, 110, 160), width=30, joint="curve")


def _water(brush: Any, draw: Random) -> None:
    for _ in range(14):
        x, y = draw.uniform(-20, 180), draw.uniform(0, 192)
        brush.line([(x, y), (x + 30, y)], fill=(46, 98, 148), width=3)


_MAPS: dict[str, Callable[[Any, Random], None]] = {
    "annual crop land": _fields,
    "forest": _blobs(170, 10, (46, 100, 50)),
    "brushland or shrubland": _blobs(40, 6, (104, 120, 70)),
    "highway or road": _road,
    "industrial buildings or commercial buildings": _halls,
    "pasture land": _meadow,
    "permanent crop land": _rows,
    "residential buildings or homes or apartments": _houses,
    "river": _river,
    "lake or sea": _water,
}


def feeling(draw: Random, name: str) -> Any:
    """Return a face in grey, 48 x 48."""
    ground = draw.randint(60, 140)
    image, brush = _canvas(192, "L", ground)
    skin = draw.randint(190, 235)
    brush.ellipse((26, 16, 166, 186), fill=skin, outline=40, width=3)
    brush.chord((24, 8, 168, 120), 195, 345, fill=draw.choice((30, 70, 120, 170)))
    wide = {"fearful": 19, "surprised": 19, "disgusted": 8, "happy": 11, "angry": 10}.get(name, 13)
    for side in (-1, 1):
        x = 96 + side * 34
        brush.ellipse((x - 17, 90 - wide, x + 17, 90 + wide), fill=250, outline=30, width=2)
        brush.ellipse((x - 6, 84, x + 6, 96), fill=20)
        inner, outer = {
            "angry": (80, 58),
            "disgusted": (74, 66),
            "fearful": (50, 66),
            "sad": (54, 70),
            "surprised": (44, 46),
        }.get(name, (62, 62))
        brush.line([(x - side * 20, inner), (x + side * 20, outer)], fill=25, width=7)
    _mouth(brush, name)
    return image.rotate(draw.uniform(-7, 7), fillcolor=ground).reduce(4)


def _mouth(brush: Any, name: str) -> None:
    if name == "happy":
        brush.chord((56, 96, 136, 164), 10, 170, fill=250, outline=30, width=4)
    elif name == "neutral":
        brush.line([(68, 148), (124, 148)], fill=30, width=6)
    elif name == "sad":
        brush.arc((64, 138, 128, 186), 205, 335, fill=30, width=7)
        brush.ellipse((120, 108, 132, 130), fill=250, outline=60)
    elif name == "surprised":
        brush.ellipse((80, 122, 112, 172), fill=30)
    elif name == "angry":
        brush.rectangle((66, 138, 126, 156), fill=250, outline=30, width=4)
        brush.line([(66, 147), (126, 147)], fill=30, width=2)
        for x in (81, 96, 111):
            brush.line([(x, 138), (x, 156)], fill=30, width=2)
    elif name == "fearful":
        points = [(62 + n * 8.5, 146 + (6 if n % 2 else -6)) for n in range(9)]
        brush.line(points, fill=30, width=6)
    else:  # disgusted: the tongue is out, the nose wrinkled
        brush.line([(64, 140), (128, 140)], fill=30, width=6)
        brush.chord((84, 118, 116, 172), 0, 180, fill=120, outline=30, width=3)
        for y in (104, 112, 120):
            brush.line([(86, y), (96, y - 5), (106, y)], fill=60, width=3)


def distance(draw: Random, name: str) -> Any:
    """Return a road from a driver's seat with or without a car, 124 x 96."""
    image, brush = _canvas((248, 192), "RGB", _shade(draw, (196, 224, 244)))
    brush.rectangle((0, 90, 248, 192), fill=_shade(draw, (150, 190, 120)))
    brush.polygon([(112, 90), (136, 90), (236, 192), (12, 192)], fill=(140, 142, 148))
    brush.polygon([(123, 90), (125, 90), (128, 192), (120, 192)], fill=(236, 236, 230))
    for _ in range(4):
        x = draw.uniform(0, 248)
        brush.ellipse((x - 14, 52, x + 14, 92), fill=_shade(draw, (90, 150, 90)))
    if "no car" not in name:
        parts = of_kind("car")
        wide, x, y = draw.uniform(108, 126), 124 + draw.uniform(-14, 14), draw.uniform(160, 176)
        if "distance" in name:
            wide, x, y = draw.uniform(40, 48), 124 + draw.uniform(-4, 4), draw.uniform(104, 110)
        if "side" in name:
            x = draw.choice((16, 232)) + draw.uniform(-8, 8)
        box: Box = (x - wide / 2, y - wide * 0.5, x + wide / 2, y)
        paint_parts(
            brush,
            fit(parts, box, mirrored=draw.random() < 0.5),
            colours_of(draw.choice(list(lore.COLOURS))),
        )
    return image.reduce(2)


def reviews(draw: Random, words: Sequence[str]) -> list[str]:
    """Return all sentences with these words of praise or blame, shuffled."""
    found = [
        f"a {one} {film} with {other} {part}"
        for one in words
        for film in _FILMS
        for other in words
        for part in _WITH
        if one != other
    ]
    draw.shuffle(found)
    return found


def written(sentence: str) -> Any:
    """Return a sentence in black on white, 224 x 112, in lines of a few words."""
    image, brush = _canvas((448, 224), "RGB", (255, 255, 255))
    words = sentence.split()
    lines = [" ".join(words[at : at + 3]) for at in range(0, len(words), 3)]
    for number, line in enumerate(lines):
        brush.text((12, 50 + number * 60), line, font=text_font(38), fill=(0, 0, 0), anchor="lm")
    return image.reduce(2)


def _canvas(size: int | tuple[int, int], mode: str, ground: int | Rgb) -> tuple[Any, Any]:
    from PIL import Image, ImageDraw

    image = Image.new(mode, (size, size) if isinstance(size, int) else size, ground)
    return image, ImageDraw.Draw(image)


def _shade(draw: Random, paint: Rgb) -> Rgb:
    """Return the colour a little lighter or darker, so that no two pictures are the same."""
    by = draw.randint(-12, 12)
    red, green, blue = (max(0, min(255, value + by)) for value in paint)
    return red, green, blue
