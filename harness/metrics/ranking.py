"""Means of means: over images, or over the splits of a retrieval test.

Sherlock's localization is a mean over images of the share of right regions, its retrieval a mean
over 23 splits (`leaderboard_eval/score_localization.py`, `score_retrieval.py`). Registered as the
kind `macro_mean` in harness/stats.py, whose types it uses; imports numpy inside.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.stats import Floats, Frame, Sums


def macro_mean(table: "Frame", mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> "Sums":
    """Mean over groups of the mean of their rows; each group counts once, however many rows.

    `options`: `value`, the statistic (default: the score); `over`, the group's column (default:
    the cluster). Rows without a value, and groups without such rows, are left out.
    """
    import numpy as np

    from harness.stats import Sums, _clustered, _nan_ratio

    values = table.stat(options.get("value", ""))
    mask = mask & ~np.isnan(values)
    seen = values[mask]
    bounded = bool(((seen >= 0) & (seen <= 1)).all())
    used = np.stack([np.where(mask, values, 0.0), mask.astype(float)], axis=1)
    if not options.get("over"):
        each = _clustered(table, used)
        there = each[:, 1] > 0
        means = np.where(there, _nan_ratio(each[:, 0], each[:, 1]), 0.0)
        by_cluster = np.stack([means, there.astype(float)], axis=1)
        return Sums(
            by_cluster,
            lambda s: _nan_ratio(s[..., 0], s[..., 1]),
            int(mask.sum()),
            bounded=bounded,
        )
    column = table.columns[f"group:{options['over']}"]
    names = list(dict.fromkeys(x for x, ok in zip(column, mask, strict=True) if ok))
    parts = np.zeros((len(table.ids), len(names), 2))
    for at in np.flatnonzero(mask).tolist():
        parts[at, names.index(column[at])] = used[at]

    def of(sums: "Floats") -> "Floats":
        pairs = sums.reshape(*sums.shape[:-1], len(names), 2)
        there = pairs[..., 1] > 0
        means = np.where(there, _nan_ratio(pairs[..., 0], pairs[..., 1]), 0.0)
        return _nan_ratio(means.sum(axis=-1), there.sum(axis=-1))

    flat = parts.reshape(len(table.ids), 2 * len(names))
    return Sums(_clustered(table, flat), of, int(mask.sum()), bounded=bounded)
