"""Accuracy over pairs: a question counts as right where all of its parts are right.

VCR's Q->AR (R2C `models/eval_q2ar.py`): the parts of one question are rows of their own, joined
by a statistic that they share. Registered as the kind `both` in harness/stats.py, whose types it
uses; imports numpy inside.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.stats import Frame, Sums


def both(table: "Frame", mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> "Sums":
    """Mean over the rows of `mask` of "every row with this row's key scored 1".

    `where` of the metric picks one part, so that a question counts once. `options`: `row`, the
    statistic that is the key; `parts`, how many rows must share it (2). A question of which a part
    failed or is missing has no value: half of it cannot be right or wrong.
    """
    import numpy as np

    from harness.stats import Sums, _clustered, _nan_ratio

    keys = table.columns[f"stat:{options['row']}"]
    usable = table.counted & ~np.isnan(table.score)
    parts: dict[Any, list[float]] = {}
    for i in np.flatnonzero(usable).tolist():
        parts.setdefault(keys[i], []).append(float(table.score[i]))
    values = np.zeros((len(table.ids), 2))
    for i in np.flatnonzero(mask & usable).tolist():
        scores = parts[keys[i]]
        if keys[i] is not None and len(scores) == options.get("parts", 2):
            values[i] = float(all(score == 1 for score in scores)), 1.0
    return Sums(
        _clustered(table, values),
        lambda s: _nan_ratio(s[..., 0], s[..., 1]),
        int(values[:, 1].sum()),
        proportion=True,
    )
