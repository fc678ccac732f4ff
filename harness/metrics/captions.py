"""Corpus metrics of captions from per-caption statistics: METEOR 1.5 and BLEU.

Both are functions of sums over captions, not means of caption scores, so a record that holds the
statistics gives the published number, its jackknife interval and any resampling. METEOR is that
of the jar in pycocoevalcap for English (Denkowski and Lavie 2014, the tuned `-l en` parameters);
BLEU is coco-caption's `bleu_scorer.py` with the closest reference length. CIDEr and ROUGE-L are
means of caption scores and need nothing here; CIDEr's document frequencies are those of the whole
split and stay as they are when captions are resampled.

Imports the standard library; numpy and harness.stats inside functions.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.stats import Floats, Frame, Sums

METEOR_LENGTH = 23
"""What the jar prints per caption: length of hypothesis and reference, function words of both;
for exact, stem, synonym and paraphrase matches the content words of both and the function words of
both; chunks, and matched words of both."""
BLEU_LENGTH = 10
"""Length of the hypothesis, of the closest reference; for n = 1 to 4 the n-grams there are; for
n = 1 to 4 those that a reference has too."""
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.20, 0.60, 0.75
_STAGES = (1.0, 0.6, 0.8, 0.6)
_SMALL, _TINY = 1e-9, 1e-15  # keep coco-caption's quotients finite; part of its numbers


def meteor_terms(statistics: "Floats") -> "Floats":
    """Return what the jar adds up for each caption, shape (..., 23) -> (..., 23).

    A hypothesis whose words are matched without a break, and that leaves no word of the reference,
    adds no chunk: its one chunk is no fragmentation. Without this the sum is 0.5 points too low on
    real captions of a few words.
    """
    import numpy as np

    whole = (statistics[..., 20] == 1) & (statistics[..., 21:23] == statistics[..., 0:2]).all(
        axis=-1
    )
    terms = statistics.copy()
    terms[..., 20] = np.where(whole, 0.0, statistics[..., 20])
    return terms


def meteor_of(sums: "Floats") -> "Floats":
    """Return METEOR, 0 to 1, of summed `meteor_terms`, shape (..., 23) -> (...)."""
    import numpy as np

    stages = sums[..., 4:20].reshape(*sums.shape[:-1], 4, 4)
    weighted = np.array(_STAGES)[:, None] * np.array([_DELTA, _DELTA, 1 - _DELTA, 1 - _DELTA])
    matched = (stages * weighted).sum(axis=-2)
    content = sums[..., 0:2] - sums[..., 2:4]
    lengths = _DELTA * content + (1 - _DELTA) * sums[..., 2:4]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = (matched[..., 0] + matched[..., 2]) / lengths[..., 0]
        recall = (matched[..., 1] + matched[..., 3]) / lengths[..., 1]
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        fragments = sums[..., 20] / ((sums[..., 21] + sums[..., 22]) / 2)
    value: Floats = mean * (1 - _GAMMA * fragments**_BETA)
    found: Floats = np.where(np.isfinite(value), value, 0.0)
    return found


def bleu_of(sums: "Floats", order: int) -> "Floats":
    """Return BLEU up to n-grams of `order`, 0 to 1, of summed statistics, (..., 10) -> (...)."""
    import numpy as np

    guessed, correct = sums[..., 2 : 2 + order], sums[..., 6 : 6 + order]
    product = ((correct + _TINY) / (guessed + _SMALL)).prod(axis=-1)
    ratio = (sums[..., 0] + _TINY) / (sums[..., 1] + _SMALL)
    with np.errstate(over="ignore", divide="ignore"):
        brevity = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    value: Floats = product ** (1 / order) * brevity
    return value


def meteor(table: "Frame", mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> "Sums":
    """METEOR of a corpus; `value` names the statistic that holds the jar's 23 numbers."""
    return _corpus(table, mask, options, METEOR_LENGTH, meteor_of, meteor_terms)


def bleu(table: "Frame", mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> "Sums":
    """BLEU of a corpus; `value` names the statistic with its 10 numbers, `order` is 1 to 4."""
    order = options["order"]
    return _corpus(table, mask, options, BLEU_LENGTH, lambda sums: bleu_of(sums, order), None)


def _corpus(
    table: "Frame",
    mask: "NDArray[np.bool_]",
    options: Mapping[str, Any],
    width: int,
    of: "Callable[[Floats], Floats]",
    terms: "Callable[[Floats], Floats] | None",
) -> "Sums":
    import numpy as np

    from harness.stats import Sums

    column = table.columns[f"stat:{options['value']}"]
    here = [i for i in np.flatnonzero(mask).tolist() if column[i] is not None]
    groups = int(table.clusters.max()) + 1 if len(table.clusters) else 0
    sums = np.zeros((groups, width))
    if here:
        values = np.array([column[i] for i in here], np.float64)
        np.add.at(sums, table.clusters[here], terms(values) if terms else values)
    return Sums(sums, of, len(here))
