"""What a number would be if results that are missing had gone badly, or well (Manski's bounds).

A failed, missing or unjudged row has no score, and none is made up for the number itself; this
fills the gaps both ways to see whether the conclusion hangs on them. Imports harness.types.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.record import Row
from harness.types import Metric
from reports.comparable import counted

_BY_SCORE = ("mean", "both", "all_right")
_BY_YES = ("accuracy", "precision", "recall", "f1", "yes_ratio")
_COMPOSED = ("mean_of", "sum_of")

Pairs = Sequence[tuple[Row, Row]]


def fill(
    pairs: Pairs, metric: Metric, known: Mapping[str, Metric], favour: int
) -> list[tuple[Row, Row]] | None:
    """Return the pairs without gaps: against the candidate (`favour` -1) or for it (+1).

    None where nobody can say what the missing statistics could have been.
    """
    leaves = list(_leaves(metric, known))
    if not metric.higher_is_better:
        favour = -favour
    limits = _Limits(pairs)
    filled: list[tuple[Row, Row]] = []
    for a, b in pairs:
        left = a if counted(a) else _row(a, b, leaves, -favour, limits)
        right = b if counted(b) else _row(b, a, leaves, favour, limits)
        if left is None or right is None:
            return None
        filled.append((left, right))
    return filled


def _leaves(metric: Metric, known: Mapping[str, Metric]) -> Iterator[Metric]:
    if metric.kind in _COMPOSED:
        for name in metric.options["of"]:
            yield from _leaves(known[name], known)
    else:
        yield metric


class _Limits:
    """The lowest and highest a statistic can be: 0 and 1, or what was seen where that is wider."""

    def __init__(self, pairs: Pairs) -> None:
        self._rows = [row for pair in pairs for row in pair if counted(row)]
        self._known: dict[str, tuple[float, float]] = {}
        self._gold: dict[tuple[str, str], float] = {}

    def of(self, name: str) -> tuple[float, float]:
        """Return the limits of a statistic; "" is the score."""
        if name not in self._known:
            values = [row["stats"].get(name) if name else row["score"] for row in self._rows]
            numbers = [float(v) for v in values if v is not None]
            self._known[name] = min([0.0, *numbers]), max([1.0, *numbers])
        return self._known[name]

    def gold(self, name: str, target: str) -> float | None:
        """Return the gold statistic of rows with this target, where some row has one."""
        key = name, target
        if key not in self._gold:
            found = (r["stats"].get(name) for r in self._rows if r["target"] == target)
            value = next((v for v in found if v is not None), None)
            if value is None:
                return None
            self._gold[key] = float(value)
        return self._gold[key]


def _row(
    row: Row, other: Row, leaves: Sequence[Metric], favour: int, limits: _Limits
) -> Row | None:
    """Return a row with the result that favours (+1) or harms (-1) its run."""
    stats: dict[str, Any] = dict(other["stats"]) if counted(other) else {}
    low, high = limits.of("")
    score = high if favour > 0 else low
    for leaf in leaves:
        options = leaf.options
        if leaf.kind in _BY_YES:
            name = options.get("gold", "gold")
            gold = stats.get(name, limits.gold(name, row["target"]))
            if gold is None:
                return None
            good = favour > 0
            share = leaf.kind == "yes_ratio"
            yes = float(good) if share else gold if good else 1 - gold
            stats |= {name: gold, options.get("yes", "yes"): yes}
        elif leaf.kind == "mean":
            if options.get("value"):
                stats[options["value"]] = limits.of(options["value"])[favour > 0]
        elif leaf.kind in _BY_SCORE:
            needed = [options[key] for key in ("row", "key", "size") if key in options]
            if any(name not in stats for name in needed):
                return None
        else:
            return None
    single = {name: value for name, value in row.items() if name != "repeats"}
    return {**single, "status": "scored", "score": score, "stats": stats}
