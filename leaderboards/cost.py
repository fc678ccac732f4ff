"""Time against score: which runs are beaten by none that is as quick.

Time is wall seconds per answer, all of the run counted, so it depends on the machine: where runs
were made on different ones, the page says so. Replayed answers and floors have no time worth
drawing. Reads records only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports._page_numbers import Scale, scale
from reports._page_read import Run

WIDTH, HEIGHT = 460.0, 230.0
_TIMELESS = ("recorded", "random", "constant", "majority", "oracle")


@dataclass(frozen=True)
class Point:
    """A run in the figure; `x` and `y` are its place."""

    name: str
    seconds: float
    value: float
    x: float
    y: float
    low: float | None
    """Ends of the interval, as places."""
    high: float | None
    frontier: bool


@dataclass(frozen=True)
class Figure:
    """Points, the ticks of both axes as (place, text), and what must be known to read it."""

    points: Sequence[Point]
    across: Sequence[tuple[float, str]]
    up: Sequence[tuple[float, str]]
    note: str


def figure(runs: Sequence[Run], *, higher: bool) -> Figure | None:
    """Return the figure of comparable runs; None for fewer than two with a time and a score."""
    timed = [run for run in runs if _seconds(run) and _value(run) is not None]
    if len(timed) < 2:
        return None
    found = [(_seconds(run), _value(run) or 0.0, run) for run in timed]
    metrics = [run.record.metrics[run.headline] for run in timed]
    rows = scale([m[key] for m in metrics for key in ("value", "low", "high")])
    low = math.floor(math.log10(min(t for t, _, _ in found)))
    high = max(math.ceil(math.log10(max(t for t, _, _ in found))), low + 1)
    if rows is None:
        return None

    def place(seconds: float) -> float:
        return round(40 + (math.log10(seconds) - low) / (high - low) * (WIDTH - 60), 1)

    def height(value: float | None) -> float | None:
        return None if value is None else _height(rows, value)

    sign = 1 if higher else -1
    points = [
        Point(
            run.model, t, v, place(t), _height(rows, v),
            height(run.record.metrics[run.headline]["low"]),
            height(run.record.metrics[run.headline]["high"]),
            not any((u <= t and sign * w > sign * v) or (u < t and w == v) for u, w, _ in found),
        )
        for t, v, run in found
    ]  # fmt: skip
    across = [(place(10.0**power), f"{10.0**power:g}") for power in range(low, high + 1)]
    machines = {_machine(run) for run in timed}
    note = (
        f"all on {machines.pop()}" if len(machines) == 1
        else f"made on {len(machines)} different machines: {'; '.join(sorted(machines))}"
    )  # fmt: skip
    points.sort(key=lambda p: (p.seconds, p.name))
    return Figure(points, across, [(_height(rows, t), rows.label(t)) for t in rows.ticks], note)


def _height(rows: Scale, value: float) -> float:
    share = (min(max(value, rows.low), rows.high) - rows.low) / (rows.high - rows.low)
    return round(HEIGHT - 30 - share * (HEIGHT - 50), 1)


def _seconds(run: Run) -> float:
    """Return wall seconds per answer; 0 where that says nothing."""
    if run.checked.model.partition(":")[0] in _TIMELESS or not run.info.get("seconds"):
        return 0.0
    return float(run.info["seconds"]) / int(run.info["counts"]["total"])


def _value(run: Run) -> float | None:
    found = run.record.metrics.get(run.headline) or {}
    value: float | None = found.get("value")
    return value


def _machine(run: Run) -> str:
    environment = run.info["environment"]
    used = environment.get("accelerators") or ()
    return ", ".join(used) or f"{environment.get('cpu') or 'unknown'} (no accelerator)"
