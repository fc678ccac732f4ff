"""Numbers of model-graded tasks that are no plain means: LLaVA's relative score.

`llava/eval/summarize_gpt_review.py` of haotian-liu/LLaVA: the mean of the reference's points and of
the candidate's, each rounded to three decimals, then their ratio in per cent to one decimal. A
ratio of means, not a mean of ratios, and it may exceed 100. With several votes per answer each vote
is one review file: its number is computed alone and the mean of the numbers is printed, as the
paper does. Intervals and resampling use the unrounded ratio.

Options: `value` (the statistic that holds the votes, each a mapping with `ref` and `cand`, or
None), `of` ("ratio", "ref" or "cand"), `rounding` ("llava"; "late": only the end is rounded).
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.stats import Floats, Frame, Sums


def judged(table: "Frame", mask: "NDArray[np.bool_]", options: Mapping[str, Any]) -> "Sums":
    """Return sums (clusters, 3 x votes): the reference's points, the candidate's, and rows."""
    import numpy as np

    from harness.stats import Sums, _clustered

    column = table.columns[f"stat:{options['value']}"]
    rows = np.flatnonzero(mask).tolist()
    votes = max((len(column[i] or ()) for i in rows), default=0)
    values = np.zeros((len(table.ids), max(votes, 1), 3))
    for i in rows:
        for j, vote in enumerate(column[i] or ()):
            if vote is not None:
                values[i, j] = vote["ref"], vote["cand"], 1
    of = _points(options["of"]) if options["of"] != "ratio" else _ratio
    early = options.get("rounding", "llava") == "llava"
    return Sums(
        _clustered(table, values.reshape(len(table.ids), max(votes, 1) * 3)),
        lambda s: _over_votes(s, of, digits=None),
        int((values[:, :, 2].sum(axis=1) > 0).sum()),
        bounded=False,
        printed=lambda s: _over_votes(s, of, digits=3 if early else 9),
    )


def _over_votes(
    sums: "Floats", of: Callable[["Floats", "Floats"], "Floats"], digits: int | None
) -> "Floats":
    """Return the mean over votes of a function of the two means; NaN where no vote was readable."""
    import numpy as np

    parts = sums.reshape(*sums.shape[:-1], -1, 3)
    count = parts[..., 2]
    means = np.full((*parts.shape[:-1], 2), np.nan)
    np.divide(parts[..., :2], count[..., None], out=means, where=count[..., None] > 0)
    if digits is not None:
        means = _rounded(means, digits)
    values = of(means[..., 0], means[..., 1])
    if digits is not None:
        values = _rounded(values, 1)
    seen = ~np.isnan(values)
    total: Floats = np.full(seen.shape[:-1], np.nan)
    np.divide(
        np.where(seen, values, 0.0).sum(axis=-1), seen.sum(axis=-1), out=total, where=seen.any(-1)
    )
    return total


def _rounded(values: "Floats", digits: int) -> "Floats":
    """Round as Python's round does; numpy's scales first and differs in the last digit."""
    import numpy as np

    flat = [round(value, digits) for value in values.ravel().tolist()]
    return np.array(flat).reshape(values.shape)


def _ratio(ref: "Floats", cand: "Floats") -> "Floats":
    import numpy as np

    share: Floats = np.full(ref.shape, np.nan)
    np.divide(cand, ref, out=share, where=ref != 0)
    return share * 100


def _points(which: str) -> Callable[["Floats", "Floats"], "Floats"]:
    """Return one side's mean on a scale to 100."""
    return lambda ref, cand: (ref if which == "ref" else cand) * 10
