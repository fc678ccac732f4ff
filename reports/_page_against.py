"""A run against a baseline, as the report shows it.

Differences, intervals and tests are those of reports/compare.py. The headline is the one test that
was named beforehand; the p of the other metrics is adjusted after Holm over all of them, so that a
page with thirty metrics does not find one by chance. A verdict needs both: an interval without 0
and an adjusted p under 5 %.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.paired import holm
from reports import compare
from reports._page_numbers import Scale, interval, scale, signed
from reports._page_read import Run
from reports._page_tables import FOLD

LEVEL = 0.05
NO_DIRECTION = ("yes_ratio",)
"""Kinds of metric of which neither more nor less is better."""
NOTHING = "no difference shown"


@dataclass(frozen=True)
class Line:
    """One metric or slice in both runs; the difference is this run minus the baseline."""

    name: str
    before: float | None
    after: float | None
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    verdict: str
    headline: bool = False


@dataclass(frozen=True)
class Table:
    """Lines on one scale of differences."""

    title: str
    lines: Sequence[Line]
    scale: Scale | None
    folded: bool = False


@dataclass(frozen=True)
class Against:
    """What the comparison says."""

    model: str
    run_id: str
    verdict: str
    sentence: str
    how: str
    lines: Sequence[Line]
    """Of metrics, the headline first."""
    tables: Sequence[Table]
    found: compare.Comparison

    def partners(self, base: Run) -> list[Mapping[str, Any]]:
        """Return the baseline's rows under the ids of this run's rows."""
        full = {row["id"]: row for row in base.rows}
        return [{**full[a["id"]], "id": b["id"]} for a, b in self.found.pairs]


def against(base: Run, run: Run) -> Against:
    """Compare a run with a baseline. Raises DataError with what differs where nobody may."""
    found = compare.compare(base.checked, run.checked)
    head = found.headline
    others = {m.name: m.change.p for m in found.metrics if m.change and m.name != head.name}
    adjusted = holm(others)
    if head.change:
        adjusted[head.name] = head.change.p
    lines = [_line(m, adjusted.get(m.name), m.name == head.name) for m in found.metrics]
    lines.sort(key=lambda line: not line.headline)
    sliced = [_line(s, found.slices_p.get(s.name)) for s in found.slices]
    first = lines[0]
    return Against(
        base.model, base.info["id"], first.verdict, _sentence(first), _how(found, len(others)),
        lines, [*_metric_tables(lines), *_slice_tables(sliced)], found,
    )  # fmt: skip


def _line(found: compare.Compared, p: float | None, headline: bool = False) -> Line:
    sign = 1 if found.metric.higher_is_better else -1
    low = high = None
    verdict = "not tested"
    if found.change:
        low, high = sorted(sign * end for end in found.change.interval())
        verdict = NOTHING
        if p is not None and p < LEVEL and not low <= 0 <= high:
            verdict = "better" if found.change.value > 0 else "worse"
            if found.metric.kind in NO_DIRECTION:
                verdict = "changed"
    return Line(
        found.name, found.base, found.cand, found.difference, low, high, p, found.n, verdict,
        headline,
    )  # fmt: skip


def _sentence(line: Line) -> str:
    if line.value is None:
        return f"{line.name} has no value in both runs"
    text = f"{line.name} {signed(line.value)}"
    return text if line.low is None else f"{text} ({interval(line.low, line.high, 2, sign=True)})"


def _how(found: compare.Comparison, others: int) -> str:
    gone = [
        f"{count:,} have no result in {where}"
        for count, where in ((found.missing_base, "the baseline"), (found.missing_cand, "this run"))
        if count
    ]
    parts = [
        f"{found.shared:,} of {found.items:,} items have a result in both runs"
        + (f" ({', '.join(gone)})" if gone else ""),
        f"{found.same_text:,} answers are the same",
        f"{len(found.lost):,} went from right to wrong and {len(found.won):,} from wrong to right",
    ]
    tested = (
        f" The headline is tested by itself; the p of the {others:,} other metrics is adjusted "
        "after Holm, that of slices after Benjamini and Hochberg."
    )
    whole = (
        "" if found.bounded and found.worst is found.headline.change
        else " What is missing could change the verdict: see `sightline compare`."
    )  # fmt: skip
    return f"{'; '.join(parts)}. Paired by item, clustered by image.{tested}{whole}"


def _metric_tables(lines: Sequence[Line]) -> list[Table]:
    families: dict[str, list[Line]] = {}
    for line in lines:
        families.setdefault(line.name.partition(".")[0], []).append(line)
    small = [line for found in families.values() if len(found) <= FOLD for line in found]
    tables = [Table("", small, _axis(small))] if small else []
    return tables + [
        Table(name, found, _axis(found), folded=True)
        for name, found in families.items()
        if len(found) > FOLD
    ]


def _slice_tables(lines: Sequence[Line]) -> list[Table]:
    families: dict[str, list[Line]] = {}
    for line in lines:
        families.setdefault(line.name.partition("=")[0], []).append(line)
    axis = _axis(lines)
    return [
        Table(f"slices by {name}", found, axis, folded=True) for name, found in families.items()
    ]


def _axis(lines: Sequence[Line]) -> Scale | None:
    return scale((x for line in lines for x in (line.value, line.low, line.high)), zero=True)
