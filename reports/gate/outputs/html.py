"""The report as one HTML page, in the dress of run reports: one file, readable without scripts.

What others wrote is escaped by the template; see reports/_page_shell.py for the security policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reports._page_numbers import Scale, scale
from reports._page_shell import render
from reports.gate.evaluate import Report, TaskReport
from reports.gate.outputs import facts
from reports.gate.outputs.json import to_plain

_IDS = 40
"""Flipped items of a task that are named; all are in the JSON."""
_WORDS = {
    "PASS": "Nothing speaks against this release.",
    "WARN": "It may be released; read the warnings.",
    "UNDECIDED": "These data cannot tell.",
    "REGRESSED": "It is worse than the baseline: do not release.",
    "INVALID": "Nothing, or not everything, could be compared.",
    "ADVISORY": "Advice only.",
}


@dataclass(frozen=True)
class Line:
    """One task as a row."""

    found: TaskReport
    metric: str
    values: Sequence[str]
    """Baseline, candidate, difference, 95 % interval, p after Holm."""
    change: float | None
    low: float | None
    high: float | None
    """The difference with its interval, so that better is positive."""
    scale: Scale | None
    lost: Sequence[str]
    more_lost: int


def write(report: Report) -> str:
    """Return the report as a page; the same report gives the same bytes."""
    lines = _lines(report)
    values = {
        "title": f"Gate: {report.status}",
        "report": report,
        "words": _WORDS[report.status],
        "lines": lines,
        "axis": next((line.scale for line in lines if line.scale), None),
        "suite": facts.suite(report),
        "method": facts.method(report),
        "stray": [e for e in report.errors if not _of_a_task(e, report)],
        "data": to_plain(report),
        "sections": [
            *([("tasks", "Tasks"), ("why", "Why")] if lines else []),
            *([("notes", "Notes")] if report.notes else []),
            ("how", "How"),
        ],
    }
    return render("gate.html.j2", values)


def _of_a_task(error: str, report: Report) -> bool:
    return any(error.startswith(f"{found.task}: ") for found in report.tasks)


def _lines(report: Report) -> list[Line]:
    """Return the tasks; those in per cent share one scale, with their margins on it."""
    points = [found for found in report.tasks if _percent(found)]
    shared = _scale(points)
    return [_line(found, shared if _percent(found) else _scale([found])) for found in report.tasks]


def _percent(found: TaskReport) -> bool:
    return found.comparison is not None and found.comparison.headline.metric.percent


def _scale(found: Sequence[TaskReport]) -> Scale | None:
    ends: list[float] = []
    for one in found:
        change = one.comparison.headline.change if one.comparison else None
        if change:
            ends += [change.value, *change.interval(), -one.margin]
    axis = scale(ends, zero=True)
    return replace(axis, width=216.0) if axis else None


def _line(found: TaskReport, axis: Scale | None) -> Line:
    one = found.comparison
    change = one.headline.change if one else None
    low, high = change.interval() if change else (None, None)
    lost = [base for base, _ in one.lost] if one else []
    return Line(
        found, facts.headline(found), facts.values(found), change.value if change else None, low,
        high, axis, lost[:_IDS], len(lost) - _IDS,
    )  # fmt: skip
