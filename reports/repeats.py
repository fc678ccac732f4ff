"""Several runs of one model on one task as one: the mean of each item first, then any test.

A model that samples its answers says something else each time. Averaging the repeats of an item
before anything is compared takes that noise out, and nothing else: the clusters stay the units of
the test, so repeats never count as more data (Kübler et al. 2026, arXiv 2602.10144). Metrics that
are no means are functions of per-cluster sums (harness/stats.py), and the sums are averaged. An
item has a result when it has one in every repeat. Reads records only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from harness.record import Row
from reports.comparable import (
    Difference,
    Run,
    check_names,
    counted,
    folders_in,
    join,
    load,
    refusal,
)

if TYPE_CHECKING:
    from harness.stats import Sums


def load_all(places: Iterable[Path | str], allow: Iterable[str] = ()) -> dict[str, Run]:
    """Read all runs at some places, by task; several runs of a task by one model become one.

    Raises DataError for two runs of one task that are no repeats of each other.
    """
    found: dict[str, list[Run]] = {}
    for folder in (folder for place in places for folder in folders_in(place)):
        run = load(folder)
        found.setdefault(run.task, []).append(run)
    return {task: together(runs, allow) for task, runs in found.items()}


def together(runs: Sequence[Run], allow: Iterable[str] = ()) -> Run:
    """Return repeats as one run whose rows are means over them; one run stays itself.

    Raises DataError when they are not runs of one model on the same items; `allow` names aspects
    that may differ, as for comparing.
    """
    first, *others = runs
    if not others:
        return first
    allowed = check_names(allow)
    by_first: list[dict[int, Row]] = []
    apart: list[Difference] = []
    for other in others:
        _same_model(first, other)
        joined = join(first, other)
        barred = [found for found in joined.differences if found.name not in allowed]
        if barred:
            raise DataError(f"repeats must agree: {refusal(first, other, barred)}")
        apart += joined.differences
        by_first.append({id(a): b for a, b in joined.pairs})
    if len({run.head["id"] for run in runs}) < len(runs):
        raise DataError(
            f"{' and '.join(str(run.folder) for run in runs)}: two of them are copies of one run; "
            "a run is no repeat of itself"
        )
    rows = [
        _mean([row, *(found[id(row)] for found in by_first)])
        for row in first.rows
        if all(id(row) in found for found in by_first)
    ]
    return replace(first, rows=rows, repeats=tuple(runs), apart=tuple(apart))


def _same_model(first: Run, other: Run) -> None:
    a, b = first.head, other.head
    if a["fingerprint"]["model"] != b["fingerprint"]["model"] or _options(a) != _options(b):
        raise DataError(
            f"{first.folder} ({first.model}) and {other.folder} ({other.model}) are runs of "
            f"{first.task} by two models; name the one that counts"
        )


def _options(head: Mapping[str, Any]) -> Any:
    found = dict(head["model"].get("options") or {})
    found.pop("seed", None)
    return found


def _mean(rows: Sequence[Row]) -> Row:
    """Return the row of an item whose numbers are means over its repeats."""
    first = rows[0]
    without = next((row for row in rows if not counted(row)), None)
    if without is not None:
        return {**without, "index": first["index"], "score": None, "repeats": rows}
    scores = [row["score"] for row in rows]
    unparsed = all(row["status"] == "unparsed" for row in rows)
    return {
        **first,
        "status": "unparsed" if unparsed else "scored",
        "score": None if None in scores else sum(scores) / len(scores),
        "stats": {name: _stat([row["stats"].get(name) for row in rows]) for name in first["stats"]},
        "repeats": rows,
    }


def _stat(values: Sequence[Any]) -> Any:
    if all(isinstance(value, int | float) for value in values):
        return sum(values) / len(values)
    return values[0]


def each(row: Row) -> Sequence[Row]:
    """Return the rows behind a row: itself, or its repeats."""
    found: Sequence[Row] = row.get("repeats") or (row,)
    return found


def averaged(parts: "Sequence[Sums]") -> "Sums":
    """Return the mean of the per-cluster sums of repeats."""
    import numpy as np

    first = parts[0]
    if len(parts) == 1:
        return first
    n = min(part.n for part in parts)
    if all(part.by_cluster.shape == first.by_cluster.shape for part in parts):
        sums = np.mean([part.by_cluster for part in parts], axis=0)
        return replace(first, by_cluster=sums, n=n)
    ends = np.cumsum([part.by_cluster.shape[1] for part in parts])
    cuts = list(zip([0, *ends[:-1]], ends, parts, strict=True))

    def of(sums: Any) -> Any:  # votes of a judge: other columns in every repeat
        return np.mean([part.of(sums[..., a:b]) for a, b, part in cuts], axis=0)

    joint = np.concatenate([part.by_cluster for part in parts], axis=1)
    return replace(first, by_cluster=joint, of=of, printed=None, n=n)
