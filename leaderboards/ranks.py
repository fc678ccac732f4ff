"""Ranks that the data can tell apart, and verdicts against a baseline.

Every pair of ranked runs is tested on the items that both have (clustered jackknife, Holm over all
pairs): a run's rank lies between one more than the number of runs that are shown to be better and
the number that are not shown to be worse. Reads records only.
"""

from collections.abc import Sequence
from dataclasses import replace

from harness import stats
from harness.fingerprint import digest
from harness.paired import Change, holm, jackknife
from leaderboards.entries import Entry
from reports._page_read import Run
from reports.aligned import Shared

LEVEL = 0.05


def identity(run: Run) -> str:
    """Return what two runs of the same second do not share, and copies of a folder do."""
    info = run.info
    parts = [info[key] for key in ("fingerprint", "limit", "seed", "counts", "metrics", "model")]
    return f"{info['id']} {digest([*parts, info.get('finished'), info.get('seconds')])}"


class Aligned:
    """The headline's frames of runs on the same data, row by row."""

    def __init__(self, runs: Sequence[Run]) -> None:
        """Take runs that may be compared with one another."""
        first = runs[0].checked
        self.metric = runs[0].definition(runs[0].headline)
        self.known = {metric.name: metric for metric in first.metrics}
        shared = Shared(first)
        self.frames = {identity(run): shared.frame(run.checked, first.metrics) for run in runs}

    def change(self, base: Run, run: Run) -> Change | None:
        """Return the change of the headline on the items that both runs have."""
        left, right = self.frames[identity(base)], self.frames[identity(run)]
        both = left.counted & right.counted
        sums = [
            stats.sums_of(replace(frame, counted=both), self.metric, self.known)
            for frame in (left, right)
        ]
        if sums[0].by_cluster.shape != sums[1].by_cluster.shape:
            return None
        found = jackknife(*sums, better=1 if self.metric.higher_is_better else -1)
        return found.scaled(100.0 if self.metric.percent else 1.0) if found else None


def rank(entries: Sequence[Entry], aligned: Aligned) -> None:
    """Give every model the ranks that the data leave open."""
    ranked = [e for e in entries if not e.run.role and e.line["value"] is not None]
    changes: dict[tuple[int, int], Change] = {}
    for i, one in enumerate(ranked):
        for j in range(i):
            found = aligned.change(ranked[j].run, one.run)
            if found:
                changes[i, j] = found
    adjusted = holm({f"{i} {j}": change.p for (i, j), change in changes.items()})
    shown = [pair for pair in changes if adjusted[f"{pair[0]} {pair[1]}"] < LEVEL]
    better = {(i, j) if changes[i, j].value > 0 else (j, i) for i, j in shown}
    for i, entry in enumerate(ranked):
        above = sum((j, i) in better for j in range(len(ranked)))
        below = sum((i, j) in better for j in range(len(ranked)))
        entry.rank = (1 + above, len(ranked) - below)
        entry.best = above == 0


def against(entries: Sequence[Entry], aligned: Aligned, base: Run) -> None:
    own = identity(base)
    found = {}
    for entry in entries:
        if identity(entry.run) == own:
            entry.verdict = "baseline"
        elif not entry.run.role and (change := aligned.change(base, entry.run)):
            found[identity(entry.run)] = change
    adjusted = holm({name: change.p for name, change in found.items()})
    for entry in entries:
        name = identity(entry.run)
        if name in found:
            entry.change, entry.p = found[name], adjusted[name]
            low, high = found[name].interval()
            shown = adjusted[name] < LEVEL and not low <= 0 <= high
            word = "better" if found[name].value > 0 else "worse"
            entry.verdict = word if shown else "no difference shown"
