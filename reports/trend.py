"""The blessed runs of a task over time: values, changes that the data show, waivers.

Read from a gate's folder of baselines (reports/gate/baselines.py). Runs are joined to one line, and
searched for changes (harness/shifts.py), only while data, scorer, decoding and judge stay the same.
A run that is no longer what was blessed is left out, and said to be. Reads records only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import stats
from harness.errors import DataError
from harness.shifts import ALPHA, shifts
from harness.types import Metric
from reports.aligned import Shared, barrier, reason
from reports.comparable import Run, load
from reports.gate import baselines

if TYPE_CHECKING:
    from harness.stats import Frame


@dataclass(frozen=True)
class Point:
    """A run on the time axis."""

    when: datetime
    """When it was blessed; of a run that was not, when it was started."""
    name: str
    model: str
    run: str
    why: str
    major: bool
    blessed: bool
    n: int
    asked: int
    value: float | None
    low: float | None
    high: float | None
    barrier: tuple[str, ...]
    apart: str = ""
    """What sets it apart from the run before it; empty where the line goes on."""


@dataclass(frozen=True)
class Step:
    """A change that the data show."""

    at: int
    """Index of the first point after it."""
    p: float
    before: float
    after: float
    """Means of the blessed runs on both sides, until the next change; in the metric's unit."""
    since: int
    until: int
    """The points from which these means are: since to at, at to until."""


@dataclass(frozen=True)
class Waiver:
    """Leave for the task to be worse until a day."""

    since: datetime
    until: datetime
    max_drop: float
    why: str


@dataclass(frozen=True)
class Trend:
    """The history of one task's headline."""

    task: str
    metric: str
    percent: bool
    higher: bool
    points: Sequence[Point]
    """Oldest first."""
    steps: Sequence[Step]
    waivers: Sequence[Waiver]
    shared: int
    """Items that all runs of the last stretch have a result for."""


@dataclass
class _Line:
    """What is kept of the runs of a task while others are read."""

    heads: list[Mapping[str, Any]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    frames: list[list["Frame"]] = field(default_factory=list)
    """Of each point: one per run that was blessed together."""
    shared: dict[tuple[str, ...], Shared] = field(default_factory=dict)
    metrics: list[Sequence[Metric]] = field(default_factory=list)


class History:
    """All blessed runs of a folder of baselines, read once."""

    def __init__(self, home: Path, tasks: Iterable[str] | None = None) -> None:
        """Read the runs of some tasks (default: all).

        Raises DataError where the folder holds no baseline, or a file in it is damaged.
        """
        self.left_out: list[str] = []
        """Blessed runs that cannot be shown, with the reason."""
        self._lines: dict[str, _Line] = {}
        entries = baselines.all_of(home) if home.is_dir() else []
        if not entries:
            raise DataError(f"{home}: no blessed baseline in it; make one with `sightline bless`")
        wanted = None if tasks is None else set(tasks)
        for entry in entries:
            for task in dict.fromkeys(str(blessed["task"]) for blessed in entry.runs):
                if wanted is None or task in wanted:
                    self._read(entry, task)
        self._waivers = baselines.waived(home)

    @property
    def tasks(self) -> list[str]:
        """The tasks of which there is a blessed run."""
        return sorted(self._lines)

    def _read(self, entry: baselines.Entry, task: str) -> None:
        try:
            runs = [load(entry.folder(run)) for run in entry.runs if run["task"] == task]
        except DataError as error:
            self.left_out.append(f"{entry.name}, {task}: {error}")
            return
        first = runs[0]
        line = self._lines.setdefault(task, _Line())
        runs = [run for run in runs if barrier(run.head) == barrier(first.head)]
        shared = line.shared.setdefault(barrier(first.head), Shared(first))
        when = datetime.fromisoformat(entry.when)
        apart = reason(line.heads[-1] if line.heads else first.head, first.head)
        line.points.append(_point(runs, when, entry.name, entry.why, apart, major=entry.major))
        line.heads.append(first.head)
        line.frames.append([shared.frame(run, run.metrics) for run in runs])
        line.metrics.append(first.metrics)

    def trend(self, task: str, now: Run | None = None, *, family: int = 1) -> Trend | None:
        """Return the history of a task; None where none of its runs was blessed.

        `now` is a run that is shown as the last point; it is not searched for a change, for which
        there is the comparison. The level is shared among a `family` of tasks.
        """
        line = self._lines.get(task)
        if line is None:
            return None
        metric, steps, shared = _steps(line, ALPHA / family)
        points = list(line.points)
        if now is not None and all(point.run != str(now.head["id"]) for point in points):
            when = datetime.fromisoformat(str(now.head["started"]))
            apart = reason(line.heads[-1], now.head)
            points.append(_point([now], when, "this run", "", apart, blessed=False))
        waivers = [
            Waiver(since, datetime.combine(w.until, datetime.max.time(), since.tzinfo),
                   w.max_drop, w.why)
            for w, since in self._waivers if w.task == task
        ]  # fmt: skip
        return Trend(
            task, metric.name, metric.percent, metric.higher_is_better, points, steps, waivers,
            shared,
        )  # fmt: skip


def _point(
    runs: Sequence[Run], when: datetime, name: str, why: str, apart: str, *, major: bool = False,
    blessed: bool = True,
) -> Point:  # fmt: skip
    """Return runs that were blessed together as one point: the mean of values and of ends."""
    head = runs[0].head
    found = [(r.head.get("metrics") or {}).get(head["task"]["headline"]) or {} for r in runs]
    value, low, high = (_mean([f.get(key) for f in found]) for key in ("value", "low", "high"))
    n, asked = (min(int(f.get(key) or 0) for f in found) for key in ("n", "asked"))
    repeats = f"mean of {len(runs)} runs. " if len(runs) > 1 else ""
    return Point(
        when, name, runs[0].model, str(head["id"]), f"{repeats}{why}", major, blessed, n, asked,
        value, low, high, barrier(head), apart,
    )  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _steps(line: _Line, alpha: float) -> tuple[Metric, list[Step], int]:
    """Return the headline's definition, its changes, and the items of the last stretch."""
    steps: list[Step] = []
    metric, shared = Metric(""), 0
    edges = [0, *(i for i, p in enumerate(line.points) if p.apart), len(line.points)]
    for low, high in pairwise(edges):
        name = str(line.heads[low]["task"]["headline"])
        known = {m.name: m for m in line.metrics[low]}
        metric = known.get(name) or Metric(name)
        unit = 100.0 if metric.percent else 1.0
        sums, of, shared = _common(line.frames[low:high], metric, known)
        found = shifts(sums, of, alpha=alpha) if sums is not None else []
        ends = [0, *(shift.at for shift in found), high - low]
        steps += [
            Step(low + s.at, s.p, unit * s.before, unit * s.after, low + since, low + until)
            for s, since, until in zip(found, ends, ends[2:], strict=False)
        ]
    return metric, steps, shared


def _common(
    frames: Sequence[Sequence["Frame"]], metric: Metric, known: Mapping[str, Metric]
) -> tuple[Any, Any, int]:
    """Return (runs, clusters, k) sums over the items that all have, and their function."""
    import numpy as np

    counted = np.logical_and.reduce([frame.counted for each in frames for frame in each])
    parts = [
        [stats.sums_of(replace(frame, counted=counted), metric, known) for frame in each]
        for each in frames
    ]
    first, shared = parts[0][0], int(counted.sum())
    same = len({part.by_cluster.shape for each in parts for part in each}) == 1
    if len(parts) < 2 or not shared or not same or not first.interval:
        return None, None, shared
    means = [np.mean([part.by_cluster for part in each], axis=0) for each in parts]
    return np.stack(means), first.of, shared
