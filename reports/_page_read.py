"""Run folders as reports and boards need them: finished, whole, and true to their own rows.

A page is believed, so what reports/comparable.py refuses is refused here: a run that is unfinished,
of another schema, damaged, or whose numbers do not follow from its rows. Reads run folders only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import verdicts
from harness.record import Record, Row, read, read_lines
from harness.types import Metric
from reports import comparable

FLOORS = ("random", "constant", "majority", "blind")
CEILING = "oracle"


@dataclass(frozen=True)
class Run:
    """A run that can be shown."""

    record: Record
    rows: Sequence[Row]
    """In the task's order, with prompts."""
    checked: comparable.Run

    @property
    def info(self) -> Mapping[str, Any]:
        """What run.json holds."""
        return self.record.run

    @cached_property
    def known(self) -> dict[str, Metric]:
        """Metric definitions by name."""
        return {metric.name: metric for metric in self.checked.metrics}

    @property
    def headline(self) -> str:
        """Name of the metric that stands for the task."""
        return str(self.info["task"]["headline"])

    def definition(self, name: str) -> Metric:
        """Return the definition of a metric, also of one that stands for a value of its group."""
        if name in self.known:
            return self.known[name]
        family = (m for m in self.known.values() if m.by and name.startswith(f"{m.name}."))
        return next(family, Metric(name))

    @property
    def model(self) -> str:
        """The model as people call it: without the folders of a path."""
        return comparable.short(self.checked.model)

    @property
    def role(self) -> str:
        """`floor` or `ceiling` for models that only say what a number is worth, else empty."""
        kind = self.checked.model.partition(":")[0]
        return "floor" if kind in FLOORS else "ceiling" if kind == CEILING else ""

    @cached_property
    def judged(self) -> dict[str, list[Mapping[str, Any]]]:
        """What judges said about each id, in the order of votes."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        lines = verdicts.slots(read_lines(self.record.folder / verdicts.FILE))
        for (name, _, _), line in sorted(lines.items(), key=lambda pair: pair[0]):
            found.setdefault(name, []).append(line)
        return found


def opened(folder: Path | str) -> Run:
    """Open a finished run. Raises DataError with the reason where it cannot be shown."""
    checked = comparable.load(folder)
    record = read(folder)
    return Run(record, sorted(record.rows(), key=lambda row: int(row["index"])), checked)
