"""The shape of a person: body by action, hands where the object is, face by mood and gaze.

Units: the height of a standing person is 1, the feet are at y = 1, x = 0 is the middle. Where the
hands go is a function of the action, the side and the kind of object, so that drawing a scene and
painting it agree. Imports the standard library and harness.world.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from harness.world._shapes import Part, Point, bar, oval, ring, shape, slab


@dataclass(frozen=True, slots=True)
class Pose:
    """All that changes the outline of a person."""

    action: str
    side: Literal[-1, 1]
    """To which side the action is done: 1 is the viewer's right."""
    kind: str
    """What it is done to; empty for nothing."""
    level: float
    """Of what is pointed at: 1 lower than the shoulders, -1 higher."""
    gender: str
    hair: str


HEAD = (0.0, 0.17)
HEAD_RADIUS = 0.145
HEIGHT_OF_EYES = 0.18
"""Below the top of the head, as a part of the height."""
_SHOULDER = (0.115, 0.37)
_HANDS: dict[str, Point] = {
    "up": (0.25, 0.2),
    "middle": (0.26, 0.5),
    "low": (0.21, 0.62),
    "mouth": (0.225, 0.29),
    "wave": (0.27, 0.16),
    "side": (0.17, 0.62),
}


def hand(action: str, kind: str) -> Point:
    """Return where the busy hand is when it is on the right side."""
    if action in ("drink", "eat"):
        return _HANDS["mouth"]
    if action == "fly" or (action == "hold" and kind == "umbrella"):
        return _HANDS["up"]
    if action == "hold" and kind == "handbag":
        return _HANDS["low"]
    if action in ("hold", "read", "type"):
        return _HANDS["middle"]
    return _HANDS["wave"] if action == "wave" else _HANDS["side"]


@cache
def person(pose: Pose) -> tuple[Part, ...]:
    """Return a person without the face: see `face` for it."""
    parts = [*_hair_behind(pose), *_legs(pose), *_body(pose), *_arms(pose)]
    parts.append(oval("skin", *HEAD, HEAD_RADIUS, HEAD_RADIUS))
    parts += _hair(pose)
    return tuple(parts)


def face(mood: str, look: Point) -> tuple[Part, ...]:
    """Return eyes and mouth; `look` is where the pupils go, each between -1 and 1."""
    x, y = HEAD
    parts: list[Part] = []
    for side in (-1, 1):
        at = x + side * 0.06
        parts.append(oval("eye", at, y + 0.015, 0.045, 0.042))
        parts.append(
            oval("ink", at + look[0] * 0.024, y + 0.015 + look[1] * 0.02, 0.02, 0.021, edge=False)
        )
    if mood == "surprised":
        parts.append(oval("lip", x, y + 0.098, 0.03, 0.034))
    elif mood == "happy":
        parts.append(ring("lip", x, y + 0.055, 0.065, 0.022, (0.12, 0.88)))
    else:
        parts.append(ring("lip", x, y + 0.142, 0.06, 0.022, (1.15, 1.85)))
    return tuple(parts)


def _hair_behind(pose: Pose) -> list[Part]:
    if pose.gender == "man":
        return []
    x, y = HEAD
    return [slab(f"hair {pose.hair}", x - 0.185, y - 0.06, x + 0.185, y + 0.2, 0.05)]


def _hair(pose: Pose) -> list[Part]:
    x, y = HEAD
    fill = f"hair {pose.hair}"
    cap = (
        (-0.155, -0.02),
        (-0.15, -0.1),
        (-0.09, -0.165),
        (0.0, -0.17),
        (0.09, -0.165),
        (0.15, -0.1),
        (0.155, -0.02),
    )
    fringe = ((0.1, -0.06), (0.0, -0.075), (-0.1, -0.06))
    if pose.gender == "woman":
        fringe = ((0.12, -0.05), (0.03, -0.1), (-0.12, -0.04))
    return [shape(fill, *((x + dx, y + dy) for dx, dy in (*cap, *fringe)))]


def _body(pose: Pose) -> list[Part]:
    if pose.gender == "woman" and pose.action != "sit":
        return [
            shape(
                "main",
                (-0.12, 0.31),
                (0.12, 0.31),
                (0.13, 0.5),
                (0.2, 0.78),
                (-0.2, 0.78),
                (-0.13, 0.5),
            )
        ]
    return [shape("main", (-0.13, 0.31), (0.13, 0.31), (0.14, 0.64), (-0.14, 0.64))]


def _legs(pose: Pose) -> list[Part]:
    lower = "skin" if pose.gender == "woman" else "trousers"
    if pose.action == "sit":
        thigh = "main" if pose.gender == "woman" else "trousers"
        knee = 0.27 * pose.side
        return [
            slab(lower, knee - 0.05, 0.6, knee + 0.05, 0.92),
            slab(
                "shoe",
                min(knee - 0.05, knee - 0.05 + 0.06 * pose.side),
                0.9,
                max(knee + 0.05, knee + 0.05 + 0.06 * pose.side),
                0.95,
            ),
            slab(
                thigh,
                min(-0.1 * pose.side, knee + 0.05 * pose.side),
                0.57,
                max(-0.1 * pose.side, knee + 0.05 * pose.side),
                0.68,
                0.02,
            ),
        ]
    feet = (-0.17, 0.15) if pose.action == "walk" else (-0.075, 0.075)
    return [
        part
        for hip, foot in zip((-0.07, 0.07), feet, strict=True)
        for part in (
            bar(lower, 0.1, (hip, 0.6), (foot, 0.96)),
            slab("shoe", foot - 0.065, 0.94, foot + 0.065, 1.0, 0.015),
        )
    ]


def _arms(pose: Pose) -> list[Part]:
    side = pose.side
    target = hand(pose.action, pose.kind)
    if pose.action == "point":
        target = (0.4, 0.38 + 0.14 * pose.level)
    busy = _arm(side, target, pointing=pose.action == "point", waving=pose.action == "wave")
    if pose.action in ("read", "type"):
        return [*_arm(-side, (-0.2, 0.56)), *busy]
    rest = (0.2, 0.58) if pose.action == "walk" else _HANDS["side"]
    return [*_arm(-side, rest), *busy]


def _arm(side: int, target: Point, *, pointing: bool = False, waving: bool = False) -> list[Part]:
    start = (side * _SHOULDER[0], _SHOULDER[1])
    end = (side * target[0], target[1])
    parts = []
    if target[1] < 0.32 and not pointing:  # a raised hand: the elbow goes out
        elbow = (side * max(0.22, abs(target[0]) - 0.01), 0.44)
        parts.append(bar("main", 0.085, start, elbow))
        start = elbow
    parts.append(bar("main", 0.085, start, end))
    parts.append(oval("skin", *end, *((0.06, 0.062) if waving else (0.048, 0.048))))
    if waving:
        parts += [
            bar("skin", 0.028, end, (end[0] + dx, end[1] - 0.105)) for dx in (-0.06, 0.0, 0.06)
        ]
    if pointing:
        length = 0.09
        lift = (target[1] - 0.38) * 0.25
        parts.append(bar("skin", 0.035, end, (end[0] + side * length, end[1] + lift)))
    return parts
