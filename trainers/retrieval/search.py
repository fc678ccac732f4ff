"""The nearest pairs of each query: through the graphs, or exactly.

Both ways give candidates only. Their scores are then computed anew from the features, always by the
same sum, and equal scores are put in the order of keys: results depend neither on the number or
order of shards nor, as far as a graph finds the same candidates, on the graph. numpy and faiss are
imported inside functions.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.retrieval.features import Features
from trainers.retrieval.files import whole
from trainers.retrieval.index import Part, faiss, opened

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, Any]

SPARE = 16
"""Candidates of a part beyond k: the stored vectors are rounded, and exact scores may swap them."""
SLACK = 1e-5
"""Scores of float32 this near to the k-th may change places with it in the exact sum."""
BLOCK, QUERIES, PAIRS = 16_384, 2_048, 32_768
"""Rows, queries and pairs of both that are worked on at a time."""


@dataclass(frozen=True)
class Hits:
    """The k nearest rows of n queries, best first."""

    rows: "Matrix"
    """(n, k) numbers of rows; -1 where there are fewer than k."""
    scores: "Matrix"
    """(n, k) cosines in float64; -inf beside -1."""


def through_graphs(
    features: Features,
    parts: Sequence[Part],
    queries: "Matrix",
    k: int,
    *,
    ef: int = 256,
    workers: int = 1,
    keep: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Hits:
    """Return the nearest rows as the graphs find them, one part after the other.

    Args:
        features: What the parts were made of.
        parts: Of one kind, in any order.
        queries: Unit vectors (n, d) in float32.
        k: How many per query.
        ef: Candidates in each graph (efSearch), at least k.
        workers: Threads; they change nothing but the time.
        keep: Folder where the candidates of each part are kept, so that a search that was cut off
            goes on with the next part. The caller vouches that queries and settings are the same.
        say: Told of every part.
    """
    import numpy as np

    kind, near = parts[0].kind, k + SPARE
    best = np.full((len(queries), 0), -np.inf, np.float32)
    numbers = np.full((len(queries), 0), -1, np.int64)
    for part in sorted(parts, key=lambda part: part.first):
        scores, found = _of_part(part, queries, near, ef, workers, keep)
        best = np.concatenate([best, scores], axis=1)
        numbers = np.concatenate([numbers, np.where(found < 0, -1, found + part.first)], axis=1)
        if best.shape[1] > near:
            chosen = np.argpartition(-best, near - 1, axis=1)[:, :near]
            best = np.take_along_axis(best, chosen, 1)
            numbers = np.take_along_axis(numbers, chosen, 1)
        say(f"asked {part.kind} {part.path.stem}")
    asked, column = np.nonzero(numbers >= 0)
    return ranked(features, kind, queries, asked, numbers[asked, column], k)


def _of_part(
    part: Part, queries: "Matrix", near: int, ef: int, workers: int, keep: Path | None
) -> "tuple[Matrix, Matrix]":
    import numpy as np

    kept = keep / f"{part.kind}-{part.path.stem}.npz" if keep else None
    if kept and kept.exists():
        with np.load(kept, allow_pickle=False) as held:
            return held["scores"], held["rows"]
    faiss().omp_set_num_threads(workers)
    graph = opened(part.path)
    graph.hnsw.efSearch = max(ef, near)
    scores, rows = graph.search(queries, min(near, part.rows))
    if kept:
        with whole(kept) as path, path.open("wb") as file:
            np.savez(file, scores=scores, rows=rows)
    return scores, rows


def exact(features: Features, kind: str, queries: "Matrix", k: int) -> Hits:
    """Return the nearest rows by comparing every query with every row; needs no index."""
    import numpy as np

    pieces: list[Hits] = []
    for start in range(0, len(queries), QUERIES):
        some = queries[start : start + QUERIES]
        asked, rows, scores = [], [], []
        best = np.full((len(some), k), -np.inf, np.float32)
        for first, block in _blocks(features, kind):
            cosines = some @ block.T
            width = min(k, block.shape[0])
            top = np.partition(cosines, -width, axis=1)[:, -width:]
            best = np.partition(np.concatenate([best, top], axis=1), -k, axis=1)[:, -k:]
            query, row = np.nonzero(cosines >= best.min(axis=1, keepdims=True) - SLACK)
            asked.append(query)
            rows.append(row + first)
            scores.append(cosines[query, row])
        query, row, score = map(np.concatenate, (asked, rows, scores))
        near = score >= best.min(axis=1)[query] - SLACK
        pieces.append(ranked(features, kind, some, query[near], row[near], k))
    return Hits(
        np.concatenate([p.rows for p in pieces]), np.concatenate([p.scores for p in pieces])
    )


def _blocks(features: Features, kind: str) -> "Iterator[tuple[int, Matrix]]":
    for shard in features.shards:
        vectors = features.vectors(kind, [shard.name])
        for at in range(0, shard.rows, BLOCK):
            yield shard.first + at, vectors[at : at + BLOCK]


def ranked(
    features: Features, kind: str, queries: "Matrix", asked: "Matrix", rows: "Matrix", k: int
) -> Hits:
    """Return the best k of candidates: pairs of a query's number and a row, each pair once."""
    import numpy as np

    scores = np.empty(len(rows))
    by_row = np.argsort(rows, kind="stable")  # neighbours on the disk are read together
    for at in range(0, len(rows), PAIRS):
        some = by_row[at : at + PAIRS]
        vectors = features.some(kind, rows[some]).astype(np.float64)
        scores[some] = (vectors * queries[asked[some]]).sum(axis=1)
    by_rank = np.lexsort((features.order[rows], -scores, asked))
    asked, rows, scores = asked[by_rank], rows[by_rank], scores[by_rank]
    starts = np.searchsorted(asked, np.arange(len(queries)))
    place = np.arange(len(asked)) - starts[asked]
    near = place < k
    out = Hits(np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf))
    out.rows[asked[near], place[near]] = rows[near]
    out.scores[asked[near], place[near]] = scores[near]
    return out


def recall(found: Hits, true: Hits) -> float:
    """Return the share of the true nearest rows that were found."""
    import numpy as np

    shares = [
        len(np.intersect1d(some[some >= 0], all_[all_ >= 0])) / max(1, int((all_ >= 0).sum()))
        for some, all_ in zip(found.rows, true.rows, strict=True)
    ]
    return float(np.mean(shares))
