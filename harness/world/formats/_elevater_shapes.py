"""Shapes that no scene has: what CIFAR-10 names beyond the world's kinds. See _shapes.py."""

from harness.world._shapes import Part, bar, oval, shape, slab


def airplane() -> list[Part]:
    return [
        shape("dark", (0.42, 0.2), (0.52, 0.0), (0.62, 0.0), (0.58, 0.22)),
        shape("main", (0.04, 0.02), (0.14, 0.02), (0.22, 0.2), (0.1, 0.2)),
        slab("main", 0.06, 0.17, 0.94, 0.34, 0.07),
        oval("main", 0.9, 0.255, 0.1, 0.085),
        *(oval("glass", x, 0.23, 0.025, 0.025) for x in (0.28, 0.38, 0.48, 0.58, 0.68)),
        shape("glass", (0.86, 0.19), (0.93, 0.2), (0.96, 0.25), (0.86, 0.25)),
        shape("dark", (0.4, 0.28), (0.62, 0.28), (0.42, 0.5), (0.32, 0.5)),
    ]


def deer() -> list[Part]:
    antlers = [
        bar("stem", 0.03, start, end)
        for start, end in (
            ((0.74, 0.22), (0.68, 0.0)), ((0.71, 0.1), (0.6, 0.02)),
            ((0.8, 0.22), (0.88, 0.0)), ((0.84, 0.1), (0.96, 0.03)),
        )
    ]  # fmt: skip
    return [
        *antlers,
        *(slab("main", x, 0.6, x + 0.05, 1.0) for x in (0.14, 0.24, 0.5, 0.6)),
        slab("main", 0.1, 0.42, 0.68, 0.68, 0.08),
        shape("main", (0.54, 0.5), (0.7, 0.2), (0.82, 0.26), (0.68, 0.6)),
        shape("main", (0.7, 0.18), (0.82, 0.18), (1.0, 0.32), (0.96, 0.38), (0.74, 0.34)),
        oval("ink", 0.83, 0.25, 0.02, 0.02, edge=False),
        oval("paper", 0.1, 0.46, 0.05, 0.06),
        *(
            oval("light", x, y, 0.025, 0.025, edge=False)
            for x, y in ((0.24, 0.5), (0.36, 0.48), (0.48, 0.52), (0.3, 0.59), (0.42, 0.6))
        ),
    ]


def frog() -> list[Part]:
    return [
        *(oval("dark", x, 0.58, 0.17, 0.13) for x in (0.17, 0.83)),
        oval("main", 0.5, 0.46, 0.36, 0.27),
        *(oval("main", x, 0.16, 0.13, 0.13) for x in (0.28, 0.72)),
        *(oval("eye", x, 0.15, 0.08, 0.08) for x in (0.28, 0.72)),
        *(oval("ink", x, 0.15, 0.04, 0.05, edge=False) for x in (0.28, 0.72)),
        oval("light", 0.5, 0.56, 0.22, 0.14, edge=False),
        bar("ink", 0.03, (0.28, 0.4), (0.5, 0.46), edge=False),
        bar("ink", 0.03, (0.5, 0.46), (0.72, 0.4), edge=False),
        *(slab("main", x, 0.62, x + 0.14, 0.75, 0.04) for x in (0.2, 0.66)),
    ]


def truck() -> list[Part]:
    return [
        slab("main", 0.0, 0.0, 0.66, 0.42),
        shape("dark", (0.68, 0.12), (0.86, 0.12), (1.0, 0.26), (1.0, 0.42), (0.68, 0.42)),
        shape("glass", (0.74, 0.15), (0.85, 0.15), (0.94, 0.25), (0.74, 0.25)),
        slab("ink", 0.0, 0.41, 1.0, 0.46),
        *(oval("tyre", x, 0.47, 0.085, 0.085) for x in (0.14, 0.33, 0.83)),
        *(oval("metal", x, 0.47, 0.04, 0.04) for x in (0.14, 0.33, 0.83)),
    ]
