"""From hits to pairs: the best hit of each class, a cap on classes, one order of all pairs.

Everything is ordered by rank first: a pair's rank does not depend on how many are asked for, so the
pairs of a smaller K are a beginning of those of a larger one, with caps and without duplicates too.
That is why one search with the largest K tells the size of the pool for every K. Cosines of text
with text and of text with images lie on different scales and are compared within a rank only.
numpy is imported inside functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainers.retrieval.queries import Queries
from trainers.retrieval.search import Hits

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MODES = {"t2t": "text", "t2i": "image"}
"""What is asked to what its vectors are of."""


@dataclass(frozen=True)
class Table:
    """The best hit of every pair for every class that found it, as columns of equal length."""

    label: "Array"
    """Number of the class."""
    row: "Array"
    rank: "Array"
    """From 1, within the hits of one query in one mode."""
    score: "Array"
    template: "Array"
    mode: "Array"
    """0 for t2t, 1 for t2i."""
    inside: "Array"
    """Whether the class's cap lets it in."""

    def upto(self, k: int) -> "Table":
        """Return the hits with a rank of at most k."""
        return self.where(self.rank <= k)

    def where(self, chosen: "Array") -> "Table":
        """Return the hits of a mask."""
        return Table(
            self.label[chosen], self.row[chosen], self.rank[chosen], self.score[chosen],
            self.template[chosen], self.mode[chosen], self.inside[chosen],
        )  # fmt: skip


def table(queries: Queries, found: Mapping[str, Hits], order: "Array", cap: int | None) -> Table:
    """Return the best hits.

    Args:
        queries: What was asked.
        found: Hits by mode (t2t, t2i), rows of them in the order of the queries.
        order: Place of each row among all, the breaker of ties.
        cap: Most pairs of a class; None: no cap.
    """
    import numpy as np

    numbers = {label: number for number, label in enumerate(queries.labels)}
    labels = np.array([numbers[query.label] for query in queries.all])
    templates = np.array([query.template for query in queries.all])
    parts: list[tuple[Array, ...]] = []
    for number, name in enumerate(MODES):
        if name in found:
            asked, place = np.nonzero(found[name].rows >= 0)
            values = found[name].rows[asked, place], found[name].scores[asked, place]
            parts.append((asked, np.full(len(asked), number), place + 1, *values))
    columns = zip(*parts, strict=True)
    query, mode, rank, row, score = (np.concatenate(column) for column in columns)
    label = labels[query]
    best = _first(np.lexsort((query, mode, -score, rank, row, label)), label, row)
    best = best[np.lexsort((order[row[best]], -score[best], rank[best], label[best]))]
    label, row = label[best], row[best]
    starts = np.searchsorted(label, np.arange(len(numbers)))
    place = np.arange(len(label)) - starts[label]
    inside = np.ones(len(label), bool) if cap is None else place < cap
    return Table(label, row, rank[best], score[best], templates[query[best]], mode[best], inside)


def entries(hits: Table, order: "Array") -> "tuple[Array, Array]":
    """Return the rows that some class lets in, in the order in which they come in, and their ranks.

    A row comes in with its best rank in a class whose cap lets it in.
    """
    import numpy as np

    inside = hits.where(hits.inside)
    ways = np.lexsort((inside.label, -inside.score, inside.rank, inside.row))
    best = _first(ways, inside.row, inside.row)
    row, rank, score = inside.row[best], inside.rank[best], inside.score[best]
    come = np.lexsort((order[row], -score, rank))
    return row[come], rank[come]


def least_k(ranks: Sequence[int], target: int, most: int) -> int:
    """Return the least K that makes a pool of `target` pairs; `most` where none does.

    Args:
        ranks: Of the pairs that are kept, rising.
        target: Wanted number of pairs.
        most: The largest K.
    """
    return int(ranks[target - 1]) if len(ranks) >= target else most


def _first(sorted_: "Array", *keys: "Array") -> "Array":
    """Return those of sorted positions that begin a new group of equal keys."""
    import numpy as np

    new = np.zeros(len(sorted_), bool)
    new[:1] = True
    for key in keys:
        new[1:] |= key[sorted_][1:] != key[sorted_][:-1]
    return sorted_[new]
