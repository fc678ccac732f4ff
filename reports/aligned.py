"""Runs of one task on the same data, row by row: what several pages test and rank.

`barrier` is what must agree for two runs to stand on one axis; `frames` puts their rows in one
order, by what was asked, with the clusters and groups of the first run, so that any metric can be
had on the items that some of them share. Reads records only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness import stats
from harness.fingerprint import digest
from harness.types import Metric
from reports.comparable import Run

if TYPE_CHECKING:
    from harness.stats import Frame

NAMES = ("data", "scorer", "decoding", "judge")


def barrier(head: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what must agree for two runs to be ranked together, of run.json; see NAMES."""
    prints, task = head["fingerprint"], head["task"]
    how = {k: v for k, v in task["decoding"].items() if k != "seed"} | {"ask": task["ask"]}
    return prints["data"], prints["scorer"], digest(how), prints.get("judge", "")


def reason(main: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return in words what keeps two runs apart; empty for runs that may stand together."""
    parts = []
    for name, a, b in zip(NAMES, barrier(main), barrier(other), strict=True):
        if a != b:
            parts.append(f"other {name}: {_what(other, name)} instead of {_what(main, name)}")
    return "; ".join(parts)


def _what(head: Mapping[str, Any], name: str) -> str:
    if name == "data":
        limit = f", first {head['limit']:,} only" if head["limit"] else ""
        version = head["source"]["version"] or "not a published version"
        return (
            f"{head['counts']['total']:,} items ({version}{limit}, {head['fingerprint']['data']})"
        )
    if name == "scorer":
        return f"{head['task']['scorer']} (task version {head['task']['version']})"
    if name == "decoding":
        how = head["task"]["decoding"]
        return f"{head['task']['ask']}, " + ", ".join(
            f"{k} {how[k]}" for k in sorted(how) if k != "seed" and how[k] not in ((), [])
        )
    judges = (head.get("judging") or {}).get("judges") or ()
    return ", ".join(judge["address"] for judge in judges) or "no judge"


class Shared:
    """The clusters and groups of the first run of some data, for all further runs of it."""

    def __init__(self, first: Run) -> None:
        """Take them from a run."""
        self._same = [(row["cluster"], row["groups"]) for row in _ordered(first)]

    def frame(self, run: Run, metrics: Iterable[Metric]) -> "Frame":
        """Return a run's rows as a frame in the common order."""
        rows = (
            {**row, "cluster": cluster, "groups": groups}
            for row, (cluster, groups) in zip(_ordered(run), self._same, strict=True)
        )
        return stats.frame(rows, metrics)


def _ordered(run: Run) -> Sequence[Mapping[str, Any]]:
    return sorted(run.rows, key=lambda row: (row["item"], row["id"]))
