"""The tables of a report: metrics, slices, what was answered for what, scores, calibration.

Every function turns a run into plain data for the template. Imports harness.{stats,types} and the
page's own parts; numpy inside.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness import stats
from harness.paired import Change, benjamini_hochberg, jackknife
from harness.types import Estimate, Metric
from reports._page_numbers import Scale, scale
from reports._page_read import Run

FOLD = 9
"""More metrics than this of one family are folded."""
SLICES = 40
"""Values of a group beyond which it is no slice."""
RATE = 0.05
"""False discoveries among marked slices, at most."""
_NAME = 120  # a longer value of a group is a text and no slice
_LABEL = 16  # a longer right answer is a sentence and no category
_PARTS = ("mean_of", "sum_of", "std_of")
_NO_SLICE = (*_PARTS, "distribution", "linked_mean", "both", "all_right")


@dataclass(frozen=True)
class Line:
    """One row of a table: a number with its interval."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    asked: int
    clusters: int
    percent: bool
    better: str
    """`higher` or `lower`."""
    headline: bool = False
    flag: str = ""
    """Of a slice: `above` or `below` the rest of the data, beyond what chance explains."""


@dataclass(frozen=True)
class Table:
    """Lines on one scale."""

    title: str
    lines: Sequence[Line]
    scale: Scale | None
    folded: bool = False


def metrics(run: Run) -> list[Table]:
    """Return every metric of the run: percentages on one scale, other units on their own."""
    families: dict[str, list[Line]] = {}
    for name, found in run.record.metrics.items():
        families.setdefault(name.partition(".")[0], []).append(_line(run, name, found))
    small = [line for lines in families.values() if len(lines) <= FOLD for line in lines]
    small.sort(key=lambda line: not line.headline)
    tables: list[Table] = []
    for percent in (True, False):
        lines = [line for line in small if line.percent is percent]
        if lines:
            title = "other units" if tables else ""
            tables.append(Table(title, lines, _axis(lines)))
    for family, lines in families.items():
        if len(lines) > FOLD:
            tables.append(Table(family, lines, _axis(lines), folded=True))
    return tables


def _line(run: Run, name: str, found: Mapping[str, Any]) -> Line:
    metric = run.definition(name)
    return Line(
        name, found["value"], found["low"], found["high"],
        int(found.get("n") or 0), int(found.get("asked") or 0), int(found.get("clusters") or 0),
        percent=metric.percent, better="higher" if metric.higher_is_better else "lower",
        headline=name == run.headline,
    )  # fmt: skip


def _axis(lines: Iterable[Line]) -> Scale | None:
    """Return the scale of lines; None where their sizes have nothing to do with each other."""
    lines = list(lines)
    sizes = [abs(line.value) for line in lines if line.value]
    if not all(line.percent for line in lines) and sizes and max(sizes) > 20 * min(sizes):
        return None
    percent = all(line.percent for line in lines)
    return scale((x for line in lines for x in (line.value, line.low, line.high)), percent=percent)


def slice_metric(run: Run) -> tuple[Metric, str]:
    """Return the metric that slices show, and what to call it.

    It is the headline where that can be had on part of the rows, else the mean score.
    """
    headline = run.definition(run.headline)
    if headline.kind not in _NO_SLICE:
        return replace(headline, by=""), headline.name
    scores = [row["score"] for row in run.rows if row["score"] is not None]
    unit = all(0 <= score <= 1 for score in scores)
    return Metric("mean score", percent=unit), "mean score"


def groups(run: Run) -> dict[str, list[Any]]:
    """Return the values of every group that can be sliced by, in order."""
    found: dict[str, dict[Any, None]] = {}
    for row in run.rows:
        for name, value in row["groups"].items():
            if isinstance(value, str | int | bool) and 0 < len(str(value)) <= _NAME:
                found.setdefault(name, {})[value] = None
    return {
        name: sorted(values, key=lambda v: (isinstance(v, str), v))
        for name, values in sorted(found.items())
        if 1 < len(values) <= SLICES
    }


def slices(run: Run) -> tuple[str, list[Table]]:
    """Return the name of the sliced metric, and one table per group.

    Each slice is tested against the rest of the data (Benjamini and Hochberg at 5 % over all of
    them).
    """
    import numpy as np

    metric, title = slice_metric(run)
    values = [(name, value) for name, found in groups(run).items() for value in found]
    wanted = [replace(metric, where={**metric.where, name: value}) for name, value in values]
    table = stats.frame(run.rows, [metric, *wanted])
    lines: list[Line] = []
    ps: dict[str, float] = {}
    for at, ((name, value), one) in enumerate(zip(values, wanted, strict=True)):
        outside = np.array([found != value for found in table.columns[f"group:{name}"]], bool)
        rest = replace(table, counted=table.counted & outside)
        gap = jackknife(
            stats.sums_of(rest, metric, run.known), stats.sums_of(table, one, run.known)
        )
        if gap:
            ps[str(at)] = gap.p
        lines.append(_slice(value, stats.estimate(table, one, run.known), metric, gap))
    real = {at for at, p in benjamini_hochberg(ps).items() if p < RATE}
    by_group: dict[str, list[Line]] = {}
    for at, ((name, _), line) in enumerate(zip(values, lines, strict=True)):
        by_group.setdefault(name, []).append(line if str(at) in real else replace(line, flag=""))
    axis = _axis(lines)
    tables = [Table(name, found, axis, len(found) > FOLD) for name, found in by_group.items()]
    return title, tables


def _slice(value: Any, found: Estimate, metric: Metric, gap: Change | None) -> Line:
    return Line(
        str(value), found.value, found.low, found.high, found.n, found.asked, found.clusters,
        percent=metric.percent, better="higher" if metric.higher_is_better else "lower",
        flag="" if gap is None else "above" if gap.value > 0 else "below",
    )  # fmt: skip


@dataclass(frozen=True)
class Confusion:
    """How often each answer was given where each was right."""

    targets: Sequence[str]
    answers: Sequence[str]
    cells: Sequence[Sequence[int]]
    shades: Sequence[Sequence[int]]
    """Share of the row in tenths."""


def confusion(run: Run, most: int = 8) -> Confusion | None:
    """Return target against parsed answer for closed questions; None for open ones."""
    rows = [row for row in run.rows if row["status"] in stats.COUNTED]
    targets = sorted({str(row["target"]) for row in rows})
    closed = all(row["choices"] for row in rows) or set(targets) <= {"yes", "no"}
    closed = closed and all(len(target) <= _LABEL for target in targets)
    if not rows or not closed or not 2 <= len(targets) <= most:
        return None
    counts = Counter((str(r["target"]), _answered(r, targets)) for r in rows)
    others = sorted({said for _, said in counts} - set(targets))
    answers = [*targets, *others]
    cells = [[counts[target, said] for said in answers] for target in targets]
    shades = [[round(10 * cell / (sum(row) or 1)) for cell in row] for row in cells]
    return Confusion(targets, answers, cells, shades)


def _answered(row: Mapping[str, Any], targets: Sequence[str]) -> str:
    said = row["parsed"]
    return said if said in targets else "not read" if said is None else "other"


@dataclass(frozen=True)
class Histogram:
    """Counts of scores in equal bins."""

    bins: Sequence[tuple[float, float, int]]
    top: int


def scores(run: Run, bins: int = 20) -> Histogram | None:
    """Return how scores are distributed; None where they are only 0 and 1 (or absent)."""
    found = [
        r["score"] for r in run.rows if r["status"] in stats.COUNTED and r["score"] is not None
    ]
    if len(set(found) - {0.0, 1.0}) < 1:
        return None
    low, high = min(found), max(found)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    width = (high - low) / bins or 1.0
    counts = Counter(min(bins - 1, math.floor((score - low) / width)) for score in found)
    table = [(low + i * width, low + (i + 1) * width, counts[i]) for i in range(bins)]
    return Histogram(table, max(counts.values()))


@dataclass(frozen=True)
class Calibration:
    """How often a choice was right against how probable the model took it to be."""

    bins: Sequence[tuple[float, float, int]]
    """(mean probability, share right, n) of each tenth that has rows."""
    error: float
    """Expected calibration error: the mean gap, weighted by n."""
    n: int


def calibration(run: Run) -> Calibration | None:
    """Return the calibration of a ranking by log-likelihood; None for other ways of asking."""
    points: list[tuple[float, float]] = []
    for row in run.rows:
        likely = (row["answer"] or {}).get("scores") or ()
        if row["status"] not in stats.COUNTED or row["score"] not in (0.0, 1.0) or len(likely) < 2:
            continue
        if not all(isinstance(x, int | float) and -math.inf < x <= 0 for x in likely):
            return None  # similarities are no probabilities
        top = max(likely)
        points.append((1 / sum(math.exp(x - top) for x in likely), row["score"]))
    if not points or run.info["task"]["ask"] != "rank":
        return None
    tenths: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        tenths.setdefault(min(9, int(point[0] * 10)), []).append(point)
    table = []
    for _, found in sorted(tenths.items()):
        sure, right = (sum(values) / len(found) for values in zip(*found, strict=True))
        table.append((sure, right, len(found)))
    error = sum(abs(sure - right) * n for sure, right, n in table) / len(points)
    return Calibration(table, error, len(points))
