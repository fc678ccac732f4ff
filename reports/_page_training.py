"""Training curves as small figures on one axis of steps.

Places are numbers for inline SVG; texts go through the template. Standard library and the page's
own parts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from reports._page_numbers import Scale, scale, show
from reports._page_read import Run
from reports.training import Log, Score

WIDTH, HEIGHT = 348.0, 150.0
LEFT, RIGHT, TOP, FLOOR = 46.0, 12.0, 12.0, 122.0
MOST = 240
"""Points of one curve; more are gathered in equal bins of steps."""
_PANELS = 12  # of scores
_DASHES = ("", "6 3", "2 2.5", "8 3 2 3")


@dataclass(frozen=True)
class Curve:
    """One line of a panel."""

    points: str
    band: str
    """Outline from the least to the most of each bin; empty where bins hold one value."""
    dash: str
    name: str


@dataclass(frozen=True)
class Dot:
    """A score of a checkpoint."""

    x: float
    y: float
    low: float | None
    high: float | None
    told: str
    picked: bool


@dataclass(frozen=True)
class Panel:
    """One figure."""

    title: str
    unit: str
    curves: Sequence[Curve]
    dots: Sequence[Dot]
    across: Sequence[tuple[float, str]]
    up: Sequence[tuple[float, str]]
    picked: float | None
    """Where the checkpoint that was asked lies."""
    told: str
    """The ends of every curve in words."""


@dataclass(frozen=True)
class Training:
    """What a page shows of a training."""

    panels: Sequence[Panel]
    facts: Sequence[str]
    notes: Sequence[str]
    warning: str


def training(log: Log, run: Run) -> Training:
    """Return the curves of a log, and a warning where its scores chose the checkpoint."""
    ends = [step for values in (*log.series.values(), *log.rates.values()) for step, _ in values]
    ends += [score.step for scores in log.scores.values() for score in scores]
    axis = scale([0, *ends], most=5)
    assert axis is not None  # a log without any step was refused

    def own(one: tuple[tuple[str, str], Sequence[Score]]) -> tuple[bool, tuple[str, str]]:
        return one[0][0] != run.checked.task, one[0]  # the task of this page first

    counted = "tokens" if log.series["tokens_per_s"] else "samples"  # losses of their own have none
    picked = log.picked if log.picked is not None and log.picked <= axis.high else None
    panels = [
        _panel(axis, picked, "loss", "", {"": log.series["loss"]}),
        _panel(axis, picked, "learning rate", "", log.rates),
        _panel(axis, picked, "gradient norm", "", {"": log.series["grad_norm"]}),
        _panel(axis, picked, "throughput", f"{counted}/s", {"": log.series[f"{counted}_per_s"]}),
        _panel(axis, picked, "model FLOPs utilisation", "", {"": log.series["mfu"]}),
        *(
            _scores(axis, picked, name, scores)
            for name, scores in sorted(log.scores.items(), key=own)[:_PANELS]
        ),
    ]
    binned = max((len(v) for v in (*log.series.values(), *log.rates.values())), default=0) > MOST
    notes = [f"Curves are medians of {MOST} bins of steps; bands go from least to most."] * binned
    notes += [f"{note}." for note in log.notes]
    return Training(
        [p for p in panels if p.curves or p.dots], list(_facts(log)), notes, _warning(log, run)
    )


def _facts(log: Log) -> list[str]:
    last = log.last
    found = [f"{log.steps:,} logged steps"] if log.steps else []
    if "step" in last:
        found.append(f"to step {int(last['step']):,}")
    found += [f"{last[name]:,.0f} {name}" for name in ("samples", "tokens") if name in last]
    if "seconds" in last:
        found.append(f"{last['seconds'] / 3600:,.2f} hours")
    return found


def _warning(log: Log, run: Run) -> str:
    """Say where the checkpoint was chosen by the score that is reported."""
    task = run.checked.task
    for (name, metric), scores in sorted(log.scores.items()):
        if name != task or len(scores) < 2 or log.picked is None:
            continue
        sign = 1 if run.definition(metric).higher_is_better else -1
        best = max(scores, key=lambda score: sign * score.value)
        if best.step == log.picked:
            return (
                f"This checkpoint is the best of {len(scores)} that were scored on {task} "
                f"({metric}): a score that chose its checkpoint is too good. Compare the "
                "checkpoint on data that did not choose it, or the last one."
            )
    return ""


def _panel(
    axis: Scale, picked: int | None, title: str, unit: str,
    lines: Mapping[str, Sequence[tuple[int, float]]],
) -> Panel:  # fmt: skip
    lines = {name: values for name, values in lines.items() if values}
    flat = [value for values in lines.values() for _, value in values]
    rows = scale(flat, most=4)
    if rows is None:
        return Panel(title, unit, [], [], [], [], None, "")
    low, high = _robust(flat, rows)
    rows = scale([low, high], most=4) or rows
    curves = []
    for at, (name, values) in enumerate(lines.items()):
        bins = _bins(values)
        points = " ".join(f"{_x(axis, s)},{_y(rows, m)}" for s, m, _, _ in bins)
        edge = [(s, top) for s, _, _, top in bins] + [(s, low) for s, _, low, _ in bins[::-1]]
        spread = any(low < top for _, _, low, top in bins)
        band = " ".join(f"{_x(axis, s)},{_y(rows, v)}" for s, v in edge) if spread else ""
        curves.append(Curve(points, band, _DASHES[at % len(_DASHES)], name))
    told = "; ".join(_told(name, values) for name, values in lines.items())
    return Panel(title, unit, curves, [], _across(axis), _up(rows),
                 None if picked is None else _x(axis, picked), told)  # fmt: skip


def _told(name: str, values: Sequence[tuple[int, float]]) -> str:
    (first, start), (last, end) = values[0], values[-1]
    found = [value for _, value in values]
    return (
        f"{name + ': ' if name else ''}{_short(start)} at step {first:,}, {_short(end)} at step "
        f"{last:,}; {_short(min(found))} to {_short(max(found))} in all"
    )


def _scores(
    axis: Scale, picked: int | None, name: tuple[str, str], scores: Sequence[Score]
) -> Panel:
    rows = scale([x for s in scores for x in (s.value, s.low, s.high)], most=4)
    assert rows is not None
    dots = [
        Dot(
            _x(axis, s.step), _y(rows, s.value), None if s.low is None else _y(rows, s.low),
            None if s.high is None else _y(rows, s.high),
            f"step {s.step:,}: {show(s.value)}", s.step == picked,
        )
        for s in scores
    ]  # fmt: skip
    points = " ".join(f"{dot.x},{dot.y}" for dot in dots)
    curve = [Curve(points, "", "", "")] if len(dots) > 1 else []
    told = "; ".join(f"step {s.step:,} {show(s.value)}" for s in scores[-12:])
    return Panel(" ".join(filter(None, name)), "", curve, dots, _across(axis), _up(rows),
                 None if picked is None else _x(axis, picked), told)  # fmt: skip


def _robust(values: Sequence[float], rows: Scale) -> tuple[float, float]:
    """Return ends between which all lie but rare spikes, which would flatten the curve."""
    ranked = sorted(values)
    if len(ranked) < 50:
        return ranked[0], ranked[-1]
    low, high = (ranked[round(q * (len(ranked) - 1))] for q in (0.005, 0.995))
    middle = (high - low) or 1.0
    top = ranked[-1] if ranked[-1] <= high + 2 * middle else high + 0.1 * middle
    bottom = ranked[0] if ranked[0] >= low - 2 * middle else low - 0.1 * middle
    return bottom, top


def _bins(values: Sequence[tuple[int, float]]) -> list[tuple[float, float, float, float]]:
    """Return (middle step, median, least, most) of at most MOST bins of equal counts."""
    if len(values) <= MOST:
        return [(step, value, value, value) for step, value in values]
    size = math.ceil(len(values) / MOST)
    found = []
    for start in range(0, len(values), size):
        part = values[start : start + size]
        numbers = [value for _, value in part]
        middle = (part[0][0] + part[-1][0]) / 2
        found.append((middle, median(numbers), min(numbers), max(numbers)))
    return found


def _x(axis: Scale, step: float) -> float:
    return round(LEFT + (step - axis.low) / (axis.high - axis.low) * (WIDTH - LEFT - RIGHT), 1)


def _y(rows: Scale, value: float) -> float:
    part = (min(max(value, rows.low), rows.high) - rows.low) / (rows.high - rows.low)
    return round(FLOOR - part * (FLOOR - TOP), 1)


def _across(axis: Scale) -> list[tuple[float, str]]:
    return [(_x(axis, tick), _thousands(tick)) for tick in axis.ticks]


def _up(rows: Scale) -> list[tuple[float, str]]:
    return [(_y(rows, tick), _thousands(tick)) for tick in rows.ticks]


def _thousands(tick: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(tick) >= unit:
            return f"{tick / unit:.4g}{name}".replace("-", "\N{MINUS SIGN}")
    text = f"{tick:.4g}"
    if 0 < abs(tick) < 1e-3:
        digits, _, power = f"{tick:.1e}".partition("e")
        text = f"{digits.removesuffix('.0')}e{int(power)}"
    return text.replace("-", "\N{MINUS SIGN}")


def _short(value: float) -> str:
    text = f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return text.replace("-", "\N{MINUS SIGN}")
