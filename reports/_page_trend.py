"""A history as a figure: values with intervals on a time axis, changes, waivers, barriers.

Places are numbers for inline SVG; texts go through the template. Standard library and the page's
own parts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from reports._page_numbers import interval, p_value, scale, show, signed
from reports.trend import Point, Step, Trend, Waiver

WIDTH, HEIGHT = 720.0, 216.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 20.0, 30.0, 40.0
_MOST_TICKS = 7
_LABEL = 74.0  # room that the text of a change needs


@dataclass(frozen=True)
class Dot:
    """A run in the figure."""

    point: Point
    x: float
    y: float
    low: float | None
    high: float | None
    told: str
    """What it says when it is pointed at."""


@dataclass(frozen=True)
class Bar:
    """A waiver in the figure."""

    x: float
    width: float
    y: float
    anchor: str
    text_x: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A change, or a barrier, in the figure."""

    x: float
    text: str
    kind: str
    """`better`, `worse`, `changed` or `barrier`."""
    text_y: float
    anchor: str


@dataclass(frozen=True)
class Figure:
    """Everything that the template draws and tells."""

    trend: Trend
    label: str
    dots: Sequence[Dot]
    lines: Sequence[str]
    """Points of the thin lines that join comparable runs."""
    levels: Sequence[tuple[float, float, float]]
    """(x from, x to, y) of the mean between two changes."""
    marks: Sequence[Mark]
    waivers: Sequence[Bar]
    across: Sequence[tuple[float, str]]
    up: Sequence[tuple[float, str]]
    height: float
    floor: float
    """Where the time axis is drawn."""
    changes: Sequence[str]
    """The changes in words."""
    rows: Sequence[tuple[Point, str, str]]
    """(point, change since the one before, why or what sets it apart), newest first."""
    family: int


def figure(trend: Trend, family: int = 1) -> Figure | None:
    """Return the figure of a history; None for fewer than two points with a value.

    `family` is the number of tasks among which the level of the changes was shared.
    """
    shown = [(i, p) for i, p in enumerate(trend.points) if p.value is not None]
    if len(shown) < 2:
        return None
    start, end = (choose(p.when for _, p in shown) for choose in (min, max))
    pad = (end - start) * 0.03 or timedelta(days=1)
    axis = _Time(start - pad, end + pad)
    waivers = [w for w in trend.waivers if w.until >= axis.start and w.since <= axis.end]
    floor = HEIGHT - BOTTOM
    rows = scale([x for _, p in shown for x in (p.value, p.low, p.high)], percent=trend.percent)
    assert rows is not None

    def y(value: float) -> float:
        share = (value - rows.low) / (rows.high - rows.low)
        return round(floor - 6 - share * (floor - 6 - TOP), 1)

    dots = {
        i: Dot(
            p, axis.x(p.when), y(p.value), None if p.low is None else y(p.low),
            None if p.high is None else y(p.high), _told(trend, p),
        )
        for i, p in shown if p.value is not None
    }  # fmt: skip
    bars = [_bar(w, axis, floor + 32 + 26 * at, trend) for at, w in enumerate(waivers)]
    return Figure(
        trend, f"{trend.metric} of {len(shown)} runs over time; the values follow as a table",
        list(dots.values()), list(_lines(trend, dots)), list(_levels(trend, dots, y)),
        _marks(trend, dots), bars, axis.ticks(), [(y(t), rows.label(t)) for t in rows.ticks],
        HEIGHT + 26 * len(bars) - 10, floor,
        [_change(trend, step) for step in trend.steps], list(_rows(trend)), family,
    )  # fmt: skip


@dataclass(frozen=True)
class _Time:
    start: datetime
    end: datetime

    def x(self, when: datetime) -> float:
        share = (when - self.start) / (self.end - self.start)
        return round(LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return round days, months or years, as many as there is room for."""
        for days in (1, 2, 7, 14):
            first = datetime.combine(self.start.astimezone(UTC).date(), datetime.min.time(), UTC)
            found = [first + timedelta(days=days * i) for i in range(1, _MOST_TICKS * 14)]
            inside = [day for day in found if day <= self.end]
            if len(inside) <= _MOST_TICKS:
                return [(self.x(day), f"{day:%Y-%m-%d}") for day in inside]
        for months in (1, 2, 3, 6, 12, 24, 60):
            inside = [m for m in self._months(months) if self.start <= m <= self.end]
            if len(inside) <= _MOST_TICKS:
                break
        form = "%Y" if months >= 12 else "%Y-%m"
        return [(self.x(day), day.strftime(form)) for day in inside]

    def _months(self, step: int) -> Iterator[datetime]:
        at = self.start.year * 12
        while at <= self.end.year * 12 + 12:
            yield datetime(at // 12, at % 12 + 1, 1, tzinfo=UTC)
            at += step


def _told(trend: Trend, point: Point) -> str:
    ends = f" ({interval(point.low, point.high)})" if point.low is not None else ""
    return f"{point.when:%Y-%m-%d} {point.name}: {trend.metric} {show(point.value)}{ends}"


def _bar(waiver: Waiver, axis: _Time, y: float, trend: Trend) -> Bar:
    left, right = axis.x(waiver.since), axis.x(waiver.until)
    text = f"waived until {waiver.until:%Y-%m-%d}: may fall by {waiver.max_drop:g}. {waiver.why}"
    width = max(right - left, 3.0)
    late = left + width / 2 > WIDTH / 2
    x, anchor = (round(left + width, 1), "end") if late else (left, "start")
    most = int((x - LEFT if late else WIDTH - x) / 5.8)
    text = text if len(text) <= most else text[: most - 1] + "…"
    return Bar(left, round(width, 1), y, anchor, x, text)


def _lines(trend: Trend, dots: "dict[int, Dot]") -> Iterator[str]:
    line: list[str] = []
    for i, point in enumerate(trend.points):
        if point.apart:
            if len(line) > 1:
                yield " ".join(line)
            line = []
        if i in dots and point.blessed:
            line.append(f"{dots[i].x},{dots[i].y}")
    if len(line) > 1:
        yield " ".join(line)


def _levels(
    trend: Trend, dots: "dict[int, Dot]", y: Callable[[float], float]
) -> Iterator[tuple[float, float, float]]:
    """Yield the means beside changes, each once."""
    seen: dict[tuple[int, int], float] = {}
    for step in trend.steps:
        seen[step.since, step.at] = step.before
        seen[step.at, step.until] = step.after
    for (since, until), mean in sorted(seen.items()):
        inside = [dots[i].x for i in range(since, until) if i in dots]
        if inside:
            yield inside[0] - 6, inside[-1] + 6, y(mean)


def _marks(trend: Trend, dots: "dict[int, Dot]") -> list[Mark]:
    """Return changes and barriers between the runs on both sides of them."""
    found: list[tuple[float, str, str]] = []
    for step in trend.steps:
        found.append(
            (_between(dots, step.at), signed(step.after - step.before), _kind(trend, step))
        )
    for i, point in enumerate(trend.points):
        if point.apart and point.blessed:
            found.append((_between(dots, i), "not comparable", "barrier"))
    marks: list[Mark] = []
    for x, text, kind in sorted(found):
        near = marks and x - marks[-1].x < _LABEL
        row = 12.0 if not near or marks[-1].text_y != 12.0 else 24.0
        anchor = "end" if x > WIDTH - 60 else "middle"
        marks.append(Mark(x, text, kind, row, anchor))
    return marks


def _between(dots: "dict[int, Dot]", at: int) -> float:
    before = [dot.x for i, dot in dots.items() if i < at]
    after = [dot.x for i, dot in dots.items() if i >= at]
    ends = [*(before[-1:]), *(after[:1])]
    return round(sum(ends) / len(ends), 1)


def _kind(trend: Trend, step: Step) -> str:
    up = step.after > step.before
    return "better" if up == trend.higher else "worse"


def _change(trend: Trend, step: Step) -> str:
    before, after = trend.points[step.at - 1], trend.points[step.at]
    return (
        f"{signed(step.after - step.before)} between {before.name} ({before.when:%Y-%m-%d}) and "
        f"{after.name} ({after.when:%Y-%m-%d}), p {p_value(step.p)}"
    )


def _rows(trend: Trend) -> Iterator[tuple[Point, str, str]]:
    for i in range(len(trend.points) - 1, -1, -1):
        point, before = trend.points[i], trend.points[i - 1] if i else None
        known = before and before.value is not None and point.value is not None
        gap = signed(point.value - before.value) if known and not point.apart else ""  # type: ignore[operator,union-attr]
        note = f"not comparable with the run before: {point.apart}" if point.apart else point.why
        yield point, gap, note
