"""How far annotators agree, as functions of per-cluster sums, so that each has its interval.

Fleiss' kappa (1971) is over items that everyone who was asked has judged; Krippendorff's alpha
(2011, "Computing Krippendorff's alpha-reliability") also takes items with gaps, as long as two
judged them: nominal for outcomes of pairs, ordinal for ratings. Intervals are those of
harness/stats.py: 95 %, by leaving out one cluster (picture) at a time. numpy inside.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from harness.stats import Sums, _interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Distance = Literal["nominal", "ordinal"]
Estimate = dict[str, Any]
"""value, low, high (fractions or the criterion's own scale), n, clusters."""


def of_sums(
    clusters: Sequence[str],
    values: Sequence[Sequence[float]],
    of: "Callable[[Floats], Floats]",
    *,
    within: tuple[float, float],
    proportion: bool = False,
) -> Estimate:
    """Return a value with its interval, cut at what it can be; none where nothing varies.

    `values` has one row of k sums per item, `clusters` its cluster; `of` takes sums (..., k).
    """
    sums = sums_of(clusters, values, of, proportion=proportion)
    value, low, high, count = _interval(sums)
    if low == high:  # no cluster differs from the others: that is no certainty
        low = high = None
    ends = [None if x is None else min(max(x, within[0]), within[1]) for x in (low, high)]
    return {"value": value, "low": ends[0], "high": ends[1], "n": sums.n, "clusters": count}


def sums_of(
    clusters: Sequence[str],
    values: Sequence[Sequence[float]],
    of: "Callable[[Floats], Floats]",
    *,
    every: Sequence[str] | None = None,
    proportion: bool = False,
) -> Sums:
    """Return sums by cluster; `every` are the clusters of the table, by default those given."""
    import numpy as np

    known = dict.fromkeys(clusters if every is None else every)
    names = {name: at for at, name in enumerate(known)}
    width = len(values[0]) if values else 1
    table = np.zeros((len(names), width))
    np.add.at(
        table, [names[name] for name in clusters], np.asarray(values, float).reshape(-1, width)
    )
    return Sums(table, of, len(values), proportion=proportion, bounded=proportion)


def ratio(sums: "Floats") -> "Floats":
    """Return the first sum over the second; NaN where that is 0."""
    import numpy as np

    out: Floats = np.full(sums.shape[:-1], np.nan)
    np.divide(sums[..., 0], sums[..., 1], out=out, where=sums[..., 1] > 0)
    return out


def share(clusters: Sequence[str], hits: Sequence[bool]) -> Estimate:
    """Return a share of items with its interval."""
    values = [(float(hit), 1.0) for hit in hits]
    return of_sums(clusters, values, ratio, within=(0.0, 1.0), proportion=True)


def mean(clusters: Sequence[str], values: Sequence[float], within: tuple[float, float]) -> Estimate:
    """Return a mean over items with its interval."""
    return of_sums(clusters, [(value, 1.0) for value in values], ratio, within=within)


def measures(
    clusters: Sequence[str], counts: Sequence[Sequence[int]], votes: int, distance: Distance
) -> dict[str, Estimate]:
    """Return pairwise agreement, Fleiss' kappa and Krippendorff's alpha.

    `counts` says for each item how many annotators chose each option, in the order of the options;
    `votes` is how many were asked.
    """
    some = [at for at, row in enumerate(counts) if sum(row) >= 2]
    whole = [at for at in some if sum(counts[at]) == votes]

    def estimate(
        chosen: Sequence[int],
        row: Callable[[Sequence[int]], Sequence[float]],
        of: "Callable[[Floats], Floats]",
        within: tuple[float, float] = (-1.0, 1.0),
    ) -> Estimate:
        values = [row(counts[at]) for at in chosen]
        return of_sums([clusters[at] for at in chosen], values, of, within=within)

    return {
        "agreement": estimate(some, lambda row: (_agreeing(row), 1.0), ratio, (0.0, 1.0)),
        "fleiss_kappa": estimate(whole, lambda row: (1.0, _agreeing(row), *row), _fleiss),
        "krippendorff_alpha": estimate(some, _coincidences, lambda sums: _alpha(sums, distance)),
    }


def _agreeing(row: Sequence[int]) -> float:
    """Return the share of pairs of annotators of one item that chose the same."""
    total = sum(row)
    return sum(n * (n - 1) for n in row) / (total * (total - 1))


def _fleiss(sums: "Floats") -> "Floats":
    """Return kappa from items, summed agreement and chosen options (..., 2 + options)."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        seen = sums[..., 1] / sums[..., 0]
        shares = sums[..., 2:] / sums[..., 2:].sum(axis=-1, keepdims=True)
        chance = (shares**2).sum(axis=-1)
        kappa: Floats = np.where(chance < 1 - 1e-12, (seen - chance) / (1 - chance), np.nan)
    return kappa


def _coincidences(row: Sequence[int]) -> list[float]:
    """Return the matrix of ordered pairs of one item, flat, each pair worth 1 / (votes - 1)."""
    over = sum(row) - 1
    return [
        (a * b - (a if i == j else 0)) / over for i, a in enumerate(row) for j, b in enumerate(row)
    ]


def _alpha(sums: "Floats", distance: Distance) -> "Floats":
    """Return alpha from summed coincidences (..., options * options)."""
    import numpy as np

    size = round(sums.shape[-1] ** 0.5)
    table = sums.reshape(*sums.shape[:-1], size, size)
    margins = table.sum(axis=-1)
    total = margins.sum(axis=-1)
    apart = np.broadcast_to(1.0 - np.eye(size), table.shape)
    if distance == "ordinal":  # all values between two ranks, half of those at the ends
        upto = np.cumsum(margins, axis=-1) - margins / 2
        apart = (upto[..., :, None] - upto[..., None, :]) ** 2
    seen = (table * apart).sum(axis=(-1, -2))
    chance = (margins[..., :, None] * margins[..., None, :] * apart).sum(axis=(-1, -2))
    alpha: Floats = np.full(chance.shape, np.nan)
    np.divide((total - 1) * seen, chance, out=alpha, where=chance > 1e-12)
    alpha = 1.0 - alpha
    return alpha
