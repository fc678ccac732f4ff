"""Metrics over groups of rows: shares of groups with every row right, and sums of metrics.

MME's acc+ (both questions on an image right) and its scores out of 200, 2,000 and 800
(`eval_tool/calculation.py` of the MME release), MMBench's CircularEval (every rotation of a
question right; VLMEvalKit). Registered in harness/stats.py, whose types it uses; imports numpy
inside.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.stats import Floats, Frame, Sums


def all_right(table: "Frame", mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> "Sums":
    """Share of the groups of rows in `mask` whose every row scored 1; each group counts once.

    `options`: `key`, the statistic that names a row's group; `size`, the statistic that says how
    many rows the group has. A group with a row that failed, is missing or was not asked has no
    value. A group lies in one cluster, or is counted in that of its first row. `n` is the number
    of rows in groups that have a value.
    """
    import numpy as np

    from harness.stats import Sums, _clustered, _nan_ratio

    keys, sizes = (table.columns[f"stat:{options[name]}"] for name in ("key", "size"))
    groups: dict[Any, list[int]] = {}
    for i in np.flatnonzero(mask & ~np.isnan(table.score)).tolist():
        if keys[i] is not None:
            groups.setdefault(keys[i], []).append(i)
    values = np.zeros((len(table.ids), 2))
    rows = 0
    for members in groups.values():
        if len(members) == sizes[members[0]]:
            values[members[0]] = float(all(table.score[i] == 1 for i in members)), 1.0
            rows += len(members)
    return Sums(
        _clustered(table, values),
        lambda s: _nan_ratio(s[..., 0], s[..., 1]),
        rows,
        proportion=True,
    )


def sum_of(parts: "Sequence[tuple[Mapping[str, Any], Sums]]", options: Mapping[str, Any]) -> "Sums":
    """Sum of metrics (`where`, sums of each) times `options["scale"]`; None unless all have rows.

    Parts over the same rows count them once in `n`, as the fewest that a part of theirs used.
    """
    import numpy as np

    from harness.stats import Sums

    if not parts:
        raise DataError("a sum_of metric needs at least one part")
    scale = float(options.get("scale", 1.0))
    sums = [part for _, part in parts]
    ends = np.cumsum([part.by_cluster.shape[1] for part in sums])
    cuts = list(zip([0, *ends[:-1]], ends, strict=True))

    def of(s: "Floats") -> "Floats":
        total: Floats = scale * np.sum(
            [part.of(s[..., a:b]) for part, (a, b) in zip(sums, cuts, strict=True)], axis=0
        )
        return total

    used: dict[Any, int] = {}
    for where, part in parts:
        key = rows_key(where)
        used[key] = min(part.n, used.get(key, part.n))
    return Sums(
        np.concatenate([part.by_cluster for part in sums], axis=1),
        of,
        sum(used.values()) if all(used.values()) else 0,
        bounded=all(part.bounded for part in sums),
        interval=all(part.interval for part in sums),
        top=scale * sum(part.top for part in sums),
    )


def rows_key(where: Mapping[str, Any]) -> Any:
    """Return what two metrics over the same rows share."""
    return tuple(sorted((name, repr(value)) for name, value in where.items()))
