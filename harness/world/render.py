"""Scene -> picture. Painted at twice the size and reduced, so that edges are smooth.

What is where comes from harness/world/_shapes*.py; this file only fills polygons. PIL is imported
when the first picture is painted. Imports harness.world only.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.world._shapes import PAINTS, Part
from harness.world._shapes_kinds import TEXT_PANELS
from harness.world._shapes_place import background, colour_of
from harness.world._shapes_scene import parts_of
from harness.world.lore import COLOURS, NEW_COLOURS
from harness.world.scene import Scene, Thing

Rgb = tuple[int, int, int]
_FINE = 2
"""Pixels painted per pixel of the picture, in each direction."""
_LINE = 2
_EDGE = (40, 40, 46)
QUALITY = 90
_PALE = {"white", "yellow", "pink"}


def picture(scene: Scene) -> Any:
    """Paint a scene. Returns a PIL image in RGB of the scene's size."""
    return _painted(scene, sorted(scene.things, key=lambda thing: thing.depth))


def alone(scene: Scene, thing: Thing) -> Any:
    """Paint one thing of a scene on pure magenta, which no thing has."""
    return _painted(scene, [thing], blank=(255, 0, 255))


def save(image: Any, target: Path) -> None:
    """Write a picture as JPEG (or as what the ending says)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    image.save(target, quality=QUALITY)


def colours_of(name: str) -> dict[str, Rgb]:
    """Return what a colour word looks like: the main colour, a darker and a lighter one."""
    main = {**COLOURS, **NEW_COLOURS}[name]
    dark = _mix(main, (0, 0, 0), 0.28)
    light = _mix(main, (255, 255, 255), 0.42)
    if name == "white":
        dark, light = (214, 214, 212), (255, 255, 255)
    if name == "black":
        dark, light = (16, 16, 18), (84, 84, 92)
    return {"main": main, "dark": dark, "light": light}


def paint_parts(brush: Any, parts: Sequence[Part], paints: Mapping[str, Rgb]) -> None:
    """Fill polygons on a PIL drawing surface, in its own pixels, with edges but no surface."""
    for part in parts:
        brush.polygon(part.points, fill=paints.get(part.fill) or PAINTS[part.fill])
        if part.edge:
            brush.line([*part.points, part.points[0]], fill=_EDGE, width=_LINE)


@lru_cache(maxsize=64)
def text_font(size: int) -> Any:
    """Return the font that all text is written in, at a size in pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _mix(one: Rgb, other: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _painted(scene: Scene, things: Sequence[Thing], blank: Rgb | None = None) -> Any:
    from PIL import Image, ImageDraw

    size = (scene.width * _FINE, scene.height * _FINE)
    image = Image.new("RGB", size, blank or (255, 255, 255))
    brush = ImageDraw.Draw(image)
    if blank is None:
        for part in background(scene):
            brush.polygon(_scaled(part), fill=colour_of(scene, part.fill))
        _kite_lines(scene, brush)
    for thing in things:
        _paint(image, brush, thing, parts_of(scene, thing))
    return image.reduce(_FINE)


def _scaled(part: Part) -> list[tuple[float, float]]:
    return [(x * _FINE, y * _FINE) for x, y in part.points]


def _paint(image: Any, brush: Any, thing: Thing, parts: Sequence[Part]) -> None:
    paints = {**PAINTS, **colours_of(thing.colour)}
    edge = (128, 130, 138) if thing.colour == "black" else _EDGE
    pattern = _pattern(thing, paints) if thing.material not in ("", "plain") else None
    corner = (int(thing.box[0] * _FINE) - 1, int(thing.box[1] * _FINE) - 1)
    for part in parts:
        points = _scaled(part)
        brush.polygon(points, fill=paints[part.fill])
        if pattern is not None and part.fill == "main":
            _cover(image, pattern, corner, points)
        if part.edge:
            own = part.fill in ("main", "dark", "light", "ink", "tyre")
            brush.line([*points, points[0]], fill=edge if own else _EDGE, width=_LINE)
    if thing.material == "shiny":
        _sparkle(brush, thing)
    if thing.text:
        _write(brush, thing)


def _cover(image: Any, pattern: Any, corner: tuple[int, int], points: list[Any]) -> None:
    """Lay the pattern, whose upper left is at `corner`, over the inside of a polygon."""
    from PIL import Image, ImageDraw

    left, top = int(min(p[0] for p in points)), int(min(p[1] for p in points))
    right, bottom = int(max(p[0] for p in points)) + 1, int(max(p[1] for p in points)) + 1
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in points], fill=255)
    area = (left - corner[0], top - corner[1], right - corner[0], bottom - corner[1])
    image.paste(pattern.crop(area), (left, top), mask)


def _pattern(thing: Thing, paints: dict[str, Rgb]) -> Any:
    """Return the surface of a thing, a little larger than its box."""
    from PIL import Image, ImageDraw

    wide = int((thing.box[2] - thing.box[0]) * _FINE) + 4
    high = int((thing.box[3] - thing.box[1]) * _FINE) + 4
    image = Image.new("RGB", (wide, high), paints["main"])
    brush = ImageDraw.Draw(image)
    other = _mix(paints["main"], (20, 20, 30) if thing.colour in _PALE else (255, 255, 255), 0.62)
    side = min(wide, high)
    if thing.material == "striped":
        step = max(11.0, side / 4.5)
        at = -float(high)
        while at < wide:
            brush.line([(at, high), (at + high, 0)], fill=other, width=max(4, int(step * 0.34)))
            at += step * 1.3
    elif thing.material == "dotted":
        step = max(11.0, side / 4.5)
        radius = step * 0.25
        for row in range(int(high / step) + 2):
            for column in range(int(wide / step) + 2):
                x, y = (column + row % 2 / 2) * step, row * step
                brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=other)
    else:
        for row in range(high):
            near = max(0.0, 1 - abs(row / high - 0.22) / 0.22)
            if near:
                brush.line(
                    [(0, row), (wide, row)], fill=_mix(paints["main"], (255, 255, 255), 0.55 * near)
                )
    return image


def _sparkle(brush: Any, thing: Thing) -> None:
    left, top, right, bottom = (edge * _FINE for edge in thing.box)
    side = min(right - left, bottom - top)
    for x, y, size in ((0.32, 0.4, 0.17), (0.62, 0.62, 0.12)):
        middle = (left + (right - left) * x, top + (bottom - top) * y)
        far = max(5.0, side * size)
        near = far * 0.22
        star = [
            (middle[0] + dx * reach, middle[1] + dy * reach)
            for dx, dy, reach in (
                *((0, -1, far), (1, -1, near), (1, 0, far), (1, 1, near)),
                *((0, 1, far), (-1, 1, near), (-1, 0, far), (-1, -1, near)),
            )
        ]
        brush.polygon(star, fill=(255, 255, 255))


def _write(brush: Any, thing: Thing) -> None:
    """Write the text of a thing on a pale panel, as large as fits."""
    left, top, right, bottom = (edge * _FINE for edge in thing.box)
    a, b, c, d = TEXT_PANELS[thing.kind]
    panel = (
        left + (right - left) * a,
        top + (bottom - top) * b,
        left + (right - left) * c,
        top + (bottom - top) * d,
    )
    wide, high = panel[2] - panel[0], panel[3] - panel[1]
    size = int(high)
    while size > 6 and text_font(size).getlength(thing.text) > wide * 0.92:
        size -= 1
    brush.rounded_rectangle(panel, radius=3, fill=PAINTS["paper"])
    middle = ((panel[0] + panel[2]) / 2, (panel[1] + panel[3]) / 2)
    brush.text(
        middle,
        thing.text,
        font=text_font(size),
        fill=(20, 20, 24),
        anchor="mm",
        stroke_width=max(0, size // 14),
        stroke_fill=(20, 20, 24),
    )


def _kite_lines(scene: Scene, brush: Any) -> None:
    """Draw the line from the hand of whoever flies a kite."""
    from harness.world._shapes_scene import kite_line

    for thing in scene.people:
        if thing.person and thing.person.action == "fly":
            points = kite_line(scene, thing)
            brush.line([(x * _FINE, y * _FINE) for x, y in points], fill=(90, 90, 96), width=2)
