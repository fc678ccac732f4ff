"""How each texture of DTD that the world draws is painted: on 288 x 288 pixels, in one more colour.

Used by _elevater_pictures.py alone. Imports harness.world.lore.
"""

from collections.abc import Callable
from math import cos, pi, sin
from random import Random
from typing import Any

from harness.world import lore

Rgb = tuple[int, int, int]


def _chequered(brush: Any, ink: Rgb, step: float, draw: Random) -> None:
    for row in range(12):
        for column in range(row % 2, 12, 2):
            x, y = column * step, row * step
            brush.rectangle((x, y, x + step, y + step), fill=ink)


def _cracked(brush: Any, ink: Rgb, step: float, draw: Random) -> None:
    for _ in range(9):
        x, y, turn = draw.uniform(0, 288), draw.uniform(0, 288), draw.uniform(0, 2 * pi)
        points = [(x, y)]
        for _ in range(14):
            turn += draw.uniform(-0.9, 0.9)
            x, y = x + 18 * cos(turn), y + 18 * sin(turn)
            points.append((x, y))
        brush.line(points, fill=ink, width=5)


def _crosshatched(brush: Any, ink: Rgb, step: float, draw: Random) -> None:
    for n in range(-12, 24):
        brush.line([(n * step / 2, 0), (n * step / 2 + 288, 288)], fill=ink, width=5)
        brush.line([(n * step / 2, 288), (n * step / 2 + 288, 0)], fill=ink, width=5)


def _grid(brush: Any, ink: Rgb, step: float, draw: Random) -> None:
    for n in range(12):
        brush.line([(n * step, 0), (n * step, 288)], fill=ink, width=8)
        brush.line([(0, n * step), (288, n * step)], fill=ink, width=8)


def _honeycombed(brush: Any, ink: Rgb, step: float, draw: Random) -> None:
    side = step * 0.62
    for row in range(-1, 14):
        for column in range(-1, 12):
            x = column * side * 1.732 + (row % 2) * side * 0.866
            y = row * side * 1.5
            corners = [(x + side * sin(pi / 3 * k), y + side * cos(pi / 3 * k)) for k in range(7)]
            brush.line(corners, fill=ink, width=7)


def _dotted(brush: Any, ink: Rgb, step: float, draw: Random) -> None:
    for row in range(12):
        for column in range(12):
            x, y = (column + row % 2 / 2) * step, row * step
            brush.ellipse(
                (x - step * 0.28, y - step * 0.28, x + step * 0.28, y + step * 0.28), fill=ink
            )


def _spiralled(brush: Any, ink: Rgb, step: float, draw: Random) -> None:
    x, y = 144 + draw.uniform(-20, 20), 144 + draw.uniform(-20, 20)
    points = [
        (x + step * 0.09 * n / 2 * cos(n / 5), y + step * 0.09 * n / 2 * sin(n / 5))
        for n in range(190)
    ]
    brush.line(points, fill=ink, width=12)


def _sprinkled(brush: Any, ink: Rgb, step: float, draw: Random) -> None:
    paints = [ink, *draw.sample(list(lore.COLOURS.values()), 3)]
    for _ in range(170):
        x, y, turn = draw.uniform(0, 288), draw.uniform(0, 288), draw.uniform(0, pi)
        brush.line(
            [(x, y), (x + 13 * cos(turn), y + 13 * sin(turn))], fill=draw.choice(paints), width=6
        )


def _striped(brush: Any, ink: Rgb, step: float, draw: Random) -> None:
    upright = draw.random() < 0.5
    for n in range(12):
        at = n * step
        box = (at, 0, at + step / 2, 288) if upright else (0, at, 288, at + step / 2)
        brush.rectangle(box, fill=ink)


def _zigzagged(brush: Any, ink: Rgb, step: float, draw: Random) -> None:
    for row in range(-1, 12):
        points = [(n * step * 0.6, row * step + (n % 2) * step * 0.6) for n in range(20)]
        brush.line(points, fill=ink, width=11)


TEXTURES: dict[str, Callable[[Any, Rgb, float, Random], None]] = {
    "chequered": _chequered,
    "cracked": _cracked,
    "crosshatched": _crosshatched,
    "grid": _grid,
    "honeycombed": _honeycombed,
    "polka-dotted": _dotted,
    "spiralled": _spiralled,
    "sprinkled": _sprinkled,
    "striped": _striped,
    "zigzagged": _zigzagged,
}
