"""What an answer takes against its score: which runs are beaten by none that takes as little.

Three measures: wall seconds per answer, all of the run counted; tokens per answer, in and out;
money per thousand answers, where a file of prices was given (reports/prices.py). Time depends on
the machine: where runs were made on different ones, the page says so. Replayed answers and floors
take no time worth drawing. Reads records only.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports._page_numbers import Scale, scale, short
from reports._page_read import Run
from reports.prices import Prices, tokens

WIDTH, HEIGHT = 460.0, 230.0
_TIMELESS = ("recorded", "random", "constant", "majority", "oracle")


@dataclass(frozen=True)
class Point:
    """A run in the figure; `x` and `y` are its place."""

    name: str
    cost: float
    value: float
    x: float
    y: float
    low: float | None
    """Ends of the interval, as places."""
    high: float | None
    frontier: bool
    told: str
    """Its cost in words."""


@dataclass(frozen=True)
class Figure:
    """Points, the ticks of both axes as (place, text), and what must be known to read it."""

    title: str
    unit: str
    best: str
    """What a filled point is."""
    points: Sequence[Point]
    across: Sequence[tuple[float, str]]
    up: Sequence[tuple[float, str]]
    note: str


@dataclass(frozen=True)
class _Measure:
    title: str
    unit: str
    best: str
    of: Callable[[Run], float]
    """0 where it says nothing."""
    told: Callable[[float], str]
    note: Callable[[Sequence[Run]], str]


def figures(runs: Sequence[Run], *, higher: bool, prices: Prices | None = None) -> list[Figure]:
    """Return a figure per measure that two or more comparable runs have, beside a score."""
    measures = [_TIME, _priced(prices) if prices else _TOKENS]
    found = (_figure(runs, measure, higher=higher) for measure in measures)
    return [figure for figure in found if figure]


def _figure(runs: Sequence[Run], measure: _Measure, *, higher: bool) -> Figure | None:
    found = [(measure.of(r), _value(r), r) for r in runs]
    known = [(cost, value, run) for cost, value, run in found if cost and value is not None]
    if len(known) < 2:
        return None
    metrics = [run.record.metrics[run.headline] for _, _, run in known]
    rows = scale([m[key] for m in metrics for key in ("value", "low", "high")])
    low = math.floor(math.log10(min(cost for cost, _, _ in known)))
    high = max(math.ceil(math.log10(max(cost for cost, _, _ in known))), low + 1)
    if rows is None:
        return None

    def place(cost: float) -> float:
        return round(40 + (math.log10(cost) - low) / (high - low) * (WIDTH - 60), 1)

    def height(value: float | None) -> float | None:
        return None if value is None else _height(rows, value)

    sign = 1 if higher else -1
    points = [
        Point(
            run.model, cost, value, place(cost), _height(rows, value),
            height(run.record.metrics[run.headline]["low"]),
            height(run.record.metrics[run.headline]["high"]),
            not any(
                (u <= cost and sign * w > sign * value) or (u < cost and w == value)
                for u, w, _ in known
            ),
            measure.told(cost),
        )
        for cost, value, run in known
    ]  # fmt: skip
    across = [(place(10.0**power), f"{10.0**power:g}") for power in range(low, high + 1)]
    points.sort(key=lambda p: (p.cost, p.name))
    up = [(_height(rows, t), rows.label(t)) for t in rows.ticks]
    note = measure.note([run for _, _, run in known])
    return Figure(measure.title, measure.unit, measure.best, points, across, up, note)


def _height(rows: Scale, value: float) -> float:
    share = (min(max(value, rows.low), rows.high) - rows.low) / (rows.high - rows.low)
    return round(HEIGHT - 30 - share * (HEIGHT - 50), 1)


def _asks(run: Run) -> bool:
    return run.checked.model.partition(":")[0] not in _TIMELESS


def _seconds(run: Run) -> float:
    if not _asks(run) or not run.info.get("seconds"):
        return 0.0
    return float(run.info["seconds"]) / int(run.info["counts"]["total"])


def _tokens(run: Run) -> float:
    counts = tokens(run) if _asks(run) else None
    return sum(counts) / int(run.info["counts"]["total"]) if counts else 0.0


def _value(run: Run) -> float | None:
    found = run.record.metrics.get(run.headline) or {}
    value: float | None = found.get("value")
    return value


def _machines(runs: Sequence[Run]) -> str:
    machines = {_machine(run) for run in runs}
    if len(machines) == 1:
        return f"Whole run counted, all on {machines.pop()}."
    told = "; ".join(sorted(machines))
    return f"Whole run counted, made on {len(machines)} different machines: {told}."


def _machine(run: Run) -> str:
    environment = run.info["environment"]
    used = environment.get("accelerators") or ()
    return ", ".join(used) or f"{environment.get('cpu') or 'unknown'} (no accelerator)"


def _priced(prices: Prices) -> _Measure:
    def note(runs: Sequence[Run]) -> str:
        told = "; ".join(f"{r.model}: {cost.told}" for r in runs if (cost := prices.of(r)))
        return f"Prices of {prices.name} ({prices.digest}), judging not counted. {told}."

    def of(run: Run) -> float:
        cost = prices.of(run)
        return cost.each if cost else 0.0

    return _Measure(
        "Price against score", f"{prices.currency} per 1,000 answers", "as cheap", of,
        lambda cost: f"{cost:,.3g} {prices.currency}", note,
    )  # fmt: skip


_TIME = _Measure(
    "Time against score", "seconds per answer", "as quick", _seconds,
    lambda cost: f"{short(cost)} s", _machines,
)  # fmt: skip
_TOKENS = _Measure(
    "Tokens against score", "tokens per answer, in and out", "as short", _tokens,
    lambda cost: f"{cost:,.0f} tokens", lambda runs: "As each model's own tokenizer counts them.",
)  # fmt: skip
