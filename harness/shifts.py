"""When did a score change? Change points in a history of runs on the same items.

Binary segmentation: the split of a stretch of runs with the largest weighted difference of means
before and after it (CUSUM) is a change where chance explains so large a split in less than `alpha`
of all cases; then both sides are searched again. Chance is what remains when the order of the runs
is shuffled in each cluster of items by itself: under "nothing changed" each cluster's results could
have come in any order, so the test holds its size for any metric of per-cluster sums, however its
noise is distributed, and the weights make every place of a split as likely as any other. With two
runs it is the sign-flip test of harness/paired.py without its scale. Scott and Knott 1974 for the
segmentation; the permutation argument as in Matteson and James 2014 (arXiv 1306.4933). numpy
inside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALPHA = 0.05
RESAMPLES = 1_999
BLOCKS = 256
"""More clusters than this are shuffled in so many blocks: as valid, and quick."""
_CHUNK = 2_000_000  # sums held at a time
_TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of the score from run `at` on."""

    at: int
    """Index of the first run after the change."""
    p: float
    """That chance alone splits its stretch of runs so well, wherever."""
    before: float
    """Mean over the runs since the change before, in the metric's own unit."""
    after: float
    """Mean over the runs until the next change."""


def shifts(
    sums: "Floats",
    of: "Callable[[Floats], Floats]",
    *,
    alpha: float = ALPHA,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Shift]:
    """Return the changes of a history, oldest first.

    Args:
        sums: (runs, clusters, k), per-cluster sums over the items that all runs share.
        of: From summed (..., k) to values.
        alpha: Chance of any false change in a history without one.
        resamples: Shufflings; p is never below 1 / (resamples + 1).
        seed: Of the shuffling.
    """
    import numpy as np

    blocks = _blocks(sums)
    values = of(blocks.sum(axis=1))
    if len(values) < 2 or np.isnan(values).any():
        return []
    random = np.random.default_rng(seed)
    found: dict[int, float] = {}
    open_stretches = [(0, len(values))]
    while open_stretches:
        low, high = open_stretches.pop()
        if high - low < 2:
            continue
        at, p = _split(blocks[low:high], of, resamples, random)
        if p <= alpha:
            found[low + at] = p
            open_stretches += [(low, low + at), (low + at, high)]
    edges = [0, *sorted(found), len(values)]
    means = [float(values[a:b].mean()) for a, b in pairwise(edges)]
    return [
        Shift(at, found[at], before, after)
        for at, before, after in zip(sorted(found), means, means[1:], strict=False)
    ]


def _blocks(sums: "Floats") -> "Floats":
    """Add clusters up in at most BLOCKS blocks -> (runs, blocks, k)."""
    import numpy as np

    runs, clusters, k = sums.shape
    if clusters <= BLOCKS:
        return sums
    padded = np.zeros((runs, -(-clusters // BLOCKS) * BLOCKS, k))
    padded[:, :clusters] = sums
    blocks: Floats = padded.reshape(runs, -1, BLOCKS, k).sum(axis=1)
    return blocks


def _split(
    blocks: "Floats",
    of: "Callable[[Floats], Floats]",
    resamples: int,
    random: "np.random.Generator",
) -> tuple[int, float]:
    """Return the best place to split a stretch, and how often chance does as well."""
    import numpy as np

    runs, count, k = blocks.shape
    observed = _cusum(of(blocks.sum(axis=1)))
    best = float(observed.max())
    slack = _TIE * max(1.0, abs(best))
    as_good, done = 1, 0
    step = max(1, _CHUNK // (runs * count * k))
    while done < resamples:
        size = min(step, resamples - done)
        order = random.random((size, runs, count)).argsort(axis=1)
        drawn = np.take_along_axis(blocks[None], order[..., None], axis=1).sum(axis=2)
        tops = _cusum(of(drawn)).max(axis=-1)
        as_good += int((~(tops < best - slack)).sum())  # a value that is none counts as good
        done += size
    return int(observed.argmax()) + 1, as_good / (resamples + 1)


def _cusum(values: "Floats") -> "Floats":
    """Return the weighted difference of means of every split, (..., runs - 1)."""
    import numpy as np

    runs = values.shape[-1]
    left = np.arange(1, runs)
    before = values.cumsum(axis=-1)[..., :-1]
    total = values.sum(axis=-1, keepdims=True)
    gap = (total - before) / (runs - left) - before / left
    found: Floats = np.abs(gap) * np.sqrt(left * (runs - left) / runs)
    return found
