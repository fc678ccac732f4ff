"""Polygons and their boxes: what shapes are made of, and how they fill a box exactly.

A shape is drawn in any units and then stretched so that its outermost points touch the box: a
thing's box is tight by construction, before anything is painted. Pure geometry; imports the
standard library and harness.world.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import cos, hypot, pi, sin

from harness.world.scene import Box

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Part:
    """One polygon of a shape. `fill` is a role ("main", "dark", "light") or a key of `PAINTS`."""

    fill: str
    points: tuple[Point, ...]
    edge: bool = True
    """Whether a dark line goes round it."""


PAINTS: dict[str, tuple[int, int, int]] = {
    "ink": (34, 34, 38),
    "tyre": (52, 52, 58),
    "metal": (150, 154, 162),
    "glass": (196, 226, 240),
    "paper": (252, 250, 240),
    "wood": (150, 104, 62),
    "leaf": (62, 150, 70),
    "stem": (96, 66, 40),
    "crust": (222, 176, 104),
    "beak": (240, 160, 40),
    "lamp red": (230, 60, 50),
    "lamp yellow": (250, 210, 60),
    "lamp green": (70, 190, 90),
    "skin": (242, 200, 164),
    "trousers": (66, 74, 104),
    "shoe": (70, 50, 40),
    "lip": (170, 60, 60),
    "eye": (255, 255, 255),
    "hair black": (38, 34, 36),
    "hair brown": (112, 72, 40),
    "hair blond": (238, 208, 110),
    "hair red": (196, 84, 36),
}
"""Colours of parts that do not take the thing's own colour."""


def oval(fill: str, x: float, y: float, rx: float, ry: float, *, edge: bool = True) -> Part:
    """Return an ellipse round (x, y)."""
    steps = [2 * pi * step / 24 for step in range(24)]
    return Part(fill, tuple((x + rx * cos(a), y + ry * sin(a)) for a in steps), edge)


def slab(fill: str, left: float, top: float, right: float, bottom: float, cut: float = 0) -> Part:
    """Return a rectangle, its corners cut off by `cut`."""
    if not cut:
        return Part(fill, ((left, top), (right, top), (right, bottom), (left, bottom)))
    return Part(
        fill,
        (
            *((left + cut, top), (right - cut, top), (right, top + cut), (right, bottom - cut)),
            *((right - cut, bottom), (left + cut, bottom), (left, bottom - cut), (left, top + cut)),
        ),
    )


def shape(fill: str, *points: Point, edge: bool = True) -> Part:
    """Return a polygon."""
    return Part(fill, points, edge)


def bar(fill: str, width: float, start: Point, end: Point, *, edge: bool = True) -> Part:
    """Return a straight bar with blunt ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = hypot(dx, dy) or 1.0
    nx, ny = -dy / length * width / 2, dx / length * width / 2
    return Part(
        fill,
        (
            *((start[0] + nx, start[1] + ny), (end[0] + nx, end[1] + ny)),
            *((end[0] - nx, end[1] - ny), (start[0] - nx, start[1] - ny)),
        ),
        edge,
    )


def ring(
    fill: str, x: float, y: float, radius: float, width: float, turn: tuple[float, float] = (0, 2)
) -> Part:
    """Return an arc of a ring; `turn` is from where to where, in half turns, clockwise from 3."""
    steps = [pi * (turn[0] + (turn[1] - turn[0]) * step / 20) for step in range(21)]
    inner = radius - width
    outside = [(x + radius * cos(a), y + radius * sin(a)) for a in steps]
    inside = [(x + inner * cos(a), y + inner * sin(a)) for a in reversed(steps)]
    return Part(fill, (*outside, *inside))


def bounds(parts: Iterable[Part]) -> Box:
    """Return the tight box around all points."""
    points = [point for part in parts for point in part.points]
    return (
        *(min(p[0] for p in points), min(p[1] for p in points)),
        *(max(p[0] for p in points), max(p[1] for p in points)),
    )


def fit(parts: Sequence[Part], box: Box, *, mirrored: bool = False) -> tuple[Part, ...]:
    """Stretch parts so that their bounds are `box`."""
    left, top, right, bottom = bounds(parts)
    across = (box[2] - box[0]) / (right - left)
    down = (box[3] - box[1]) / (bottom - top)
    if mirrored:
        return tuple(
            Part(
                part.fill,
                tuple(
                    (box[2] - (x - left) * across, box[1] + (y - top) * down)
                    for x, y in part.points
                ),
                part.edge,
            )
            for part in parts
        )
    return tuple(
        Part(
            part.fill,
            tuple(
                (box[0] + (x - left) * across, box[1] + (y - top) * down) for x, y in part.points
            ),
            part.edge,
        )
        for part in parts
    )


def hull(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the convex hull, counter-clockwise, without repeating the first point."""
    ordered = sorted(set(points))
    chains: list[list[Point]] = []
    for run in (ordered, ordered[::-1]):
        chain: list[Point] = []
        for point in run:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        chains.append(chain[:-1])
    return (*chains[0], *chains[1])


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
