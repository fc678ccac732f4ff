"""One run as a row of a board: its headline, its quality, and what it can be filtered by.

Reads records only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.paired import Change
from leaderboards.labels import facets as facets_of
from reports import _page_facts as facts
from reports._page_read import Run
from reports.judge_gap import Gap, gap

_NONE = {"value": None, "low": None, "high": None, "n": 0, "asked": 0, "clusters": 0}


_COLUMNS = ("weights", "trainer", "judge")


@dataclass
class Entry:
    """One run as a row of the board."""

    run: Run
    name: str
    line: Mapping[str, Any]
    """The headline as the record has it."""
    quality: Sequence[facts.Fact]
    others: Mapping[str, Mapping[str, Any]]
    rank: tuple[int, int] | None = None
    best: bool = False
    change: Change | None = None
    """Against the baseline; better is positive."""
    p: float | None = None
    verdict: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What somebody said of it."""

    @cached_property
    def facets(self) -> dict[str, str]:
        """What rows can be filtered by."""
        return facets_of(self.run, self.labels)

    @cached_property
    def gap(self) -> Gap | None:
        """How far its judge is from people or a rule."""
        return gap(self.run)

    @property
    def about(self) -> dict[str, str]:
        """What else is known of the run."""
        info = self.run.info
        size = info["model"]["description"].get("parameters")
        total = info["counts"]["total"]
        return {
            "parameters": _size(size) if isinstance(size, int | float) else "",
            "date": str(info["started"])[:10],
            "seconds per answer": f"{info['seconds'] / total:.3g}" if info.get("seconds") else "",
            "weights": self.facets.get("weights", ""),
            "trainer": self.facets.get("trainer", ""),
            "judge": self.facets.get("judge", ""),
            "labels": ", ".join(
                f"{k} {v}" for k, v in sorted(self.labels.items()) if k not in _COLUMNS
            ),
            "run": str(info["id"]),
        }


def entry(run: Run, said: Mapping[str, str]) -> Entry:
    """Return a run as a row, with what somebody said of it."""
    others = {k: v for k, v in run.record.metrics.items() if k != run.headline}
    line = run.record.metrics.get(run.headline, _NONE)
    return Entry(run, run.model, line, facts.quality(run), others, labels=said)


def _size(count: float) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:g}"
