"""What changed between two runs of the same tasks, item by item.

Every metric is compared on the items that both runs have a result for, with clustered paired tests
(harness/paired.py); what is missing on either side is never given a score, but the headline is also
computed as if it had gone as badly, and as well, as it could (Manski's bounds). Reads records only;
numpy inside.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Any

from harness.errors import DataError, unknown
from harness.paired import RESAMPLES, Change, benjamini_hochberg, jackknife, sign_flip
from harness.record import Row
from harness.stats import Sums, expand, frame, sums_of
from harness.types import Metric
from reports import missing
from reports.comparable import Difference, Joined, Run, check_names, counted, join, refusal
from reports.repeats import averaged, each

if TYPE_CHECKING:
    from harness.stats import Frame

MOST_VALUES = 40
"""Groups with more values than this are names, not slices."""
_PLAIN_MEANS = ("mean", "both")
"""Kinds whose sums are (total, count): differences of them are sums over items."""

Pairs = Sequence[tuple[Row, Row]]


@dataclass(frozen=True)
class Compared:
    """A number in both runs, in the unit it is printed in."""

    name: str
    base: float | None
    cand: float | None
    change: Change | None
    """Better is positive. None where the number has no test (fewer than two clusters)."""
    n: int
    """Items with a result in both runs."""
    metric: Metric

    @property
    def difference(self) -> float | None:
        """Candidate minus baseline, whichever is better."""
        return None if self.base is None or self.cand is None else self.cand - self.base


@dataclass(frozen=True)
class Comparison:
    """One task in two runs."""

    base: Run
    cand: Run
    headline: Compared
    metrics: Sequence[Compared]
    slices: Sequence[Compared]
    slices_p: Mapping[str, float]
    """Two-sided p by name of the slice, after Benjamini and Hochberg."""
    lost: Sequence[tuple[str, str]]
    """Ids (of baseline, of candidate) of items that went from right to wrong."""
    won: Sequence[tuple[str, str]]
    items: int
    """Items of the baseline."""
    shared: int
    """Of these, items with a result in both runs."""
    missing_base: int
    missing_cand: int
    same_text: int
    """Items whose answers are the same byte for byte."""
    worst: Change | None
    """The headline's change if all that is missing had gone against the candidate."""
    best: Change | None
    bounded: bool
    """False: something is missing and nobody can say what it could have been."""
    differences: Sequence[Difference]
    """What the runs disagree on and was allowed; not empty: advice only."""
    pairs: Pairs
    seed: int
    """Of the resampling."""
    alone: float | None = None
    """Where runs were repeated: the headline's standard error of one run on each side."""

    @property
    def repeats(self) -> str:
        """What repeats were averaged and what that gained, or nothing."""
        counts = len(self.base.each), len(self.cand.each)
        if counts == (1, 1):
            return ""
        told = f"each item is the mean of {counts[0]} baseline and {counts[1]} candidate runs"
        if self.alone is None or self.headline.change is None:
            return told
        error = self.headline.change.error
        gain = f", variance {100 * (error / self.alone) ** 2 - 100:+.0f} %" if self.alone else ""
        return f"{told}: standard error {error:.2f}, of one run each {self.alone:.2f}{gain}"

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.base.task

    @property
    def coverage(self) -> float:
        """Share of the baseline's items that have a result in both runs."""
        return self.shared / self.items

    @property
    def same_model(self) -> bool:
        """Whether both runs asked the same model and it said the same."""
        a, b = self.base.head, self.cand.head
        same = a["fingerprint"]["model"] == b["fingerprint"]["model"]
        options = a["model"].get("options") == b["model"].get("options")
        return bool(same and options and self.same_text == self.shared)


def compare(
    base: Run, cand: Run, *, allow: Iterable[str] = (), metric: str = "", seed: int = 0
) -> Comparison:
    """Compare two runs of a task.

    `allow` names aspects that may differ, `metric` takes the place of the headline. Raises
    DataError when the runs are not comparable or have nothing in common, UsageError for names that
    there are not.
    """
    allowed = check_names(allow)
    joined = join(base, cand)
    barred = [found for found in joined.differences if found.name not in allowed]
    if barred:
        raise refusal(base, cand, barred)
    pairs = _same_verdicts(joined) if "judging" in cand.head else joined.pairs
    both = [(a, b) for a, b in pairs if counted(a) and counted(b)]
    if not both:
        raise DataError(
            f"{base.folder} and {cand.folder} ({base.task}): no item has a result in both runs "
            f"({len(pairs):,} items in common); there is nothing to compare"
        )
    table = Table(pairs, base.metrics)
    metrics = table.compare(seed)
    name = metric or str(base.head["task"]["headline"])
    headline = next((found for found in metrics if found.name == name), None)
    if headline is None:
        raise unknown(f"metric of {base.task}", name, [found.name for found in metrics])
    slices = _slices(pairs, headline, base.metrics, seed)
    worst, best, bounded = _extremes(pairs, base.metrics, headline, seed)
    lost, won = _flips(both)
    repeated = len(base.each) > 1 or len(cand.each) > 1
    return Comparison(
        base=base,
        cand=cand,
        headline=headline,
        metrics=metrics,
        slices=slices,
        slices_p=benjamini_hochberg({s.name: s.change.p for s in slices if s.change}),
        lost=lost,
        won=won,
        items=len(base.rows),
        shared=len(both),
        missing_base=sum(not counted(a) for a, _ in pairs),
        missing_cand=sum(not counted(b) for _, b in pairs),
        same_text=sum(_texts(a) == _texts(b) for a, b in both),
        worst=worst,
        best=best,
        bounded=bounded,
        differences=[*joined.differences, *base.apart, *cand.apart],
        pairs=pairs,
        seed=seed,
        alone=_alone(both, headline, base.metrics) if repeated else None,
    )


def _texts(row: Row) -> list[str | None]:
    return [(found["answer"] or {}).get("text") for found in each(row)]


def _alone(pairs: Pairs, headline: Compared, known: Sequence[Metric]) -> float | None:
    """Return the headline's standard error if each side had run once: over repeats, their mean."""
    left, right = len(each(pairs[0][0])), len(each(pairs[0][1]))
    squares = []
    for at in range(max(left, right)):
        picked = [(each(a)[at % left], each(b)[at % right]) for a, b in pairs]
        sums = Table(picked, [headline.metric, *known]).sums(headline.metric)
        change = tested(headline.metric, *sums, resamples=1)
        if change is None:
            return None
        squares.append(change.error**2)
    scale = 100.0 if headline.metric.percent else 1.0
    return scale * sqrt(sum(squares) / len(squares))


def _same_verdicts(joined: Joined) -> list[tuple[Row, Row]]:
    """Let an answer that is the same byte for byte keep the baseline's verdict.

    A judge that is asked twice may say two things; of the model that is no change. Not where
    the judges differ and were allowed to: then the judge is what is looked at.
    """
    if any(found.name == "judge" for found in joined.differences):
        return list(joined.pairs)
    if any("repeats" in row for pair in joined.pairs[:1] for row in pair):
        return list(joined.pairs)  # the judge's mood is averaged away with the model's
    return [
        (a, {**b, **{name: a[name] for name in ("status", "score", "parsed", "stats")}})
        if counted(a) and counted(b) and _texts(a) == _texts(b)
        else (a, b)
        for a, b in joined.pairs
    ]


class Table:
    """Two runs as frames over the same rows and clusters; an item without both results is out."""

    def __init__(self, pairs: Pairs, metrics: Sequence[Metric]) -> None:
        """Collect the columns that `metrics` need."""
        self.metrics = metrics
        self.known = {metric.name: metric for metric in metrics}
        left, right = [], []
        for a, b in pairs:
            out = {} if counted(a) and counted(b) else {"status": "missing"}
            left.append({**a, **out})
            right.append({**b, **out, "cluster": a["cluster"], "groups": a["groups"]})
        self.base, self.cand = self._frames(left), self._frames(right)

    def _frames(self, rows: Sequence[Row]) -> "list[Frame]":
        """Return one frame per repeat, all over the same items and clusters."""
        if not any("repeats" in row for row in rows):
            return [frame(rows, self.metrics)]
        own = ("status", "cluster", "groups")
        repeated = [
            [{**one, **{key: row[key] for key in own}} for one in row["repeats"]]
            if counted(row) and "repeats" in row
            else [row]  # no result, or a gap that was filled
            for row in rows
        ]
        count = max(map(len, repeated))
        return [frame([r[at % len(r)] for r in repeated], self.metrics) for at in range(count)]

    def sums(self, metric: Metric) -> tuple[Sums, Sums]:
        """Return the per-cluster sums of a metric in both runs, means over repeats."""
        base, cand = (
            averaged([sums_of(table, metric, self.known) for table in side])
            for side in (self.base, self.cand)
        )
        return base, cand

    def compare(self, seed: int = 0) -> list[Compared]:
        """Compare every metric, `by` metrics expanded."""
        return [self.one(m, seed) for metric in self.metrics for m in expand(self.base[0], metric)]

    def one(self, metric: Metric, seed: int = 0) -> Compared:
        """Compare one metric."""
        a, b = self.sums(metric)
        scale = 100.0 if metric.percent else 1.0
        change = tested(metric, a, b, seed=seed)
        return Compared(
            metric.name, _value(a, scale), _value(b, scale),
            change and change.scaled(scale), min(a.n, b.n), metric,
        )  # fmt: skip


def tested(
    metric: Metric, base: Sums, cand: Sums, *, seed: int = 0, resamples: int = RESAMPLES
) -> Change | None:
    """Return the change of a metric, by the test that fits it, as a share."""
    import numpy as np

    better = 1 if metric.higher_is_better else -1
    a, b = base.by_cluster, cand.by_cluster
    if metric.kind in _PLAIN_MEANS and np.array_equal(a[:, 1], b[:, 1]):
        return sign_flip(better * (b[:, 0] - a[:, 0]), a[:, 1], seed=seed, resamples=resamples)
    if a.shape != b.shape:  # votes of a judge: the test needs the same columns
        return jackknife_apart(base, cand, better)
    return jackknife(base, cand, better=better)


def jackknife_apart(base: Sums, cand: Sums, better: int) -> Change | None:
    """Jackknife runs whose sums have different columns, as three votes against one."""
    import numpy as np

    width = base.by_cluster.shape[1]
    joint = np.concatenate([base.by_cluster, cand.by_cluster], axis=1)
    left = replace(base, by_cluster=joint, of=lambda s: base.of(s[..., :width]))
    right = replace(cand, by_cluster=joint, of=lambda s: cand.of(s[..., width:]))
    return jackknife(left, right, better=better)


def _value(sums: Sums, scale: float) -> float | None:
    import numpy as np

    if not sums.n:
        return None
    value = float((sums.printed or sums.of)(sums.by_cluster.sum(axis=0)))
    return None if np.isnan(value) else scale * value


def _slices(pairs: Pairs, headline: Compared, known: Sequence[Metric], seed: int) -> list[Compared]:
    """Compare the items of each value of each group, by their scores where rows have some."""
    scores = [row["score"] for pair in pairs for row in pair if row["score"] is not None]
    if scores:
        percent = min(scores) >= 0 and max(scores) <= 1
        what = Metric("score", percent=percent)
    elif "of" in headline.metric.options and not isinstance(headline.metric.options["of"], str):
        return []
    else:
        what = headline.metric
    values: dict[str, dict[Any, None]] = {}
    for a, _ in pairs:
        for group, value in a["groups"].items():
            if isinstance(value, str | int | bool):
                values.setdefault(group, {})[value] = None
    wanted = [
        replace(what, name=f"{group}={value}", where={**what.where, group: value})
        for group, found in values.items()
        if 1 < len(found) <= MOST_VALUES
        for value in sorted(found, key=lambda v: (isinstance(v, str), v))
    ]
    if not wanted:
        return []
    table = Table(pairs, [*wanted, *known])
    return [found for metric in wanted if (found := table.one(metric, seed)).n]


def _extremes(
    pairs: Pairs, metrics: Sequence[Metric], headline: Compared, seed: int
) -> tuple[Change | None, Change | None, bool]:
    """Return the headline's change at its worst and best, and whether these are known."""
    if all(counted(a) and counted(b) for a, b in pairs):
        return headline.change, headline.change, True
    known = {metric.name: metric for metric in metrics}
    found = []
    for favour in (-1, 1):
        filled = missing.fill(pairs, headline.metric, known, favour)
        if filled is None:
            return None, None, False
        found.append(Table(filled, [headline.metric, *metrics]).one(headline.metric, seed).change)
    return found[0], found[1], True


def _flips(pairs: Pairs) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the ids of items that went from right to wrong, and from wrong to right."""
    lost, won = [], []
    for a, b in pairs:
        before, after = right(a), right(b)
        if before and after is False:
            lost.append((a["id"], b["id"]))
        elif before is False and after:
            won.append((a["id"], b["id"]))
    return lost, won


def right(row: Row) -> bool | None:
    """Whether a row's score is nearer to right than to wrong; None without a score."""
    return None if row["score"] is None else row["score"] >= 0.5


def compare_all(
    base: Mapping[str, Run], cand: Mapping[str, Run], *, allow: Iterable[str] = (), seed: int = 0
) -> list[Comparison]:
    """Compare all tasks of two sets of runs. Raises DataError when a task is in one set only."""
    apart = sorted(base.keys() ^ cand.keys())
    if apart:
        where = ", ".join(
            f"{task} ({'baseline' if task in base else 'candidate'})" for task in apart
        )
        raise DataError(f"not comparable: tasks that only one side has: {where}")
    return [compare(base[task], cand[task], allow=allow, seed=seed) for task in sorted(base)]
