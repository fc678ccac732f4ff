"""Two runs on the same items: clustered paired tests, and corrections for many of them.

Means use a studentised sign-flip over clusters: under "no change" the sign of each cluster's summed
difference is a coin, so the test holds its size with few and uneven clusters where a percentile
bootstrap does not; with one item per cluster and 0/1 scores it is McNemar's exact test. Metrics
that are no means use the delete-one-cluster jackknife of the difference. Bounds use t on
clusters - 1. Clustering after Miller 2024 (arXiv 2411.00640); Holm 1979; Benjamini and Hochberg
1995. A gain is positive, so "worse" is the lower tail. Imports harness.stats only for its types;
numpy and scipy inside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.stats import Sums

    Floats = NDArray[np.float64]

RESAMPLES = 10_000
EXACT = 14
"""Up to this many clusters with a change all signs are tried, 2^14 of them."""
_CHUNK = 1_000_000  # signs held at a time: they stay in the cache
_TIE = 1e-9  # sums in another order differ in the last digits; they are the same outcome


@dataclass(frozen=True, slots=True)
class Change:
    """What changed between two runs, in the unit of what was compared; better is positive."""

    value: float
    error: float
    """Clustered standard error."""
    df: float
    p_worse: float
    """Of "not worse" against "worse"."""
    p: float
    """Two-sided."""
    clusters: int
    method: Literal["sign-flip", "sign-flip exact", "jackknife"]

    def bound(self, alpha: float) -> float:
        """Return the one-sided lower limit of the change at level `alpha`."""
        from scipy.special import stdtrit

        return self.value - float(stdtrit(self.df, 1 - alpha)) * self.error

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """Return the two-sided interval at level `alpha`."""
        reach = self.value - self.bound(alpha / 2)
        return self.value - reach, self.value + reach

    def scaled(self, factor: float) -> "Change":
        """Return the change in another unit; `factor` is positive."""
        return replace(self, value=self.value * factor, error=self.error * factor)


def sign_flip(
    sums: "Floats", sizes: "Floats", *, resamples: int = RESAMPLES, seed: int = 0
) -> Change | None:
    """Test a mean of differences, given per-cluster sums (G,) and numbers of items (G,).

    Returns None for fewer than two clusters. A Monte Carlo p counts the data as one of the
    resamples, so it is never 0.
    """
    import numpy as np

    there = sizes > 0
    sums, sizes = sums[there].astype(np.float64), sizes[there].astype(np.float64)
    clusters = len(sums)
    if clusters < 2:
        return None
    n = float(sizes.sum())
    value = float(sums.sum()) / n
    spread = float(((sums - sizes * value) ** 2).sum())
    error = float(np.sqrt(clusters / (clusters - 1) * spread)) / n
    moved = sums != 0
    if not moved.any():
        return Change(value, error, clusters - 1, 1.0, 1.0, clusters, "sign-flip exact")
    flips = _Flips(sums[moved], sizes[moved], float((sizes**2).sum()), n)
    observed = float(flips.statistic(sums[moved].sum(), (sizes * sums)[moved].sum()))
    slack = _TIE * max(1.0, abs(observed)) if np.isfinite(observed) else 0.0
    exact = int(moved.sum()) <= EXACT
    batches = flips.all() if exact else flips.some(resamples, np.random.default_rng(seed))
    tried = worse = either = 0 if exact else 1
    for drawn in batches:
        tried += len(drawn)
        worse += int((drawn <= observed + slack).sum())
        either += int((np.abs(drawn) >= abs(observed) - slack).sum())
    method: Literal["sign-flip", "sign-flip exact"] = "sign-flip exact" if exact else "sign-flip"
    return Change(value, error, clusters - 1, worse / tried, either / tried, clusters, method)


@dataclass(frozen=True)
class _Flips:
    """Random signs over the clusters in which something changed; the others have none to flip."""

    sums: "Floats"
    sizes: "Floats"
    squares: float
    """Sum of squared sizes over all clusters."""
    n: float

    def statistic(self, total: "Floats", weighted: "Floats") -> "Floats":
        """Return t of summed signed differences, plain and weighted by size."""
        import numpy as np

        mean = total / self.n
        spread = (self.sums**2).sum() - 2 * mean * weighted + mean**2 * self.squares
        floor = _TIE * float((self.sums**2).sum())
        flat = spread <= floor  # every item changed alike: as far out as can be
        t = total / np.sqrt(np.where(flat, 1.0, spread))
        return np.where(flat & (total != 0), np.copysign(np.inf, total), t)

    def all(self) -> "Iterator[Floats]":
        """Yield the statistic of every combination of signs, the observed one among them."""
        import numpy as np

        count = len(self.sums)
        bits = ((np.arange(2**count)[:, None] >> np.arange(count)) & 1).astype(np.float64)
        signs = 2.0 * bits - 1.0
        sums = np.abs(self.sums)
        yield self.statistic(signs @ sums, signs @ (self.sizes * sums))

    def some(self, resamples: int, random: "np.random.Generator") -> "Iterator[Floats]":
        """Yield the statistic of random signs, in batches.

        Clusters with the same difference and size are exchangeable: how many of them are positive
        is binomial, which makes a hundred thousand items a handful of columns.
        """
        import numpy as np

        kinds, counts = np.unique(
            np.stack([np.abs(self.sums), self.sizes], axis=1), axis=0, return_counts=True
        )
        many, once = counts > 1, kinds[counts == 1]
        sums, counts = kinds[many], counts[many]
        single = np.stack([once[:, 0], once[:, 0] * once[:, 1]], axis=1)
        kind = np.float64 if len(once) < 2000 else np.float32  # no ties there, and half the work
        single = single.astype(kind)
        step = max(1, _CHUNK // max(1, len(kinds)))
        for start in range(0, resamples, step):
            size = min(step, resamples - start)
            total, weighted = np.zeros(size), np.zeros(size)
            if len(sums):
                net = 2.0 * random.binomial(counts, 0.5, (size, len(counts))) - counts
                total += net @ sums[:, 0]
                weighted += net @ (sums[:, 0] * sums[:, 1])
            if len(once):
                width = -(-len(once) // 8)
                raw = np.frombuffer(random.bytes(size * width), np.uint8).reshape(size, width)
                bits = np.unpackbits(raw, axis=1, count=len(once)).astype(kind)
                net = 2 * (bits @ single) - single.sum(axis=0)
                total += net[:, 0]
                weighted += net[:, 1]
            yield self.statistic(total, weighted)


def jackknife(base: "Sums", cand: "Sums", *, better: int = 1) -> Change | None:
    """Test the difference of any metric of per-cluster sums over the same clusters, in its unit.

    `better` is -1 for metrics of which less is better. Returns None where the metric has no
    value, has no interval, or has fewer than two clusters. A p is never below 2^-G: no test that
    knows only G clusters can say more.
    """
    import numpy as np
    from scipy.special import stdtr

    there = np.any(base.by_cluster != 0, axis=1) | np.any(cand.by_cluster != 0, axis=1)
    left, right = base.by_cluster[there], cand.by_cluster[there]
    clusters = len(left)
    if clusters < 2 or not (base.interval and cand.interval) or not (base.n and cand.n):
        return None
    whole = (left.sum(axis=0), right.sum(axis=0))
    value = better * float(cand.of(whole[1]) - base.of(whole[0]))
    without = better * (cand.of(whole[1] - right) - base.of(whole[0] - left))
    if np.isnan(value) or np.isnan(without).all():
        return None
    centred = without - np.nanmean(without)
    error = float(np.sqrt((clusters - 1) / clusters * np.nansum(centred**2)))
    least = 2.0 ** -min(clusters, 1000)
    if error < 1e-12:  # rounding of the sums alone
        error, worse = 0.0, 1.0 if value >= -1e-12 else least
        either = 1.0 if abs(value) < 1e-12 else 2 * least
    else:
        worse = max(float(stdtr(clusters - 1, value / error)), least)
        either = max(2 * float(stdtr(clusters - 1, -abs(value) / error)), 2 * least)
    return Change(value, error, clusters - 1, worse, either, clusters, "jackknife")


def unchanged_bound(clusters: int, alpha: float, top: float = 1.0) -> float:
    """Return the loss that `clusters` clusters without any change cannot exclude, as a change.

    Where nothing changed, nothing varied, and a t interval would be a point; but a change in one
    cluster of a hundred can go unseen in thirty.
    """
    return -top * (1.0 - float(alpha ** (1 / clusters)))


def pooled(changes: Sequence[Change], floor: float = 0.0) -> Change | None:
    """Return the plain mean of the tasks' changes; its p_worse is of a mean below `-floor`.

    Tasks are independent data; degrees of freedom after Welch and Satterthwaite. None for fewer
    than two tasks, where it would ask the same question twice.
    """
    import math

    from scipy.special import stdtr

    count = len(changes)
    if count < 2:
        return None
    value = sum(change.value for change in changes) / count
    variances = [(change.error / count) ** 2 for change in changes]
    error = math.sqrt(sum(variances))
    if error == 0:
        worse = 1.0 if value >= -floor else 2.0 ** -sum(change.clusters for change in changes)
        df = float(min(change.df for change in changes))
        return Change(value, 0.0, df, worse, min(1.0, 2 * worse), count, "jackknife")
    df = error**4 / sum(v * v / change.df for v, change in zip(variances, changes, strict=True))
    worse = float(stdtr(df, (value + floor) / error))
    either = 2 * float(stdtr(df, -abs(value) / error))
    return Change(value, error, df, worse, either, count, "jackknife")


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Return p-values adjusted so that the chance of any false rejection stays at the level."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p, key=lambda key: p[key])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = highest
    return adjusted


def benjamini_hochberg(p: Mapping[str, float]) -> dict[str, float]:
    """Return p-values adjusted so that the expected share of false rejections stays at the level.

    For findings that inform; what blocks uses `holm`.
    """
    adjusted: dict[str, float] = {}
    lowest = 1.0
    ranked = sorted(p, key=lambda key: p[key])
    for rank in range(len(ranked), 0, -1):
        lowest = min(lowest, p[ranked[rank - 1]] * len(p) / rank)
        adjusted[ranked[rank - 1]] = lowest
    return adjusted


def detectable(error: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the loss that a one-sided test at `alpha` finds with `power`, for a standard error."""
    from scipy.special import ndtri

    quantiles: float = float(ndtri(1 - alpha)) + float(ndtri(power))
    return quantiles * error
