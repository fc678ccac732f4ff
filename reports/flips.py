"""Which answers a report shows, and in which order: what changed first, then what is wrong.

With a baseline an item is regressed, fixed, wrong in both, right in both, or answered on one side
only. Without one it is wrong, partly right, right, scored (no right and wrong, as a judge's 1 to
10), or has no score. Order never depends on time or chance: items are taken in turn from each
slice, in the order of their content hashes. Imports the standard library.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COUNTED = ("scored", "unparsed")
ALONE = (
    "wrong", "unparsed", "partly right", "scored", "failed", "missing", "unjudged", "right",
)  # fmt: skip
PAIRED = ("regressed", "fixed", "wrong in both", "one side only", "same score", "right in both")


@dataclass(frozen=True)
class Item:
    """One question with what came of it."""

    row: Mapping[str, Any]
    base: Mapping[str, Any] | None
    kind: str
    severity: float
    """How far the score moved, or how far it is from the best."""


def items(
    rows: Iterable[Mapping[str, Any]], base: Iterable[Mapping[str, Any]] | None = None
) -> list[Item]:
    """Return every row as an item; `base` are the baseline's rows, joined by content and id."""
    rows = list(rows)
    if base is None:
        best = _best(rows)
        return [_alone(row, best) for row in rows]
    before = {(row["item"], row["id"]): row for row in base}
    best = _best([*rows, *before.values()])
    return [_paired(row, before.get((row["item"], row["id"])), best) for row in rows]


def _best(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the score of a right answer: 1 where all scores lie between 0 and 1, else None."""
    scores = [row["score"] for row in rows if row["status"] in COUNTED and row["score"] is not None]
    return 1.0 if scores and all(0 <= score <= 1 for score in scores) else None


def _alone(row: Mapping[str, Any], best: float | None) -> Item:
    score = row["score"]
    if row["status"] not in COUNTED:
        return Item(row, None, str(row["status"]), 0.0)
    if best is not None and score is not None and score >= best and row["status"] == "scored":
        return Item(row, None, "right", 0.0)
    if row["status"] == "unparsed":
        return Item(row, None, "unparsed", 1.0)
    if best is None or score is None:
        return Item(row, None, "scored", 0.0 if score is None else -float(score))
    return Item(row, None, "wrong" if score <= 0 else "partly right", best - score)


def _paired(row: Mapping[str, Any], base: Mapping[str, Any] | None, best: float | None) -> Item:
    counts = base is not None and row["status"] in COUNTED and base["status"] in COUNTED
    if not counts or base is None or row["score"] is None or base["score"] is None:
        return Item(row, base, "one side only", 0.0)
    moved = float(row["score"]) - float(base["score"])
    if moved:
        return Item(row, base, "regressed" if moved < 0 else "fixed", abs(moved))
    if best is None:
        return Item(row, base, "same score", -float(row["score"]))
    return Item(row, base, "right in both" if row["score"] >= best else "wrong in both", 0.0)


def ordered(found: Iterable[Item], by: str = "") -> list[Item]:
    """Return items in the order in which a page takes them.

    With a baseline, kinds come in the order of `PAIRED`. Without one, all kinds of trouble are
    taken in turn, then answers that a recorded file lacks, then right ones. `by` is the group to
    take turns over.
    """
    turns: dict[tuple[int, float], dict[str, list[Item]]] = {}
    for item in found:
        rank = _rank(item)
        slot = turns.setdefault((rank, -item.severity if rank < 2 else 0.0), {})
        slot.setdefault(f"{item.kind}\0{item.row['groups'].get(by)}", []).append(item)
    result: list[Item] = []
    for _, strata in sorted(turns.items(), key=lambda pair: pair[0]):
        queues = [
            sorted(queue, key=lambda item: (item.row["item"], item.row["id"]))
            for _, queue in sorted(strata.items())
        ]
        for at in range(max(map(len, queues))):
            result += [queue[at] for queue in queues if at < len(queue)]
    return result


def _rank(item: Item) -> int:
    if item.base is not None or item.kind in PAIRED:
        return PAIRED.index(item.kind)
    return len(PAIRED) + {"missing": 1, "right": 2}.get(item.kind, 0)


def stratum(groups: Mapping[str, Sequence[Any]]) -> str:
    """Return the group to take turns over: the one with the fewest values, then by name."""
    return min(groups, key=lambda name: (len(groups[name]), name), default="")


def rule(shown: int, total: int, pictured: int, by: str, *, paired: bool) -> str:
    """Return the sampling rule in words."""
    first = (
        "regressed answers first, then fixed ones, each by how far the score moved, then wrong in "
        "both"
        if paired
        else "wrong, unread, failed and unjudged ones first, in turn, then missing and right ones"
    )
    turn = f", taken in turn over {by}" if by else ""
    part = f"All {total:,} answers are" if shown == total else f"{shown:,} of {total:,} answers are"
    pictures = f"; pictures of {pictured:,} of them" if pictured else ""
    return (
        f"{part} in this file{pictures}: {first}{turn}, in the order of their content hash. "
        "No answer is chosen by hand or by chance."
    )
