"""What judges said, line by line, and what it makes of a row. Written by harness/judging.py.

A line of verdicts.jsonl is one call: `id`, `vote` (0 to N-1), `swapped`, `attempt`, `text` (the
judge's words), `label`, `score`, `stats` (null where the words were unreadable), `sentinel` (the
numbers are what the official script puts in place of unreadable words), `final` (no further attempt
follows), `error` (there are no words), `tokens_in`, `tokens_out`, `worst` (tokens in and out that
it could have taken), `seconds`, `cached`. The last line of an (id, vote, swapped) stands.

A vote is readable when all its orders are; a row's numbers are means over its readable votes, and
`stats["votes"]` keeps each. A row without a readable vote stays unjudged. Imports nothing of ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FILE = "verdicts.jsonl"

Line = Mapping[str, Any]
Slot = tuple[str, int, bool]
"""(id, vote, swapped): one asking of one judge about one answer."""


def slots(lines: Iterable[Line]) -> dict[Slot, Line]:
    """Return the line that stands for each slot."""
    return {(line["id"], line["vote"], line["swapped"]): line for line in lines}


def readable(line: Line | None) -> bool:
    """Whether a line holds a verdict."""
    return line is not None and line["stats"] is not None


def outcomes(lines: Iterable[Line], only: int | None = None) -> dict[str, dict[str, Any]]:
    """Return what each judged id's row gains: status, score, parsed, stats, error.

    `only` takes one vote alone.
    """
    by_id: dict[str, dict[tuple[int, bool], Line]] = {}
    for (name, vote, swapped), line in slots(lines).items():
        by_id.setdefault(name, {})[vote, swapped] = line
    keys = {key for found in by_id.values() for key in found}
    orders = sorted({swapped for _, swapped in keys})
    votes = range(max((vote for vote, _ in keys), default=-1) + 1) if only is None else (only,)
    return {
        name: _outcome([[found.get((vote, order)) for order in orders] for vote in votes])
        for name, found in by_id.items()
    }


def _outcome(votes: Sequence[Sequence[Line | None]]) -> dict[str, Any]:
    good = [[line for line in vote if line and readable(line)] for vote in votes]
    whole = [len(found) == len(vote) for found, vote in zip(good, votes, strict=True)]
    means = [_mean(found) if ok else None for found, ok in zip(good, whole, strict=True)]
    used = [line for found, ok in zip(good, whole, strict=True) if ok for line in found]
    if not used:
        return {"status": "unjudged", "error": _why(votes)}
    stats = [mean["stats"] for mean in means if mean]
    scores = [mean["score"] for mean in means if mean and mean["score"] is not None]
    return {
        "status": "unparsed" if any(line["sentinel"] for line in used) else "scored",
        "score": sum(scores) / len(scores) if scores else None,
        "parsed": "; ".join(line["label"] for line in used),
        "stats": {**_average(stats), "votes": [mean and mean["stats"] for mean in means]},
        "error": None if all(whole) else _why(votes),
    }


def _mean(lines: Sequence[Line]) -> dict[str, Any]:
    scores = [line["score"] for line in lines]
    known = all(score is not None for score in scores)
    return {
        "score": sum(scores) / len(scores) if known else None,
        "stats": _average([line["stats"] for line in lines]),
    }


def _average(stats: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each statistic over those that have it."""
    names = dict.fromkeys(name for found in stats for name in found)
    values = {name: [found[name] for found in stats if name in found] for name in names}
    return {name: sum(found) / len(found) for name, found in values.items()}


def _why(votes: Sequence[Sequence[Line | None]]) -> str:
    """Return why a vote is not readable, for people."""
    lines = [line for vote in votes for line in vote if line and not readable(line)]
    if not lines:
        return "the judge was not asked yet"
    if lines[-1]["error"]:
        return f"the judge gave no verdict: {lines[-1]['error']}"
    return f"the judge's words cannot be read as a verdict: {lines[-1]['text'][:200]!r}"
