"""The shape of each kind of thing that is not a person.

Width is 1 where nothing else is said; `harness.world._shapes.fit` stretches a shape to its box.
Imports harness.world._shapes.
"""

from collections.abc import Callable
from functools import cache
from math import cos, pi, sin

from harness.world._shapes import Part, bar, oval, ring, shape, slab


def _bicycle() -> list[Part]:
    return [
        *(ring("tyre", x, 0.44, 0.22, 0.03) for x in (0.22, 0.78)),
        *(ring("main", x, 0.44, 0.192, 0.055) for x in (0.22, 0.78)),
        bar("main", 0.095, (0.22, 0.44), (0.42, 0.16)),
        bar("main", 0.095, (0.38, 0.18), (0.72, 0.18)),
        bar("main", 0.095, (0.49, 0.44), (0.71, 0.17)),
        bar("main", 0.095, (0.22, 0.44), (0.5, 0.44)),
        bar("main", 0.095, (0.41, 0.14), (0.5, 0.44)),
        bar("main", 0.095, (0.69, 0.08), (0.78, 0.44)),
        slab("ink", 0.32, 0.07, 0.52, 0.13, 0.02),
        bar("ink", 0.05, (0.62, 0.06), (0.8, 0.02)),
    ]


def _car() -> list[Part]:
    return [
        shape("main", (0.18, 0.22), (0.3, 0.0), (0.68, 0.0), (0.84, 0.22)),
        slab("main", 0.0, 0.19, 1.0, 0.42, 0.05),
        shape("glass", (0.25, 0.2), (0.33, 0.04), (0.48, 0.04), (0.48, 0.2)),
        shape("glass", (0.52, 0.2), (0.52, 0.04), (0.65, 0.04), (0.76, 0.2)),
        oval("tyre", 0.24, 0.4, 0.105, 0.105),
        oval("tyre", 0.77, 0.4, 0.105, 0.105),
        oval("metal", 0.24, 0.4, 0.05, 0.05),
        oval("metal", 0.77, 0.4, 0.05, 0.05),
        oval("lamp yellow", 0.96, 0.27, 0.03, 0.035),
        slab("lamp red", 0.0, 0.24, 0.04, 0.31),
    ]


def _bus() -> list[Part]:
    windows = [slab("glass", 0.05 + 0.185 * n, 0.16, 0.2 + 0.185 * n, 0.29) for n in range(4)]
    return [
        slab("main", 0.0, 0.0, 1.0, 0.47, 0.04),
        *windows,
        slab("glass", 0.81, 0.16, 0.97, 0.44),
        oval("tyre", 0.22, 0.465, 0.085, 0.085),
        oval("tyre", 0.68, 0.465, 0.085, 0.085),
        oval("metal", 0.22, 0.465, 0.04, 0.04),
        oval("metal", 0.68, 0.465, 0.04, 0.04),
        oval("lamp yellow", 0.965, 0.4, 0.025, 0.025),
    ]


def _boat() -> list[Part]:
    return [
        bar("wood", 0.035, (0.5, 0.0), (0.5, 0.5)),
        shape("light", (0.54, 0.03), (0.9, 0.44), (0.54, 0.44)),
        shape("light", (0.46, 0.1), (0.46, 0.44), (0.16, 0.44)),
        shape("main", (0.0, 0.48), (1.0, 0.48), (0.84, 0.7), (0.16, 0.7)),
        slab("paper", 0.02, 0.48, 0.98, 0.52),
    ]


def _traffic_light() -> list[Part]:
    return [
        slab("metal", 0.4, 1.5, 0.6, 2.3),
        slab("metal", 0.15, 2.28, 0.85, 2.4),
        slab("main", 0.0, 0.0, 1.0, 1.62, 0.15),
        *(
            part
            for lamp, y in (("red", 0.3), ("yellow", 0.81), ("green", 1.32))
            for part in (oval("ink", 0.5, y, 0.27, 0.23), oval(f"lamp {lamp}", 0.5, y, 0.2, 0.17))
        ),
    ]


def _stop_sign() -> list[Part]:
    corners = [
        (0.5 + 0.54 * cos(pi * (n + 0.5) / 4), 0.5 + 0.54 * sin(pi * (n + 0.5) / 4))
        for n in range(8)
    ]
    inner = [(0.5 + (x - 0.5) * 0.88, 0.5 + (y - 0.5) * 0.88) for x, y in corners]
    return [
        slab("metal", 0.45, 0.95, 0.55, 1.9),
        shape("paper", *corners),
        shape("main", *inner),
    ]


def _bench() -> list[Part]:
    return [
        *(slab("ink", x, 0.0, x + 0.06, 0.55) for x in (0.08, 0.86)),
        slab("main", 0.0, 0.02, 1.0, 0.11),
        slab("main", 0.0, 0.15, 1.0, 0.24),
        slab("main", 0.0, 0.31, 1.0, 0.42),
    ]


def _bird() -> list[Part]:
    return [
        shape("dark", (0.22, 0.42), (0.0, 0.3), (0.02, 0.52)),
        bar("beak", 0.03, (0.46, 0.6), (0.46, 0.8), edge=False),
        bar("beak", 0.03, (0.56, 0.6), (0.56, 0.8), edge=False),
        oval("main", 0.47, 0.44, 0.31, 0.22),
        shape("beak", (0.88, 0.14), (1.0, 0.21), (0.88, 0.27)),
        oval("main", 0.75, 0.2, 0.17, 0.17),
        shape("dark", (0.3, 0.36), (0.62, 0.4), (0.5, 0.56), (0.34, 0.52)),
        oval("eye", 0.79, 0.16, 0.05, 0.05),
        oval("ink", 0.8, 0.16, 0.025, 0.025, edge=False),
    ]


def _cat() -> list[Part]:
    return [
        ring("main", 0.72, 0.62, 0.28, 0.09, (-0.55, 0.55)),
        oval("main", 0.4, 0.62, 0.27, 0.23),
        shape("main", (0.12, 0.24), (0.1, 0.0), (0.32, 0.12)),
        shape("main", (0.68, 0.24), (0.7, 0.0), (0.48, 0.12)),
        oval("main", 0.4, 0.29, 0.31, 0.22),
        slab("main", 0.24, 0.6, 0.37, 0.85, 0.04),
        slab("main", 0.43, 0.6, 0.56, 0.85, 0.04),
        *(oval("lamp green", x, 0.26, 0.055, 0.055) for x in (0.28, 0.52)),
        *(oval("ink", x, 0.26, 0.02, 0.045, edge=False) for x in (0.28, 0.52)),
        shape("lip", (0.36, 0.35), (0.44, 0.35), (0.4, 0.39)),
        *(
            bar("metal", 0.012, (0.4 + side * 0.1, 0.38), (0.4 + side * 0.36, y), edge=False)
            for side in (-1, 1)
            for y in (0.35, 0.42)
        ),
    ]


def _dog() -> list[Part]:
    return [
        bar("main", 0.08, (0.14, 0.36), (0.02, 0.14)),
        *(slab("main", x, 0.48, x + 0.09, 0.75, 0.02) for x in (0.14, 0.27, 0.5, 0.63)),
        slab("main", 0.1, 0.3, 0.74, 0.57, 0.07),
        shape("main", (0.56, 0.5), (0.6, 0.16), (0.8, 0.2), (0.74, 0.5), edge=False),
        oval("main", 0.74, 0.19, 0.16, 0.15),
        slab("main", 0.78, 0.17, 1.0, 0.31, 0.04),
        oval("ink", 0.975, 0.19, 0.035, 0.03, edge=False),
        oval("dark", 0.63, 0.23, 0.06, 0.15),
        oval("eye", 0.79, 0.13, 0.04, 0.04),
        oval("ink", 0.8, 0.13, 0.02, 0.022, edge=False),
        bar("lip", 0.05, (0.6, 0.4), (0.74, 0.36)),
    ]


def _horse() -> list[Part]:
    return [
        shape("dark", (0.1, 0.36), (0.0, 0.44), (0.02, 0.72), (0.08, 0.62), (0.14, 0.44)),
        *(slab("main", x, 0.5, x + 0.075, 0.85) for x in (0.13, 0.25, 0.52, 0.63)),
        *(slab("ink", x, 0.8, x + 0.075, 0.85) for x in (0.13, 0.25, 0.52, 0.63)),
        slab("main", 0.09, 0.33, 0.72, 0.58, 0.08),
        shape("main", (0.54, 0.42), (0.7, 0.06), (0.84, 0.12), (0.72, 0.5)),
        shape("dark", (0.5, 0.4), (0.64, 0.08), (0.72, 0.02), (0.72, 0.1), (0.58, 0.42)),
        shape(
            "main", (0.7, 0.06), (0.78, 0.05), (1.0, 0.22), (0.97, 0.32), (0.88, 0.32), (0.72, 0.22)
        ),
        shape("main", (0.71, 0.08), (0.73, 0.0), (0.78, 0.07)),
        oval("ink", 0.83, 0.15, 0.02, 0.02, edge=False),
    ]


def _umbrella() -> list[Part]:
    top = [
        (0.5 + 0.5 * cos(pi + pi * n / 16), 0.47 + 0.43 * sin(pi + pi * n / 16)) for n in range(17)
    ]
    scallops = [(1 - n / 16, 0.47 - 0.05 * abs(sin(pi * n / 4))) for n in range(1, 16)]
    return [
        bar("wood", 0.04, (0.5, 0.0), (0.5, 0.92)),
        ring("wood", 0.44, 0.88, 0.08, 0.04, (0, 1)),
        shape("main", *top, *scallops),
        *(bar("dark", 0.015, (0.5, 0.05), (x, 0.43), edge=False) for x in (0.25, 0.5, 0.75)),
    ]


def _handbag() -> list[Part]:
    return [
        ring("dark", 0.5, 0.4, 0.3, 0.07, (1, 2)),
        shape("main", (0.1, 0.36), (0.9, 0.36), (1.0, 1.0), (0.0, 1.0)),
        shape("dark", (0.1, 0.36), (0.9, 0.36), (0.86, 0.6), (0.14, 0.6)),
        slab("lamp yellow", 0.44, 0.54, 0.56, 0.68),
    ]


def _frisbee() -> list[Part]:
    return [
        oval("dark", 0.5, 0.26, 0.5, 0.19),
        oval("main", 0.5, 0.2, 0.5, 0.2),
        oval("light", 0.5, 0.19, 0.3, 0.11),
    ]


def _ball() -> list[Part]:
    return [
        oval("main", 0.5, 0.5, 0.5, 0.5),
        ring("paper", 0.0, 0.5, 0.42, 0.07, (-0.36, 0.36)),
        ring("paper", 1.0, 0.5, 0.42, 0.07, (0.64, 1.36)),
        slab("paper", 0.42, 0.465, 0.58, 0.535),
    ]


def _kite() -> list[Part]:
    return [
        bar("ink", 0.03, (0.5, 0.85), (0.4, 1.3), edge=False),
        shape("main", (0.5, 0.0), (1.0, 0.38), (0.5, 0.9), (0.0, 0.38)),
        shape("light", (0.5, 0.0), (1.0, 0.38), (0.5, 0.38)),
        shape("light", (0.5, 0.9), (0.0, 0.38), (0.5, 0.38)),
        *(
            shape(
                "main",
                (x - 0.13, y - 0.06),
                (x - 0.13, y + 0.06),
                (x + 0.13, y - 0.06),
                (x + 0.13, y + 0.06),
            )
            for x, y in ((0.47, 1.0), (0.43, 1.16))
        ),
    ]


def _bottle() -> list[Part]:
    return [
        slab("ink", 0.3, 0.0, 0.7, 0.24),
        shape(
            "main",
            (0.34, 0.22),
            (0.66, 0.22),
            (0.66, 0.6),
            (1.0, 0.95),
            (1.0, 2.22),
            (0.94, 2.3),
            (0.06, 2.3),
            (0.0, 2.22),
            (0.0, 0.95),
            (0.34, 0.6),
        ),
        slab("paper", 0.0, 1.3, 1.0, 1.75),
    ]


def _cup() -> list[Part]:
    return [
        ring("main", 0.74, 0.46, 0.26, 0.1),
        shape("main", (0.0, 0.1), (0.78, 0.1), (0.68, 0.95), (0.1, 0.95)),
        oval("light", 0.39, 0.11, 0.39, 0.11),
        oval("stem", 0.39, 0.12, 0.31, 0.07, edge=False),
    ]


def _bowl() -> list[Part]:
    steps = [(0.5 + 0.5 * cos(pi * n / 14), 0.1 + 0.36 * sin(pi * n / 14)) for n in range(15)]
    return [
        slab("dark", 0.32, 0.4, 0.68, 0.5),
        shape("main", *steps),
        oval("light", 0.5, 0.1, 0.5, 0.1),
        oval("crust", 0.5, 0.11, 0.4, 0.065, edge=False),
    ]


def _banana() -> list[Part]:
    outer = [
        (0.5 + 0.5 * cos(pi * (0.04 + 0.92 * n / 16)), 0.5 * sin(pi * (0.04 + 0.92 * n / 16)))
        for n in range(17)
    ]
    inner = [
        (0.5 + 0.44 * cos(pi * (0.05 + 0.9 * n / 16)), 0.2 * sin(pi * (0.05 + 0.9 * n / 16)))
        for n in range(16, -1, -1)
    ]
    return [
        shape("main", *outer, *inner),
        shape("stem", (0.9, 0.08), (0.94, -0.06), (1.0, -0.05), (1.0, 0.08)),
        oval("stem", 0.02, 0.04, 0.03, 0.035),
    ]


def _apple() -> list[Part]:
    return [
        oval("main", 0.34, 0.63, 0.34, 0.41),
        oval("main", 0.66, 0.63, 0.34, 0.41),
        oval("main", 0.5, 0.64, 0.3, 0.36, edge=False),
        bar("stem", 0.07, (0.5, 0.32), (0.54, 0.04)),
        shape("leaf", (0.54, 0.2), (0.66, 0.04), (0.88, 0.0), (0.76, 0.18)),
    ]


def _pizza() -> list[Part]:
    spots = ((0.3, 0.24), (0.52, 0.17), (0.7, 0.28), (0.4, 0.42), (0.62, 0.46))
    return [
        oval("crust", 0.5, 0.35, 0.5, 0.35),
        oval("main", 0.5, 0.34, 0.42, 0.28),
        *(oval("dark", x, y, 0.055, 0.042) for x, y in spots),
        *(
            bar("crust", 0.02, (0.5, 0.34), end, edge=False)
            for end in ((0.12, 0.24), (0.88, 0.24), (0.5, 0.64))
        ),
    ]


def _chair() -> list[Part]:
    """Seen from the side, the back on the left."""
    return [
        slab("main", 0.0, 0.0, 0.18, 0.95, 0.03),
        slab("main", 0.0, 0.76, 1.0, 0.97, 0.03),
        slab("dark", 0.03, 0.97, 0.16, 1.45),
        slab("dark", 0.82, 0.97, 0.95, 1.45),
        bar("dark", 0.07, (0.12, 1.22), (0.86, 1.22)),
    ]


def _plant() -> list[Part]:
    leaves = ((-0.42, 0.18), (-0.24, 0.03), (0.0, 0.0), (0.24, 0.03), (0.42, 0.18))
    return [
        *(
            shape(
                "leaf",
                (0.5 - 0.05, 0.85),
                (0.5 + dx - 0.1, y + 0.26),
                (0.5 + dx, y),
                (0.5 + dx + 0.1, y + 0.26),
                (0.5 + 0.05, 0.85),
            )
            for dx, y in leaves
        ),
        shape("main", (0.06, 0.82), (0.94, 0.82), (0.8, 1.6), (0.2, 1.6)),
        slab("main", 0.0, 0.72, 1.0, 0.92),
    ]


def _bed() -> list[Part]:
    return [
        slab("wood", 0.0, 0.0, 0.07, 0.5),
        slab("wood", 0.93, 0.2, 1.0, 0.5),
        slab("paper", 0.07, 0.22, 0.93, 0.34),
        slab("paper", 0.08, 0.1, 0.27, 0.24, 0.04),
        shape("main", (0.28, 0.16), (0.93, 0.18), (0.93, 0.44), (0.28, 0.44)),
        slab("wood", 0.03, 0.38, 0.97, 0.45),
        shape("main", (0.28, 0.16), (0.93, 0.18), (0.93, 0.42), (0.28, 0.42)),
        shape("light", (0.28, 0.16), (0.4, 0.165), (0.4, 0.42), (0.28, 0.42)),
    ]


def _laptop() -> list[Part]:
    return [
        slab("main", 0.12, 0.0, 0.88, 0.53, 0.03),
        slab("glass", 0.19, 0.06, 0.81, 0.45),
        *(
            bar("metal", 0.025, (0.25, y), (x, y), edge=False)
            for x, y in ((0.6, 0.14), (0.74, 0.22), (0.5, 0.3))
        ),
        shape("main", (0.12, 0.53), (0.88, 0.53), (1.0, 0.75), (0.0, 0.75)),
        shape("dark", (0.19, 0.56), (0.81, 0.56), (0.86, 0.66), (0.14, 0.66)),
    ]


def _book() -> list[Part]:
    return [
        slab("main", 0.0, 0.0, 1.0, 1.2, 0.03),
        slab("paper", 0.12, 1.08, 0.97, 1.17),
        slab("dark", 0.0, 0.0, 0.13, 1.2, 0.02),
        slab("paper", 0.24, 0.2, 0.9, 0.52),
        *(bar("light", 0.04, (0.3, y), (0.84, y), edge=False) for y in (0.7, 0.82)),
    ]


def _clock() -> list[Part]:
    marks = [(0.5 + 0.29 * cos(pi * n / 2), 0.5 + 0.29 * sin(pi * n / 2)) for n in range(4)]
    return [
        oval("main", 0.5, 0.5, 0.5, 0.5),
        oval("paper", 0.5, 0.5, 0.345, 0.345),
        *(oval("ink", x, y, 0.025, 0.025, edge=False) for x, y in marks),
        bar("ink", 0.05, (0.5, 0.52), (0.5, 0.27), edge=False),
        bar("ink", 0.05, (0.48, 0.5), (0.68, 0.58), edge=False),
    ]


def _bear() -> list[Part]:
    return [
        *(oval("main", x, 0.13, 0.13, 0.13) for x in (0.24, 0.76)),
        *(oval("light", x, 0.13, 0.07, 0.07, edge=False) for x in (0.24, 0.76)),
        *(oval("main", x, 0.66, 0.17, 0.11) for x in (0.17, 0.83)),
        *(oval("main", x, 1.06, 0.17, 0.14) for x in (0.28, 0.72)),
        *(oval("light", x, 1.08, 0.09, 0.08, edge=False) for x in (0.28, 0.72)),
        oval("main", 0.5, 0.8, 0.3, 0.32),
        oval("light", 0.5, 0.84, 0.16, 0.18, edge=False),
        oval("main", 0.5, 0.32, 0.33, 0.29),
        oval("light", 0.5, 0.41, 0.15, 0.11),
        oval("ink", 0.5, 0.37, 0.055, 0.04, edge=False),
        *(oval("ink", x, 0.26, 0.035, 0.035, edge=False) for x in (0.38, 0.62)),
    ]


_SHAPES: dict[str, Callable[[], list[Part]]] = {
    "bicycle": _bicycle,
    "car": _car,
    "bus": _bus,
    "boat": _boat,
    "traffic light": _traffic_light,
    "stop sign": _stop_sign,
    "bench": _bench,
    "bird": _bird,
    "cat": _cat,
    "dog": _dog,
    "horse": _horse,
    "umbrella": _umbrella,
    "handbag": _handbag,
    "frisbee": _frisbee,
    "sports ball": _ball,
    "kite": _kite,
    "bottle": _bottle,
    "cup": _cup,
    "bowl": _bowl,
    "banana": _banana,
    "apple": _apple,
    "pizza": _pizza,
    "chair": _chair,
    "potted plant": _plant,
    "bed": _bed,
    "laptop": _laptop,
    "book": _book,
    "clock": _clock,
    "teddy bear": _bear,
}
TEXT_PANELS: dict[str, tuple[float, float, float, float]] = {
    "bus": (0.04, 0.03, 0.96, 0.26),
    "stop sign": (0.06, 0.15, 0.94, 0.37),
    "book": (0.25, 0.17, 0.89, 0.43),
}
"""Where the text of a thing stands, as parts of its box."""


@cache
def of_kind(kind: str) -> tuple[Part, ...]:
    """Return the shape of a kind that is not a person. Raises KeyError for an unknown one."""
    return tuple(_SHAPES[kind]())
