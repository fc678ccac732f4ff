"""Ranking by features: cosine similarity, ranks with ties, recall; pure functions over numpy.

Queries and gallery are rows of float32 features. The similarity is the cosine in float64. It is
made in blocks, so that COCO's 5,000 x 25,000 fits into memory, and over distinct gallery rows, so
that equal features get equal similarities to the last bit and ties are seen as ties. Imports numpy
inside.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

BLOCK = 512
"""Queries whose similarities are in memory at once: 100 MB for COCO's captions."""


class Rank(NamedTuple):
    """Where the best of a query's own gallery items stands."""

    ahead: int
    """Items of others that are nearer."""
    tied: int
    """Items as near as the nearest own one, own ones included."""
    own: int
    """How many of the tied are its own."""

    @property
    def mean(self) -> float:
        """The rank from 1 on; the tied share their mean rank."""
        return self.ahead + (self.tied + 1) / 2

    def hit(self, k: int) -> float:
        """Return the probability that an own item is in the top `k` if ties are broken by lot."""
        places = min(k - self.ahead, self.tied)
        if places <= 0:
            return 0.0
        missed = 1.0
        for taken in range(places):
            missed *= max(self.tied - self.own - taken, 0) / (self.tied - taken)
        return 1.0 - missed


def features_of(row: Mapping[str, Any]) -> "NDArray[np.float32]":
    """Return the features in a record's row. Raises DataError where it has none."""
    import numpy as np

    text = (row.get("answer") or {}).get("features")
    if not text:
        raise DataError(f"row '{row['id']}' has no features; the model must encode")
    return np.frombuffer(b64decode(text), dtype="<f4")


def unit_rows(features: Sequence["NDArray[np.float32]"]) -> "Floats":
    """Return features as rows of length 1, in float64; a row of zeros stays one.

    Raises DataError where they differ in length or are not finite.
    """
    import numpy as np

    if len({len(row) for row in features}) > 1:
        raise DataError("the features of images and texts differ in length; nothing can be matched")
    rows: Floats = np.array(features, np.float64)
    if not np.isfinite(rows).all():
        raise DataError("some features are not finite numbers; try dtype=float32")
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length == 0, 1.0, length)


def similarity(queries: "Floats", gallery: "Floats") -> Iterator[tuple[int, "Floats"]]:
    """Yield (number of the first query, similarities (queries, gallery)) block by block."""
    import numpy as np

    distinct, index = np.unique(gallery, axis=0, return_inverse=True)
    index = index.reshape(-1)
    for start in range(0, len(queries), BLOCK):
        yield start, (queries[start : start + BLOCK] @ distinct.T)[:, index]


def ranks(
    queries: "Floats", gallery: "Floats", own: Sequence[Sequence[int]]
) -> Iterator[Rank | None]:
    """Yield the rank of each query; None where it has nothing of its own in the gallery.

    Args:
        queries: (q, d), rows of length 1.
        gallery: (g, d), rows of length 1.
        own: per query the numbers of the gallery rows that are right.
    """
    import numpy as np

    for start, block in similarity(queries, gallery):
        for row, right in zip(block, own[start : start + len(block)], strict=True):
            if not right:
                yield None
                continue
            nearest = row[list(right)]
            best = nearest.max()
            yield Rank(
                int(np.count_nonzero(row > best)),
                int(np.count_nonzero(row == best)),
                int(np.count_nonzero(nearest == best)),
            )
