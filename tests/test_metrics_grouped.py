"""Metrics over groups: against plain counting, with gaps, and what a sum needs."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.stats import estimate_all
from harness.types import Metric

WHOLE = Metric("whole", "all_right", options={"key": "of", "size": "size"})
MEAN = Metric("mean")
SUM = Metric("sum", "sum_of", options={"of": ["mean", "whole"], "scale": 100}, percent=False)


def row(number: int, group: Any, score: float | None, size: int, **more: Any) -> dict[str, Any]:
    return {
        **{"id": str(number), "cluster": str(group), "groups": {}, "score": score},
        **{"status": "failed" if score is None else "scored"},
        **{"stats": {} if score is None else {"of": group, "size": size}},
    } | more


groups = st.lists(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=4), max_size=12)


@given(groups, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_group_counts_if_all_of_its_rows_are_there(
    made: list[list[float | None]], order: random.Random
) -> None:
    rows = [
        row(10 * g + i, g, score, len(scores))
        for g, scores in enumerate(made)
        for i, score in enumerate(scores)
    ]
    order.shuffle(rows)
    found = estimate_all(rows, [WHOLE])["whole"]
    complete = [scores for scores in made if None not in scores]
    assert found.n == sum(map(len, complete)) and found.asked == len(rows)
    if complete:
        right = sum(all(score == 1 for score in scores) for scores in complete)
        assert found.value == pytest.approx(100 * right / len(complete))
        if found.low is not None:  # a few units of rounding aside
            assert 0 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= 100
    else:
        assert found.value is None


def test_a_group_cut_short_has_no_value() -> None:
    rows = [row(0, "a", 1.0, 2), row(1, "b", 1.0, 2), row(2, "b", 1.0, 2)]  # of "a" one was asked
    found = estimate_all(rows, [WHOLE])["whole"]
    assert (found.value, found.n, found.asked, found.clusters) == (100, 2, 3, 1)


def test_groups_of_some_rows() -> None:
    rows = [
        row(i, i // 2, float(i != 3), 2, groups={"kind": "x" if i < 4 else "y"}) for i in range(8)
    ]
    by_kind = Metric("k", "all_right", by="kind", options={"key": "of", "size": "size"})
    found = estimate_all(rows, [by_kind])
    assert {name: e.value for name, e in found.items()} == {"k.x": 50, "k.y": 100}


def test_a_sum_is_the_jackknife_of_its_parts_together() -> None:
    draw = random.Random(3)
    scores = [[float(draw.random() < 0.7) for _ in range(2)] for _ in range(40)]
    rows = [row(2 * g + i, g, s, 2) for g, pair in enumerate(scores) for i, s in enumerate(pair)]
    found = estimate_all(rows, [MEAN, WHOLE, SUM])["sum"]
    each = np.array([100 * (sum(pair) / 2 + all(pair)) for pair in scores])  # equal group sizes
    error = each.std(ddof=1) / 40**0.5
    assert found.value == pytest.approx(each.mean()) and (found.n, found.asked) == (80, 80)
    assert found.high - found.value == pytest.approx(2.022691 * error, rel=1e-6)  # t, 39 d.f.


def test_the_interval_of_a_sum_stays_within_its_range() -> None:
    some = [row(i, i // 2, float(i > 1), 2) for i in range(6)]  # two pairs right, one wrong
    found = estimate_all(some, [MEAN, WHOLE, SUM])["sum"]
    assert found.value == pytest.approx(400 / 3) and (found.low, found.high) == (0, 200)
    every = [row(i, i // 2, 1.0, 2) for i in range(20)]
    found = estimate_all(every, [MEAN, WHOLE, SUM])
    assert (found["sum"].value, found["sum"].high) == (200, 200)
    assert found["sum"].low == pytest.approx(2 * found["mean"].low)  # not printed as certainty


def test_a_sum_needs_all_of_its_parts() -> None:
    rows = [row(0, 0, 1.0, 2)]  # a mean, but no whole pair
    found = estimate_all(rows, [MEAN, WHOLE, SUM])
    assert found["mean"].value == 100 and found["sum"].value is None and found["sum"].n == 0
    with pytest.raises(DataError, match="at least one part"):
        estimate_all(rows, [Metric("none", "sum_of", options={"of": []})])
