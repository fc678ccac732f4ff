"""The backgrounds: kitchen, office, bedroom, street, park, beach; by day and by night.

Pale and dull on purpose, so that the things stand out. Coordinates are parts of the picture's
width and height. Imports harness.world only.
"""

from collections.abc import Callable
from random import Random

from harness.world._shapes import Part, bar, oval, shape, slab
from harness.world.scene import Scene

WORKTOPS = {"kitchen": (0.47, 0.58), "office": (0.5, 0.58)}
"""Top and bottom of the band on which small things of the place may stand."""
GROUND = {
    "kitchen": 0.74,
    "office": 0.72,
    "bedroom": 0.62,
    "street": 0.66,
    "park": 0.6,
    "beach": 0.62,
}
"""How far up the feet of things that stand on the ground may be."""
DAY: dict[str, tuple[int, int, int]] = {
    "sky": (196, 226, 246),
    "cloud": (236, 244, 250),
    "sun": (255, 236, 150),
    "tiles": (238, 234, 222),
    "joints": (214, 208, 192),
    "worktop": (206, 184, 152),
    "worktop edge": (170, 146, 112),
    "cabinet": (226, 220, 208),
    "floor": (208, 200, 190),
    "floor 2": (196, 188, 178),
    "wall office": (226, 230, 234),
    "blinds": (244, 246, 248),
    "carpet": (176, 180, 186),
    "carpet 2": (168, 172, 178),
    "wall bedroom": (236, 226, 222),
    "curtain": (196, 178, 198),
    "planks": (212, 182, 144),
    "planks 2": (196, 164, 126),
    "frame": (250, 250, 248),
    "house 1": (216, 200, 186),
    "house 2": (198, 204, 206),
    "house 3": (214, 206, 178),
    "pane": (168, 186, 198),
    "door": (150, 130, 116),
    "pavement": (206, 204, 198),
    "road": (150, 153, 158),
    "line": (226, 226, 220),
    "grass": (178, 212, 146),
    "grass 2": (164, 202, 134),
    "tree": (140, 184, 128),
    "trunk": (160, 134, 108),
    "sea": (132, 190, 216),
    "foam": (226, 240, 244),
    "sand": (240, 226, 184),
    "sand 2": (230, 214, 168),
}
_NIGHT = {"sky": (38, 46, 88), "cloud": (58, 66, 108), "sun": (244, 240, 206)}
_DIM = {True: (0.74, 0.74, 0.8), False: (0.5, 0.54, 0.66)}
"""By night, indoors and outdoors: what is left of red, green and blue."""


def colour_of(scene: Scene, name: str) -> tuple[int, int, int]:
    """Return the colour of a background part at the scene's time of day."""
    if scene.time == "day":
        return DAY[name]
    if name in _NIGHT:
        return _NIGHT[name]
    dim = _DIM[scene.indoors]
    red, green, blue = (int(c * d) for c, d in zip(DAY[name], dim, strict=True))
    return red, green, blue


def background(scene: Scene) -> list[Part]:
    """Return the polygons of a scene's background in pixels, in the order of painting."""
    wide, high = scene.width, scene.height
    draw = Random(repr(("place", scene.id)))
    return [
        Part(part.fill, tuple((x * wide, y * high) for x, y in part.points), False)
        for part in _PLACES[scene.place](scene, draw)
    ]


def _sky(scene: Scene, draw: Random, bottom: float) -> list[Part]:
    parts = [slab("sky", 0, 0, 1, bottom)]
    x = draw.uniform(0.08, 0.92)
    parts.append(oval("sun", x, 0.1, 0.042, 0.056))
    if scene.time == "night":
        parts.append(oval("sky", x + 0.02, 0.085, 0.034, 0.046))
        parts += [
            oval("sun", draw.random(), draw.uniform(0.02, bottom * 0.8), 0.004, 0.0055)
            for _ in range(16)
        ]
        return parts
    for _ in range(2):
        at, y = draw.random(), draw.uniform(0.08, 0.24)
        parts += [oval("cloud", at + dx, y, 0.06, 0.03) for dx in (-0.05, 0.0, 0.05)]
    return parts


def _window(scene: Scene, x: float, y: float, right: float, bottom: float) -> list[Part]:
    parts = [
        slab("frame", x - 0.012, y - 0.016, right + 0.012, bottom + 0.016),
        slab("sky", x, y, right, bottom),
    ]
    parts.append(oval("sun", x + 0.04, y + 0.07, 0.024, 0.032))
    if scene.time == "night":
        parts.append(oval("sky", x + 0.05, y + 0.062, 0.02, 0.027))
        parts += [
            oval("sun", x + dx, y + dy, 0.004, 0.0055)
            for dx, dy in ((0.11, 0.05), (0.13, 0.15), (0.06, 0.19), (0.16, 0.1))
        ]
    return parts


def _kitchen(scene: Scene, draw: Random) -> list[Part]:
    parts = [slab("tiles", 0, 0, 1, 0.5)]
    parts += [bar("joints", 0.005, (0, y / 10), (1, y / 10)) for y in range(1, 5)]
    parts += [bar("joints", 0.004, (x / 13, 0), (x / 13, 0.5)) for x in range(1, 13)]
    at = draw.uniform(0.08, 0.7)
    parts += _window(scene, at, 0.06, at + 0.2, 0.3)
    parts += [
        slab("worktop", 0, 0.45, 1, 0.58),
        slab("worktop edge", 0, 0.58, 1, 0.605),
        slab("cabinet", 0, 0.605, 1, 0.74),
    ]
    for n in range(6):
        parts.append(bar("joints", 0.004, (n / 6, 0.605), (n / 6, 0.74)))
        parts.append(slab("worktop edge", n / 6 + 0.065, 0.63, n / 6 + 0.1, 0.64))
    parts.append(slab("floor", 0, 0.74, 1, 1))
    parts += [
        slab("floor 2", x / 8, y, (x + 1) / 8, y + 0.087)
        for row, y in enumerate((0.74, 0.827, 0.914))
        for x in range(row % 2, 8, 2)
    ]
    return parts


def _office(scene: Scene, draw: Random) -> list[Part]:
    parts = [slab("wall office", 0, 0, 1, 0.72)]
    at = draw.uniform(0.08, 0.56)
    parts += _window(scene, at, 0.06, at + 0.34, 0.38)
    parts += [slab("blinds", at, 0.06 + n * 0.036, at + 0.34, 0.072 + n * 0.036) for n in range(9)]
    parts += [slab("worktop", 0.0, 0.49, 1, 0.58), slab("worktop edge", 0, 0.58, 1, 0.6)]
    parts += [slab("worktop edge", x, 0.6, x + 0.02, 0.73) for x in (0.04, 0.48, 0.94)]
    parts.append(slab("carpet", 0, 0.72, 1, 1))
    parts += [
        oval("carpet 2", draw.random(), draw.uniform(0.74, 0.99), 0.02, 0.008) for _ in range(30)
    ]
    return parts


def _bedroom(scene: Scene, draw: Random) -> list[Part]:
    parts = [slab("wall bedroom", 0, 0, 1, 0.6)]
    at = draw.uniform(0.12, 0.64)
    parts += _window(scene, at, 0.06, at + 0.22, 0.38)
    for left, right, slant in ((at - 0.08, at + 0.03, 0.02), (at + 0.19, at + 0.3, -0.02)):
        parts.append(
            shape("curtain", (left, 0.03), (right, 0.03), (right - slant, 0.46), (left, 0.46))
        )
        parts += [
            bar("wall bedroom", 0.004, (left + dx, 0.05), (left + dx, 0.46)) for dx in (0.03, 0.06)
        ]
    parts += [slab("frame", 0, 0.585, 1, 0.61), slab("planks", 0, 0.61, 1, 1)]
    for row in range(5):
        y = 0.61 + row * 0.08
        parts.append(bar("planks 2", 0.005, (0, y), (1, y)))
        shift = draw.random() * 0.3
        parts += [
            bar("planks 2", 0.004, (shift + n * 0.36, y), (shift + n * 0.36, y + 0.08))
            for n in range(3)
        ]
    return parts


def _street(scene: Scene, draw: Random) -> list[Part]:
    parts = _sky(scene, draw, 0.6)
    x = -draw.uniform(0.0, 0.1)
    number = draw.randrange(3)
    while x < 1:
        width, top = draw.uniform(0.2, 0.3), draw.uniform(0.12, 0.24)
        parts.append(slab(f"house {number % 3 + 1}", x, top, x + width - 0.01, 0.6))
        for row in range(2):
            parts += [
                slab(
                    "pane",
                    x + width * c - 0.022,
                    top + 0.05 + row * 0.12,
                    x + width * c + 0.022,
                    top + 0.12 + row * 0.12,
                )
                for c in (0.25, 0.5, 0.75)
            ]
        parts.append(slab("door", x + width * 0.4, 0.48, x + width * 0.55, 0.6))
        x, number = x + width, number + 1
    parts += [
        slab("pavement", 0, 0.58, 1, 0.72),
        slab("joints", 0, 0.72, 1, 0.735),
        slab("road", 0, 0.735, 1, 1),
    ]
    parts += [slab("line", n * 0.2 + 0.04, 0.86, n * 0.2 + 0.14, 0.878) for n in range(5)]
    return parts


def _park(scene: Scene, draw: Random) -> list[Part]:
    parts = _sky(scene, draw, 0.52)
    for n in range(5):
        x, top = n * 0.22 + draw.uniform(-0.05, 0.12), draw.uniform(0.16, 0.26)
        parts.append(slab("trunk", x - 0.014, top + 0.1, x + 0.014, 0.54))
        parts += [
            oval("tree", x + dx, top + dy, 0.07, 0.09)
            for dx, dy in ((-0.045, 0.06), (0.045, 0.06), (0.0, 0.0))
        ]
    parts.append(slab("grass", 0, 0.51, 1, 1))
    for _ in range(40):
        x, y = draw.random(), draw.uniform(0.54, 0.98)
        parts.append(shape("grass 2", (x, y), (x + 0.008, y - 0.03), (x + 0.016, y)))
    return parts


def _beach(scene: Scene, draw: Random) -> list[Part]:
    parts = [*_sky(scene, draw, 0.4), slab("sea", 0, 0.38, 1, 0.56)]
    parts += [
        bar("foam", 0.005, (x, y), (x + 0.08, y))
        for x, y in ((draw.random(), draw.uniform(0.41, 0.53)) for _ in range(10))
    ]
    wave = [(n / 10, 0.545 + 0.012 * (n % 2)) for n in range(11)]
    parts.append(shape("foam", *((x, y - 0.012) for x, y in wave), (1, 1), (0, 1)))
    parts.append(shape("sand", *wave, (1, 1), (0, 1)))
    parts += [
        oval("sand 2", draw.random(), draw.uniform(0.6, 0.99), 0.012, 0.006) for _ in range(40)
    ]
    return parts


_PLACES: dict[str, Callable[[Scene, Random], list[Part]]] = {
    "kitchen": _kitchen,
    "office": _office,
    "bedroom": _bedroom,
    "street": _street,
    "park": _park,
    "beach": _beach,
}
