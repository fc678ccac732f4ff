"""Metrics of semantic segmentation from per-picture counts: mean IoU and pixel accuracy.

The rule is that of mmseg (`mean_iou`, `total_area_to_metrics`), which MaskCLIP's numbers come from:
the areas of a class are summed over all pictures before they are divided, and a class that is
neither in the annotations nor in the answers is left out of the mean. Registered in
harness/stats.py, whose types it uses; imports numpy inside.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.stats import Floats, Frame, Sums

Areas = Sequence[Sequence[int]]
"""Of one picture, per class that is there or was said: number of the class; pixels that have it and
were said to have it; that have it; that were said to have it among the labelled pixels; and among
those without a label. The background is one more class, `classes` of the metric."""


def miou(table: "Frame", mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> "Sums":
    """Mean over classes of the share that is right of all that has or was given the class.

    `options`: `value`, the statistic that holds `Areas`; `classes`, how many there are; `of`, the
    numbers of those that count (default: all); `background`: pixels without a label form a class
    of their own that counts too. Without it they are no part of any number.
    """
    import numpy as np

    from harness.stats import Sums

    classes, background = options["classes"], bool(options.get("background"))
    chosen = list(options.get("of") or range(classes)) + [classes] * background
    sums, n = _summed(table, mask, options, background=background)
    used = sums[:, chosen]

    def of(s: "Floats") -> "Floats":
        parts = s.reshape(*s.shape[:-1], len(chosen), 3)
        both, union = parts[..., 0], parts[..., 1] + parts[..., 2] - parts[..., 0]
        there = union > 0
        each = np.divide(both, union, out=np.zeros(both.shape), where=there)
        count = there.sum(axis=-1)
        mean: Floats = np.full(count.shape, np.nan)
        np.divide(each.sum(axis=-1), count, out=mean, where=count > 0)
        return mean

    return Sums(used.reshape(len(used), -1), of, n)


def pixel_accuracy(table: "Frame", mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> "Sums":
    """Share of the labelled pixels of all pictures that were given their class."""
    import numpy as np

    from harness.stats import Sums

    sums, n = _summed(table, mask, options, background=False)
    used = sums[:, : options["classes"], :2].sum(axis=1)

    def of(s: "Floats") -> "Floats":
        share: Floats = np.full(s.shape[:-1], np.nan)
        np.divide(s[..., 0], s[..., 1], out=share, where=s[..., 1] > 0)
        return share

    return Sums(used, of, n)


def _summed(
    table: "Frame", mask: "NDArray[np.bool_]", options: Mapping[str, Any], *, background: bool
) -> "tuple[Floats, int]":
    """Return right, labelled and said pixels by cluster and class (G, classes + 1, 3), and rows."""
    import numpy as np

    column = table.columns[f"stat:{options['value']}"]
    here = [i for i in np.flatnonzero(mask).tolist() if column[i] is not None]
    groups = int(table.clusters.max()) + 1 if len(table.clusters) else 0
    sums = np.zeros((groups, options["classes"] + 1, 3))
    for i in here:
        areas = np.array(column[i], np.float64).reshape(-1, 5)
        said = areas[:, 3] + areas[:, 4] if background else areas[:, 3]
        at = areas[:, 0].astype(np.int64)
        sums[table.clusters[i], at] += np.stack([areas[:, 1], areas[:, 2], said], axis=1)
    return sums, len(here)
