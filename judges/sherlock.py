"""Sherlock's three scores, to the letter of the official scripts; pure functions.

Hessel et al. 2022 (arXiv 2202.04800), github allenai/sherlock, `leaderboard_eval/`:
`score_comparison.py`, `score_localization.py`, `score_retrieval.py`. Arithmetic is in float64, as
there: the noise that breaks ties is lost in float32. Imports numpy and scipy inside.
"""

from collections.abc import Sequence
from functools import cache
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CANDIDATES = 10
"""At most so many candidates are compared on one image: the script draws so much noise."""


@cache
def _draws(count: int) -> tuple[float, ...]:
    """The first uniforms of numpy's legacy generator with seed 1; its global state is untouched."""
    import numpy as np

    return tuple(np.random.RandomState(1).random_sample(count).tolist())


def comparison(scores: Sequence[float], labels: Sequence[float]) -> float:
    """Return how well `scores` order the candidates as one annotator's `labels` do, in [-1, 1].

    Every pair of candidates with different labels counts once; the value is 2 * (share of pairs
    ordered alike) - 1, and 0 where there is no such pair. Equal scores are told apart by a fixed
    noise (ten draws of the generator with seed 1, divided by 1e9) that depends on the position of
    the candidate alone, so a tie is right or wrong by where it stands.

    Raises:
        ValueError: not one score per label, or more than ten.
    """
    if len(scores) != len(labels) or len(labels) > CANDIDATES:
        raise ValueError(
            f"{len(scores)} scores for {len(labels)} candidates (at most {CANDIDATES})"
        )
    noisy = [float(s) + noise / 1e9 for s, noise in zip(scores, _draws(CANDIDATES), strict=False)]
    pairs = [
        (labels[i] < labels[j]) == (noisy[i] < noisy[j])
        for i in range(len(labels))
        for j in range(i + 1, len(labels))
        if labels[i] != labels[j]
    ]
    return (sum(pairs) / len(pairs) - 0.5) * 2 if pairs else 0.0


def random_scores(count: int) -> tuple[float, ...]:
    """Return what the official script takes for a random model, the same for every image.

    It means to draw afresh, but each comparison before reseeds the generator, so it always gets
    draws 11 to 10 + `count`.
    """
    return _draws(CANDIDATES + count)[CANDIDATES:]


def matched(similarity: "Floats", order: str = "") -> "NDArray[np.bool_]":
    """Return for each region whether the best one-to-one assignment gives it its own inference.

    Args:
        similarity: (n, n); row i and column i belong together.
        order: a text that decides the order in which the solver sees the columns. Where several
            assignments are equally good the solver prefers the first columns; in file order that
            would be the diagonal, and a model without an opinion would score 100.
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    columns = list(range(len(similarity)))
    Random(order).shuffle(columns)
    _, taken = linear_sum_assignment(-similarity[:, columns])
    right: NDArray[np.bool_] = np.array(columns)[taken] == np.arange(len(similarity))
    return right


def localized(
    similarity: "Floats", iou: "Floats", threshold: float = 0.5
) -> tuple["NDArray[np.bool_]", "NDArray[np.bool_]"]:
    """Return for each inference whether its best region is right, and whether any could be.

    Args:
        similarity: (regions, inferences), regions that a detector proposed.
        iou: (regions, inferences), overlap of each with the region that the inference is about.
        threshold: a region is right above it, not at it. The first of equal regions is taken.
    """
    import numpy as np

    taken = iou[np.argmax(similarity, axis=0), np.arange(iou.shape[1])]
    return taken > threshold, iou.max(axis=0) > threshold
