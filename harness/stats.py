"""Metrics as functions of per-cluster sums, and their intervals.

A metric is what a paper prints. Each kind here turns rows into per-cluster sums of a few
per-sample statistics, and a function of the summed statistics gives the value. So the same code
gives the point value, the delete-one-cluster jackknife and, for comparisons, any resampling.

Intervals are 95 % and clustered by image: questions on one image are not independent (Miller 2024,
arXiv 2411.00640). Proportions use Wilson's interval at the effective sample size that the
clustered variance implies (the idea of Korn and Graubard 1998), so that 100 % of 24 is not printed
as certainty; other metrics use the jackknife with a t distribution on clusters - 1.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.errors import DataError, unknown
from harness.metrics import captions, classification, detection, judged, segmentation
from harness.metrics.grouped import all_right, rows_key, sum_of
from harness.metrics.joint import both
from harness.metrics.ranking import macro_mean
from harness.types import Estimate, Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COUNTED = ("scored", "unparsed")
"""Outcomes of a row that enter a metric; failed, missing and unjudged rows never do."""


@dataclass(frozen=True)
class Frame:
    """The columns that some metrics need, one entry per row of a run."""

    ids: Sequence[str]
    clusters: "NDArray[np.int64]"
    """Code of the row's cluster, 0 to G - 1."""
    score: "Floats"
    """NaN where the scorer gave None."""
    counted: "NDArray[np.bool_]"
    """False for rows that never enter a metric: failed, missing and unjudged."""
    columns: Mapping[str, Sequence[Any]]
    """Groups as `group:<name>`, statistics as `stat:<name>`; None where a row has none."""

    def stat(self, name: str) -> "Floats":
        """Return a statistic as floats; None becomes NaN. The name "" is the score."""
        import numpy as np

        if not name:
            return self.score
        column = self.columns[f"stat:{name}"]
        return np.array([np.nan if x is None else float(x) for x in column], dtype=np.float64)


@dataclass(frozen=True)
class Sums:
    """Per-cluster sums, shape (clusters, k), and the function from summed (..., k) to values."""

    by_cluster: "Floats"
    of: Callable[["Floats"], "Floats"]
    n: int
    """Rows behind it."""
    proportion: bool = False
    """A mean of zeros and ones."""
    bounded: bool = True
    """Lies between 0 and `top`."""
    interval: bool = True
    printed: Callable[["Floats"], "Floats"] | None = None
    """The value with the rounding that is part of it; `of` is used for everything else."""
    top: float = 1.0


Kind = Callable[[Frame, "NDArray[np.bool_]", Mapping[str, Any]], Sums]


def frame(rows: Iterable[Mapping[str, Any]], metrics: Iterable[Metric]) -> Frame:
    """Collect from record rows just the columns that `metrics` need (bounded memory)."""
    import numpy as np

    groups, stats = _needs(metrics)
    ids: list[str] = []
    scores: list[float] = []
    codes: dict[str, int] = {}
    clusters: list[int] = []
    counted: list[bool] = []
    columns: dict[str, list[Any]] = {f"group:{g}": [] for g in groups}
    columns |= {f"stat:{s}": [] for s in stats}
    for row in rows:
        counted.append(row["status"] in COUNTED)
        ids.append(row["id"])
        scores.append(np.nan if row["score"] is None else row["score"])
        clusters.append(codes.setdefault(row["cluster"], len(codes)))
        for name in groups:
            columns[f"group:{name}"].append(row["groups"].get(name))
        for name in stats:
            columns[f"stat:{name}"].append(row["stats"].get(name))
    return Frame(
        ids,
        np.array(clusters, np.int64),
        np.array(scores, np.float64),
        np.array(counted, bool),
        columns,
    )


def estimate_all(
    rows: Iterable[Mapping[str, Any]], metrics: Sequence[Metric]
) -> dict[str, Estimate]:
    """Return every metric of a run by name, `by` metrics expanded, in the task's order."""
    table = frame(rows, metrics)
    known = {metric.name: metric for metric in metrics}
    return {m.name: estimate(table, m, known) for metric in metrics for m in expand(table, metric)}


def expand(table: Frame, metric: Metric) -> list[Metric]:
    """Return one metric per value of the group that `metric.by` names, or the metric itself."""
    if not metric.by:
        return [metric]
    column = table.columns[f"group:{metric.by}"]
    allowed = _mask(table, metric.where)
    values = {value for value, ok in zip(column, allowed, strict=True) if ok and value is not None}
    return [
        replace(
            metric,
            name=f"{metric.name}.{value}",
            by="",
            where={**metric.where, metric.by: value},
        )
        for value in sorted(values, key=lambda v: (not isinstance(v, int), v))
    ]


def estimate(table: Frame, metric: Metric, known: Mapping[str, Metric]) -> Estimate:
    """Return the value and interval of one metric; `known` resolves the parts of a `mean_of`."""
    sums = sums_of(table, metric, known)
    scale = 100.0 if metric.percent else 1.0
    value, low, high, clusters = _interval(sums)
    low, high = (None if x is None else scale * x for x in (low, high))
    value = None if value is None else scale * value
    return Estimate(value, low, high, sums.n, clusters, _asked(table, metric, known))


def _asked(table: Frame, metric: Metric, known: Mapping[str, Metric]) -> int:
    """Count the rows that belong to a metric, whatever came of them."""
    if metric.kind == "mean_of":
        return sum(_asked(table, known[name], known) for name in metric.options["of"])
    if metric.kind in ("sum_of", "std_of"):  # parts over the same rows count them once
        parts = {rows_key(known[name].where): known[name] for name in metric.options["of"]}
        return sum(_asked(table, part, known) for part in parts.values())
    return int(_mask(table, metric.where).sum())


def sums_of(table: Frame, metric: Metric, known: Mapping[str, Metric]) -> Sums:
    """Return the per-cluster sums of a metric (all clusters of the table, zeros where absent)."""
    if metric.kind == "mean_of":
        return _mean_of([sums_of(table, known[name], known) for name in metric.options["of"]])
    if metric.kind == "sum_of":
        named = [known[name] for name in metric.options["of"]]
        return sum_of([(m.where, sums_of(table, m, known)) for m in named], metric.options)
    if metric.kind == "std_of":
        named = [known[name] for name in metric.options["of"]]
        return classification.std_of([sums_of(table, m, known) for m in named])
    if metric.kind not in METRICS:
        raise unknown("kind of metric", metric.kind, [*METRICS, "mean_of", "sum_of", "std_of"])
    mask = _mask(table, metric.where) & table.counted
    return METRICS[metric.kind](table, mask, metric.options)


def _needs(metrics: Iterable[Metric]) -> tuple[list[str], list[str]]:
    groups: dict[str, None] = {}
    stats: dict[str, None] = {}
    for metric in metrics:
        groups |= dict.fromkeys(metric.where)
        if metric.by:
            groups[metric.by] = None
        if metric.options.get("over"):
            groups[metric.options["over"]] = None
        if metric.kind in _BINARY:
            stats |= {
                metric.options.get("gold", "gold"): None,
                metric.options.get("yes", "yes"): None,
            }
        elif metric.kind == "both":
            stats[metric.options["row"]] = None
        elif metric.kind == "all_right":
            stats |= {metric.options["key"]: None, metric.options["size"]: None}
        elif metric.kind in _CLASSIFICATION:
            stats |= classification.needed(metric.options)
        elif metric.kind == "linked_mean":
            stats[metric.options["links"]] = None
        elif metric.kind == "distribution":
            stats |= {metric.options["gold"]: None, metric.options["pred"]: None}
            groups[metric.options["group"]] = None
        elif metric.options.get("value"):
            stats[metric.options["value"]] = None
    return list(groups), list(stats)


def _mask(table: Frame, where: Mapping[str, Any]) -> "NDArray[np.bool_]":
    import numpy as np

    mask = np.ones(len(table.ids), bool)
    for group, value in where.items():
        mask &= np.array([found == value for found in table.columns[f"group:{group}"]], bool)
    return mask


def _interval(sums: Sums) -> tuple[float | None, float | None, float | None, int]:
    """Return (value, low, high, clusters); None where there is nothing to say."""
    import numpy as np
    from scipy.special import stdtrit

    present = sums.by_cluster[np.any(sums.by_cluster != 0, axis=1)]
    clusters = len(present)
    if sums.n == 0 or clusters == 0:
        return None, None, None, 0
    total = present.sum(axis=0)
    value = float((sums.printed or sums.of)(total))
    if np.isnan(value):
        return None, None, None, clusters
    if not sums.interval or clusters < 2:
        return value, None, None, clusters
    left_out = sums.of(total - present)
    spread = left_out - np.nanmean(left_out)
    error = float(np.sqrt((clusters - 1) / clusters * np.nansum(spread**2)))
    t = float(stdtrit(clusters - 1, 0.975))
    at_bound = sums.bounded and error == 0.0 and value in (0.0, sums.top)
    if sums.proportion or at_bound:
        share = value / sums.top
        low, high = _wilson(share, _effective(share, error / sums.top, sums.n, clusters), t)
        return value, low * sums.top, high * sums.top, clusters
    low, high = value - t * error, value + t * error
    return (
        (value, max(low, 0.0), min(high, sums.top), clusters)
        if sums.bounded
        else (value, low, high, clusters)
    )


def _effective(value: float, error: float, n: int, clusters: int) -> float:
    """How many independent samples would have this standard error; at most the rows there are."""
    if value in (0.0, 1.0):
        return clusters  # no variance was seen: count each image once
    return n if error == 0 else min(value * (1 - value) / error**2, n)


def _wilson(value: float, n: float, t: float) -> tuple[float, float]:
    shrink = 1 + t * t / n
    middle = (value + t * t / (2 * n)) / shrink
    half = t / shrink * (value * (1 - value) / n + t * t / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def _clustered(table: Frame, values: "Floats") -> "Floats":
    """Sum rows of `values` (n, k) by cluster -> (G, k)."""
    import numpy as np

    size = int(table.clusters.max()) + 1 if len(table.clusters) else 0
    sums = np.zeros((size, values.shape[1]))
    np.add.at(sums, table.clusters, values)
    return sums


def _ratio(over: "Floats", under: "Floats") -> "Floats":
    """Divide; 0 where nothing is below (official scripts divide by zero there)."""
    import numpy as np

    return np.divide(over, under, out=np.zeros(np.broadcast(over, under).shape), where=under > 0)


def _mean(table: Frame, mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> Sums:
    import numpy as np

    values = table.stat(options.get("value", ""))
    mask = mask & ~np.isnan(values)
    used = np.where(mask, values, 0.0)
    seen = values[mask]
    return Sums(
        _clustered(table, np.stack([used, mask.astype(float)], axis=1)),
        lambda s: _nan_ratio(s[..., 0], s[..., 1]),
        int(mask.sum()),
        proportion=bool(np.isin(seen, (0.0, 1.0)).all()),
        bounded=bool(((seen >= 0) & (seen <= 1)).all()),
    )


def _nan_ratio(over: "Floats", under: "Floats") -> "Floats":
    """Divide; NaN where there are no rows: a mean over nothing is not 0."""
    import numpy as np

    result: Floats = np.full(np.broadcast(over, under).shape, np.nan)
    np.divide(over, under, out=result, where=under > 0)
    return result


_BINARY: dict[str, Callable[["Floats", "Floats", "Floats", "Floats"], "Floats"]] = {
    "accuracy": lambda tp, fp, tn, fn: _nan_ratio(tp + tn, tp + fp + tn + fn),
    "precision": lambda tp, fp, tn, fn: _ratio(tp, tp + fp),
    "recall": lambda tp, fp, tn, fn: _ratio(tp, tp + fn),
    "f1": lambda tp, fp, tn, fn: _ratio(2 * tp, 2 * tp + fp + fn),
    "yes_ratio": lambda tp, fp, tn, fn: _nan_ratio(tp + fp, tp + fp + tn + fn),
}


def _binary(name: str) -> Kind:
    """Make a metric of the confusion table of two 0/1 statistics, `gold` and `yes`."""

    def kind(table: Frame, mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> Sums:
        import numpy as np

        gold = table.stat(options.get("gold", "gold"))
        yes = table.stat(options.get("yes", "yes"))
        mask = mask & ~np.isnan(gold) & ~np.isnan(yes)
        parts = [gold * yes, (1 - gold) * yes, (1 - gold) * (1 - yes), gold * (1 - yes)]
        values = np.stack([np.where(mask, part, 0.0) for part in parts], axis=1)
        of = _BINARY[name]
        return Sums(
            _clustered(table, values),
            lambda s: of(s[..., 0], s[..., 1], s[..., 2], s[..., 3]),
            int(mask.sum()),
            proportion=name in ("accuracy", "yes_ratio"),
        )

    return kind


def _linked_mean(table: Frame, mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> Sums:
    """Mean over right rows of the mean score of the rows they link to (GQA's consistency)."""
    import numpy as np

    score_of = dict(zip(table.ids, table.score, strict=True))
    links = table.columns[f"stat:{options['links']}"]
    values = np.zeros((len(table.ids), 2))
    for i in np.flatnonzero(mask & (table.score == 1)).tolist():
        scores = [
            score_of[other]
            for other in links[i] or ()
            if other != table.ids[i] and other in score_of
        ]
        if scores:
            values[i] = np.mean(scores), 1.0
    return Sums(
        _clustered(table, values),
        lambda s: _nan_ratio(s[..., 0], s[..., 1]),
        int(values[:, 1].sum()),
    )


def _distribution(table: Frame, mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> Sums:
    """GQA's chi-square between predicted and gold answer counts per group; lower is better.

    It grows with the number of questions, so it has no interval and no meaning on a subset.
    """
    import numpy as np

    groups = table.columns[f"group:{options['group']}"]
    golds, preds = (table.columns[f"stat:{options[key]}"] for key in ("gold", "pred"))
    rows = [i for i in np.flatnonzero(mask).tolist() if groups[i] is not None]
    gold: dict[Any, dict[Any, int]] = {}
    pred: dict[Any, dict[Any, int]] = {}
    for i in rows:
        for counts, answer in ((gold, golds[i]), (pred, preds[i])):
            inner = counts.setdefault(groups[i], {})
            inner[answer] = inner.get(answer, 0) + 1
    total = sum(
        sum(counts.values()) * sum((pred[g].get(a, 0) - n) ** 2 / n for a, n in counts.items())
        for g, counts in gold.items()
    )
    one = np.array([[total, float(len(rows))]])
    return Sums(
        one,
        lambda s: _nan_ratio(s[..., 0], s[..., 1]) / 100,
        len(rows),
        bounded=False,
        interval=False,
    )


def _mean_of(parts: Sequence[Sums]) -> Sums:
    """Unweighted mean of metrics; None unless every part has rows."""
    import numpy as np

    if not parts:
        raise DataError("a mean_of metric needs at least one part")
    ends = np.cumsum([part.by_cluster.shape[1] for part in parts])
    cuts = list(zip([0, *ends[:-1]], ends, strict=True))

    def of(s: "Floats") -> "Floats":
        values: Floats = np.mean(
            [part.of(s[..., a:b]) for part, (a, b) in zip(parts, cuts, strict=True)], axis=0
        )
        return values

    n = sum(part.n for part in parts) if all(part.n for part in parts) else 0
    bounded = all(part.bounded for part in parts)
    sums = np.concatenate([part.by_cluster for part in parts], axis=1)
    interval = all(part.interval for part in parts)
    top = sum(part.top for part in parts) / len(parts)
    return Sums(sums, of, n, bounded=bounded, interval=interval, top=top)


_CLASSIFICATION: dict[str, Kind] = {
    "balanced_accuracy": classification.balanced_kind,
    "roc_auc": classification.auc_kind,
    "map11": classification.map11_kind,
}

METRICS: dict[str, Kind] = {
    "mean": _mean,
    "linked_mean": _linked_mean,
    "macro_mean": macro_mean,
    "both": both,
    "all_right": all_right,
    "distribution": _distribution,
    "judged": judged.judged,
    "meteor": captions.meteor,
    "bleu": captions.bleu,
    "average_precision": detection.average_precision,
    "miou": segmentation.miou,
    "pixel_accuracy": segmentation.pixel_accuracy,
    **_CLASSIFICATION,
    **{name: _binary(name) for name in _BINARY},
}
