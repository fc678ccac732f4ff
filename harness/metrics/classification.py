"""Metrics of image classification: balanced accuracy, ROC-AUC, 11-point mean average precision.

The rules are those of microsoft/vision-evaluation 0.2.9, which ELEVATER's toolkit calls: balanced
accuracy and ROC-AUC as scikit-learn has them, and the 11-point interpolation of VOC 2007 on
scikit-learn's precision-recall curve. Classes without a positive sample are left out of a mean.

None of them is a function of a few sums, so each gives its value and what the value becomes
without each row; the sums are made of these differences. Intervals are then the jackknife's own,
and under other resampling the metric is followed to first order. Imports the standard library and
harness.types; numpy, scipy and harness.stats inside the functions.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.stats import Frame, Sums

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]

LEVELS = 11
"""Recalls 1, 0.9, ..., 0 at which precision is read."""


def needed(options: Mapping[str, Any]) -> dict[str, None]:
    """Return the statistics that a metric of these kinds reads."""
    return dict.fromkeys(options[key] for key in ("gold", "value") if options.get(key))


def balanced_accuracy(gold: "Floats", right: "Floats") -> float:
    """Return the mean over classes of the share that is right.

    Args:
        gold: (n,) number of each sample's class.
        right: (n,) 1 where the answer is right, else 0; shares of several runs count as such.
    """
    import numpy as np

    if not len(gold):
        return float("nan")
    _, at, counts = np.unique(gold, return_inverse=True, return_counts=True)
    return float((np.bincount(at, weights=right) / counts).mean())


def roc_auc(gold: "Floats", score: "Floats") -> float:
    """Return the chance that a positive sample has the higher score; ties count half.

    Args:
        gold: (n,) 1 for positive, 0 for negative.
        score: (n,) how positive each looks. NaN where there are no positives or no negatives.
    """
    import numpy as np

    positive, negative = score[gold > 0], np.sort(score[gold <= 0])
    if not len(positive) or not len(negative):
        return float("nan")
    wins = sum(np.searchsorted(negative, positive, side).sum() for side in ("left", "right"))
    return float(wins) / (2 * len(positive) * len(negative))


def map11(gold: "Floats", scores: "Floats") -> float:
    """Return the 11-point interpolated average precision, averaged over classes.

    The curve ends at recall 0 with precision 1, as scikit-learn's does, so that the last of the
    eleven is always 1: equal scores for all give (10 x share of positives + 1) / 11.

    Args:
        gold: (n, classes) 1 where a sample has the class, else 0.
        scores: (n, classes), compared within a class.
    """
    columns = [column for column in range(gold.shape[1]) if gold[:, column].any()]
    values = [_Curve(gold[:, column] > 0, scores[:, column]).value() for column in columns]
    return sum(values) / len(values) if values else float("nan")


def balanced_kind(table: "Frame", mask: "Mask", options: Mapping[str, Any]) -> "Sums":
    """Balanced accuracy of `value` (a statistic; "": the score) over the classes in `gold`."""
    import numpy as np

    gold, right = table.stat(options["gold"]), table.stat(options.get("value", ""))
    rows = np.flatnonzero(mask & ~np.isnan(gold) & ~np.isnan(right))
    return _sums(table, rows, *_balanced(gold[rows], right[rows]))


def auc_kind(table: "Frame", mask: "Mask", options: Mapping[str, Any]) -> "Sums":
    """ROC-AUC of the statistic `value` against the 0/1 statistic `gold`."""
    import numpy as np

    gold, score = table.stat(options["gold"]), table.stat(options["value"])
    rows = np.flatnonzero(mask & ~np.isnan(gold) & ~np.isnan(score))
    return _sums(table, rows, *_auc(gold[rows], score[rows]))


def map11_kind(table: "Frame", mask: "Mask", options: Mapping[str, Any]) -> "Sums":
    """11-point mAP of the statistic `value` (a list per row) against the positions in `gold`."""
    import numpy as np

    golds, values = (table.columns[f"stat:{options[key]}"] for key in ("gold", "value"))
    rows = [
        i for i in np.flatnonzero(mask).tolist() if golds[i] is not None and values[i] is not None
    ]
    scores = np.array([values[i] for i in rows], np.float64).reshape(len(rows), -1)
    gold = one_hot([golds[i] for i in rows], scores.shape[1])
    return _sums(table, np.array(rows, np.int64), *_map11(gold, scores))


def std_of(parts: "Sequence[Sums]") -> "Sums":
    """Spread of one metric over repeated runs on the same rows (population standard deviation).

    It says how far the draw of the training images moves the value, nothing about the test images,
    and has no interval.
    """
    import numpy as np

    from harness.stats import Sums

    ends = np.cumsum([part.by_cluster.shape[1] for part in parts])
    cuts = list(zip([0, *ends[:-1]], ends, strict=True))

    def of(s: "Floats") -> "Floats":
        values = [part.of(s[..., a:b]) for part, (a, b) in zip(parts, cuts, strict=True)]
        spread: Floats = np.std(values, axis=0)
        return spread

    sums = np.concatenate([part.by_cluster for part in parts], axis=1)
    return Sums(sums, of, min(part.n for part in parts), bounded=False, interval=False)


def one_hot(labels: Sequence[Sequence[int]], classes: int) -> "Floats":
    """Return (n, classes): 1 at the positions of each sample's labels."""
    import numpy as np

    table = np.zeros((len(labels), classes))
    for row, places in enumerate(labels):
        table[row, list(places)] = 1
    return table


def _sums(table: "Frame", rows: Any, value: float, without: "Floats") -> "Sums":
    """Make sums whose value is `value`, and `without[i]` when row `rows[i]` is left out."""
    import numpy as np

    from harness.stats import Sums

    finite = bool(np.isfinite(without).all())
    size = int(table.clusters.max()) + 1 if len(table.clusters) else 0
    sums = np.zeros((size, 2))
    np.add.at(sums[:, 0], table.clusters[rows], without - value if finite else 0.0)
    np.add.at(sums[:, 1], table.clusters[rows], 1.0)
    total = float(sums[:, 0].sum())

    def of(s: "Floats") -> "Floats":
        values: Floats = value + (total - s[..., 0])
        return values

    n = 0 if np.isnan(value) else len(rows)
    return Sums(sums, of, n, interval=finite)


def _balanced(gold: "Floats", right: "Floats") -> tuple[float, "Floats"]:
    import numpy as np

    if not len(gold):
        return float("nan"), np.zeros(0)
    _, at, counts = np.unique(gold, return_inverse=True, return_counts=True)
    shares = np.bincount(at, weights=right) / counts
    classes, n, share = len(counts), counts[at], shares[at]
    value = float(shares.mean())
    alone = n == 1  # without its only sample a class is no longer in the mean
    changed = value + (share - right) / np.maximum(n - 1, 1) / classes
    gone = (value * classes - share) / max(classes - 1, 1)
    return value, np.where(alone, gone if classes > 1 else np.nan, changed)


def _auc(gold: "Floats", score: "Floats") -> tuple[float, "Floats"]:
    """Return the area, and what it is without each sample (placements: DeLong et al. 1988)."""
    import numpy as np
    from scipy.stats import rankdata

    positive = gold > 0
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return float("nan"), np.full(len(gold), np.nan)
    within = np.empty(len(score))
    for side in (positive, ~positive):
        within[side] = rankdata(score[side])
    below = rankdata(score) - within  # samples of the other side with a lower score
    wins = np.where(positive, below, m - below)  # pairs that each sample wins for the positives
    total = float(wins[positive].sum())
    left = np.where(positive, (m - 1) * n, m * (n - 1)).astype(float)
    without = np.divide(total - wins, left, out=np.full(len(score), np.nan), where=left > 0)
    return total / (m * n), without


def _map11(gold: "Floats", scores: "Floats") -> tuple[float, "Floats"]:
    import numpy as np

    total, classes = 0.0, 0
    sums, counts = np.zeros(len(gold)), np.zeros(len(gold))
    for column in range(gold.shape[1]):
        positive = gold[:, column] > 0
        if not positive.any():
            continue
        curve = _Curve(positive, scores[:, column])
        without = curve.without()
        total, classes = total + curve.value(), classes + 1
        there = ~np.isnan(without)
        sums += np.where(there, without, 0.0)
        counts += there
    if not classes:
        return float("nan"), np.full(len(gold), np.nan)
    left = np.divide(sums, counts, out=np.full(len(gold), np.nan), where=counts > 0)
    return total / classes, left


class _Curve:
    """One class's precision and recall at its distinct scores, from high to low.

    Point r has `hits` positives among the `seen` samples down to its score.
    """

    def __init__(self, positive: "Mask", score: "Floats") -> None:
        import numpy as np

        self.positive = positive
        levels, self.at, sizes = np.unique(-score, return_inverse=True, return_counts=True)
        self.hits = np.cumsum(np.bincount(self.at, weights=positive)).astype(np.int64)
        self.seen = np.cumsum(sizes)
        self.size, self.count = len(levels), int(self.hits[-1])
        self.recalls = np.linspace(1, 0, LEVELS)[:-1]  # at recall 0 precision is 1

    def value(self) -> float:
        """Return the average precision."""
        import numpy as np

        best = _from_here(self.hits / self.seen)
        first = np.searchsorted(self.hits, _enough(self.count, self.recalls))
        return float(1 + best[first].sum()) / LEVELS

    def without(self) -> "Floats":
        """Return what the average precision is without each sample; NaN for the only positive.

        Without a sample of point r, the points from r on have one sample less.
        """
        import numpy as np

        points = np.arange(self.size)
        less = np.maximum(self.seen - 1, 1)
        kept = self.hits / self.seen
        no_miss, no_hit = (
            _from_here(x) for x in (self.hits / less, np.maximum(self.hits - 1, 0) / less)
        )
        miss, hit = np.ones(self.size), np.ones(self.size)
        for start in np.searchsorted(self.hits, _enough(self.count, self.recalls)).tolist():
            miss += np.maximum(_up_to_here(kept, start), no_miss[np.maximum(points, start)])
        if self.count == 1:
            hit[:] = np.nan
        else:
            enough = _enough(self.count - 1, self.recalls)
            firsts, seconds = (np.searchsorted(self.hits, enough + more) for more in (0, 1))
            for first, second in zip(firsts.tolist(), seconds.tolist(), strict=True):
                start = np.where(first < points, points, min(second, self.size - 1))
                hit += np.maximum(_up_to_here(kept, first), no_hit[start])
        changed: Floats = np.where(self.positive, hit[self.at], miss[self.at]) / LEVELS
        return changed


def _enough(count: int, recalls: "Floats") -> Any:
    """Return how many of `count` positives make a recall of at least each of `recalls`."""
    import numpy as np

    return np.searchsorted(np.arange(count + 1) / count, recalls)


def _from_here(values: "Floats") -> "Floats":
    """Return the largest value at or after each position."""
    import numpy as np

    largest: Floats = np.maximum.accumulate(values[::-1])[::-1]
    return largest


def _up_to_here(values: "Floats", first: int) -> "Floats":
    """Return the largest value from `first` to before each position; -inf where there is none."""
    import numpy as np

    largest = np.full(len(values), -np.inf)
    largest[first + 1 :] = np.maximum.accumulate(values[first:])[:-1]
    return largest
