"""Metrics and intervals against independent computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from harness.errors import UsageError
from harness.stats import estimate_all
from harness.types import Metric


def row(i, score, cluster=None, status="scored", groups=None, **stats):
    return {
        "id": str(i), "status": status, "score": score, "cluster": cluster or str(i),
        "groups": groups or {}, "stats": stats,
    }  # fmt: skip


def value(rows, metric, name=None):
    return estimate_all(rows, [metric])[name or metric.name]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=40))
def test_interval_of_independent_values_is_students(values):
    found = value([row(i, v) for i, v in enumerate(values)], Metric("m", percent=False))
    assert found.value == pytest.approx(np.mean(values), abs=1e-9)
    if np.ptp(values) > 1e-6 and not set(values) <= {0.0, 1.0} and min(values) < 0:
        error = reference.sem(values)
        low, high = reference.t.interval(0.95, len(values) - 1, np.mean(values), error)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-9)


def test_questions_repeated_on_one_image_do_not_narrow_the_interval():
    few = [row(i, float(i % 3 == 0), f"image{i}") for i in range(60)]
    many = [row(f"{i}/{k}", float(i % 3 == 0), f"image{i}") for i in range(60) for k in range(10)]
    one, ten = value(few, Metric("m")), value(many, Metric("m"))
    assert ten.n == 600 and ten.clusters == 60
    assert ten.low == pytest.approx(one.low, abs=0.02) and ten.high == pytest.approx(
        one.high, abs=0.02
    )


@pytest.mark.parametrize("right", [0, 24])
def test_all_right_or_all_wrong_is_not_certainty(right):
    found = value([row(i, float(i < right)) for i in range(24)], Metric("m"))
    assert found.high - found.low > 5 and 0 <= found.low <= found.value <= found.high <= 100


def test_coverage_of_the_clustered_interval_is_near_95_percent():
    draw = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        base = draw.beta(2, 2, size=40)
        rows = [
            row(f"{c}/{k}", float(draw.random() < p), str(c))
            for c, p in enumerate(base)
            for k in range(8)
        ]
        found = value(rows, Metric("m"))
        hits += found.low <= 50 <= found.high
    assert 0.91 <= hits / 400 <= 0.99


binary = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 5)), min_size=3)


@given(binary)
def test_binary_metrics_are_sklearn_free_textbook_values(rows):
    made = [row(i, float(g == y), f"c{c}", gold=g, yes=y) for i, (g, y, c) in enumerate(rows)]
    kinds = ["accuracy", "precision", "recall", "f1", "yes_ratio"]
    found = estimate_all(made, [Metric(kind, kind) for kind in kinds])
    gold = np.array([r[0] for r in rows])
    said = np.array([r[1] for r in rows])
    hit = int((gold & said).sum())
    precision = hit / said.sum() if said.sum() else 0.0
    recall = hit / gold.sum() if gold.sum() else 0.0
    both = precision + recall
    expected = {
        "accuracy": (gold == said).mean(),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / both if both else 0.0,
        "yes_ratio": said.mean(),
    }
    for kind in kinds:
        assert found[kind].value == pytest.approx(100 * expected[kind])
        if found[kind].low is not None:
            assert 0 <= found[kind].low <= found[kind].value + 1e-9
            assert found[kind].value - 1e-9 <= found[kind].high <= 100


def test_f1_interval_agrees_with_a_cluster_bootstrap():
    draw = np.random.default_rng(1)
    clusters = 200
    gold = draw.integers(0, 2, (clusters, 6))
    flips = draw.random((clusters, 6)) < draw.beta(1, 6, (clusters, 1))
    said = np.where(flips, 1 - gold, gold)
    rows = [
        row(f"{c}/{k}", 0.0, str(c), gold=int(gold[c, k]), yes=int(said[c, k]))
        for c in range(clusters)
        for k in range(6)
    ]
    found = value(rows, Metric("f1", "f1"))
    picks = draw.integers(0, clusters, (4000, clusters))
    hit = (gold & said).sum(1)[picks].sum(1)
    f1 = 200 * hit / (gold.sum(1)[picks].sum(1) + said.sum(1)[picks].sum(1))
    low, high = np.percentile(f1, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.4) and found.high == pytest.approx(high, abs=0.4)


def test_failed_missing_and_unjudged_rows_never_enter_but_are_counted_as_asked():
    rows = [row(i, 1.0) for i in range(8)]
    rows += [row("f", None, status="failed"), row("m", None, status="missing")]
    rows += [row("u", None, status="unjudged"), row("p", 0.0, status="unparsed")]
    found = value(rows, Metric("m"))
    assert (found.n, found.asked) == (9, 12) and found.value == pytest.approx(800 / 9)


def test_mean_of_is_unweighted_and_absent_when_a_part_is():
    rows = [row(i, 1.0, groups={"s": "a"}) for i in range(30)] + [row("z", 0.0, groups={"s": "b"})]
    parts = [Metric("a", where={"s": "a"}), Metric("b", where={"s": "b"})]
    mean = Metric("mean", "mean_of", options={"of": ["a", "b"]})
    assert estimate_all(rows, [*parts, mean])["mean"].value == pytest.approx(50)
    assert estimate_all(rows[:-1], [*parts, mean])["mean"].value is None


def test_by_makes_one_metric_per_value_in_order():
    rows = [row(i, float(i < 2), groups={"steps": i % 3 or None}) for i in range(6)]
    found = estimate_all(rows, [Metric("steps", by="steps")])
    assert {name: e.n for name, e in found.items()} == {"steps.1": 2, "steps.2": 2}


def test_linked_mean_is_over_right_rows_with_links_to_others():
    rows = [
        row("a", 1.0, "i", links=["a", "b", "c"]),  # b right, c wrong: 0.5
        row("b", 1.0, "i", links=["a"]),  # 1.0
        row("c", 0.0, "i", links=["a"]),  # wrong: not counted
        row("d", 1.0, "j", links=["d"]),  # only itself: not counted
    ]
    found = value(rows, Metric("m", "linked_mean", options={"links": "links"}))
    assert found.value == pytest.approx(75) and found.n == 2


def test_distribution_by_hand():
    golds = ["red", "red", "blue", "yes"]
    preds = ["red", "blue", "green", "yes"]
    groups = ["colour", "colour", "colour", None]
    rows = [
        row(i, 0.0, groups={"g": k}, gold=g, pred=p)
        for i, (g, p, k) in enumerate(zip(golds, preds, groups, strict=True))
    ]
    options = {"gold": "gold", "pred": "pred", "group": "g"}
    found = value(rows, Metric("d", "distribution", options=options, percent=False))
    # red: (1 - 2)^2 / 2; blue: (1 - 1)^2 / 1; green was never gold
    assert found.value == pytest.approx(0.5 / 100) and found.low is None


def test_unknown_kind_says_what_exists():
    with pytest.raises(UsageError, match="did you mean f1"):
        value([row(0, 1.0)], Metric("m", "f2"))


@settings(max_examples=30)
@given(binary, st.randoms())
def test_order_of_rows_does_not_matter(rows, shuffle):
    made = [row(i, float(g == y), f"c{c}", gold=g, yes=y) for i, (g, y, c) in enumerate(rows)]
    first = value(made, Metric("f1", "f1"))
    shuffle.shuffle(made)
    second = value(made, Metric("f1", "f1"))
    assert first.value == pytest.approx(second.value)
    assert first.low == pytest.approx(second.low) if first.low is not None else second.low is None
