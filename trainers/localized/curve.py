"""How well a critic tells what people accept: Table 1, Figure 2, and whether a score means itself.

Reads labelled triples with predictions. Intervals come from resampling pictures, not triples: the
triples of a picture are no independent draws. numpy inside functions. Imports harness and the
corpus format.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import DataError, UsageError
from trainers.localized.triples import Triple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Truth = NDArray[np.bool_]

LEVEL = 0.95
THRESHOLDS = tuple(i / 20 for i in range(20))
SHARES = tuple(i / 10 for i in range(10, 0, -1))
BINS = 10
_CHUNK = 4_000_000
"""Drawn counts in memory at once."""


@dataclass(frozen=True)
class Judged:
    """Scores and labels of triples, as arrays of one length."""

    score: "Floats"
    accept: "Truth"
    image: "NDArray[np.int64]"
    """Number of the picture that a triple is about."""


def read(corpus: Iterable[Triple]) -> Judged:
    """Return the labelled and scored triples of a corpus; others are left out.

    Raises:
        DataError: There are none, or no accepted or no rejected one among them.
    """
    import numpy as np

    rows = [
        (triple.prediction, triple.extra["accept"], triple.image)
        for triple in corpus
        if triple.prediction is not None and triple.extra.get("accept") in (0, 1)
    ]
    accept = np.array([row[1] == 1 for row in rows], dtype=np.bool_)
    if not accept.any() or accept.all():
        raise DataError(
            f"a curve needs accepted and rejected triples with scores; found {len(rows)} with "
            f"both a label and a score, {int(accept.sum())} of them accepted"
        )
    numbers: dict[str, int] = {}
    image = [numbers.setdefault(row[2], len(numbers)) for row in rows]
    scores = np.array([row[0] for row in rows], dtype=np.float64)
    return Judged(scores, accept, np.array(image, dtype=np.int64))


def classified(judged: Judged, threshold: float = 0.5) -> dict[str, Any]:
    """Return precision, recall and F1 of "accept", and their means over both classes.

    A score above `threshold` says accept; 0.5 is what the two logits say. Table 1 does not say
    which of the two it gives; its F1 is not that of its precision and recall, as means over classes
    are not.
    """
    says = judged.score > threshold
    yes = _class(says, judged.accept)
    no = _class(~says, ~judged.accept)
    return {
        "threshold": threshold,
        "n": len(says),
        "accuracy": float((says == judged.accept).mean()),
        **yes,
        "macro": {name: (yes[name] + no[name]) / 2 for name in yes},
    }


def _class(says: "Truth", truth: "Truth") -> dict[str, float]:
    hits = int((says & truth).sum())
    precision = hits / int(says.sum()) if says.any() else 0.0
    recall = hits / int(truth.sum()) if truth.any() else 0.0
    both = precision + recall
    return {
        "precision": precision, "recall": recall, "f1": 2 * precision * recall / both if both else 0
    }  # fmt: skip


def threshold_at(judged: Judged, share: float) -> float:
    """Return a threshold above which at most `share` of the triples score, and as many as can."""
    import numpy as np

    if not 0 < share <= 1:
        raise UsageError(f"a share of the corpus is above 0 and at most 1, found {share:g}")
    ordered = np.sort(judged.score)[::-1]
    count = int(share * len(ordered) + 1e-9)
    if count >= len(ordered):
        return float(np.nextafter(ordered[-1], -np.inf))
    return float(ordered[count])


def points(
    judged: Judged, thresholds: Sequence[float], resamples: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """Return for each threshold how much is kept and how much of that people accept (Figure 2).

    `low` and `high` are percentiles of the precision over resampled pictures; None where a
    threshold keeps nothing (then the precision is None too) or only one picture.
    """
    import numpy as np

    count = int(judged.image.max()) + 1
    out = []
    for threshold in thresholds:
        keep = judged.score > threshold
        kept = np.bincount(judged.image, keep, count).astype(np.float64)
        right = np.bincount(judged.image, keep & judged.accept, count).astype(np.float64)
        low, high = _interval(right, kept, resamples, seed)
        out.append({
            "threshold": threshold,
            "kept": float(keep.mean()),
            "n": int(keep.sum()),
            "precision": float(right.sum() / kept.sum()) if kept.any() else None,
            "low": low,
            "high": high,
            "recall": float((keep & judged.accept).sum() / judged.accept.sum()),
        })  # fmt: skip
    return out


def _interval(
    right: "Floats", kept: "Floats", resamples: int, seed: int
) -> tuple[float | None, float | None]:
    """Return percentiles of sum(right) / sum(kept) over resampled pictures."""
    import numpy as np

    some = kept > 0
    if some.sum() < 2:
        return None, None
    draw = np.random.default_rng(seed)
    count = len(kept)
    ratios: list[float] = []
    while len(ratios) < resamples:
        rows = min(resamples - len(ratios), max(1, _CHUNK // count))
        weights = draw.multinomial(count, np.full(count, 1 / count), size=rows)[:, some]
        under = weights @ kept[some]
        over = weights @ right[some]
        ratios += [float(a / b) for a, b in zip(over, under, strict=True) if b]
    low, high = np.quantile(ratios, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def reliability(judged: Judged, bins: int = BINS) -> dict[str, Any]:
    """Return whether scores are probabilities: per bin the mean score and the share accepted.

    `error` is the expected calibration error: the mean distance of the two, weighted by bin.
    `temperature` is what the logit of a score has to be divided by for the least log loss.
    """
    import numpy as np

    place = np.minimum((judged.score * bins).astype(np.int64), bins - 1)
    rows, error = [], 0.0
    for number in range(bins):
        here = place == number
        if not here.any():
            continue
        mean, share = float(judged.score[here].mean()), float(judged.accept[here].mean())
        error += here.mean() * abs(mean - share)
        rows.append({
            "from": number / bins, "to": (number + 1) / bins, "n": int(here.sum()),
            "score": mean, "accepted": share,
        })  # fmt: skip
    return {"bins": rows, "error": float(error), **_temperature(judged)}


def _temperature(judged: Judged) -> dict[str, float]:
    """Return the temperature by golden section over its logarithm, and the log loss with it."""
    import numpy as np

    score = np.clip(judged.score, 1e-7, 1 - 1e-7)
    logit = np.log(score) - np.log1p(-score)
    signed = np.where(judged.accept, logit, -logit)

    def loss(power: float) -> float:
        return float(np.logaddexp(0, -signed * np.exp(-power)).mean())

    low, high = -4.0, 4.0
    golden = (5**0.5 - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    best = (low + high) / 2
    return {
        "temperature": float(np.exp(best)), "log_loss": loss(0.0), "log_loss_tempered": loss(best)
    }  # fmt: skip


def area(judged: Judged) -> float:
    """Return the area under the ROC curve: how often an accepted triple scores above a rejected."""
    import numpy as np

    _, place, counts = np.unique(judged.score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    yes = int(judged.accept.sum())
    no = len(judged.accept) - yes
    return float((ranks[judged.accept].sum() - yes * (yes + 1) / 2) / (yes * no))


def report(
    judged: Judged, threshold: float = 0.5, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Return all of it as plain JSON values."""
    by_share = [threshold_at(judged, share) for share in SHARES]
    return {
        "schema": 1,
        "triples": len(judged.score),
        "images": int(judged.image.max()) + 1,
        "accepted": float(judged.accept.mean()),
        "classified": classified(judged, threshold),
        "area": area(judged),
        "by_threshold": points(judged, THRESHOLDS, resamples, seed),
        "by_share": points(judged, by_share, resamples, seed),
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
        "reliability": reliability(judged),
    }


def lines(found: dict[str, Any]) -> list[str]:
    """Return a report as lines for people."""
    at = found["classified"]
    macro = at["macro"]
    out = [
        f"{found['triples']:,} triples of {found['images']:,} pictures; people accept "
        f"{found['accepted']:.1%}",
        f"above {at['threshold']:g}: precision {at['precision']:.1%}, recall {at['recall']:.1%}, "
        f"F1 {at['f1']:.1%}; mean of both classes {macro['precision']:.1%}, "
        f"{macro['recall']:.1%}, {macro['f1']:.1%}",
        f"area under the ROC curve {found['area']:.3f}; calibration error "
        f"{found['reliability']['error']:.3f}, temperature "
        f"{found['reliability']['temperature']:.2f}",
        f"{'kept':>7} {'score >':>9} {'accepted':>9}   95 % interval",
    ]
    for point in found["by_share"]:
        if point["precision"] is not None:
            span = "-" if point["low"] is None else f"{point['low']:.1%} to {point['high']:.1%}"
            out.append(
                f"{point['kept']:>7.1%} {point['threshold']:>9.4f} {point['precision']:>9.1%}"
                f"   {span}"
            )
    return out


def to_json(found: dict[str, Any]) -> str:
    """Return a report as the text of its file."""
    return json.dumps(found, indent=1) + "\n"
