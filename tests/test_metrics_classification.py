"""Balanced accuracy, ROC-AUC and 11-point mAP against scikit-learn, with each sample left out."""

import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from harness.metrics import classification as rules
from harness.stats import estimate_all
from harness.types import Metric


def test_the_majority_class_has_a_balanced_accuracy_of_one_class():
    gold = np.array([0.0] * 90 + [1.0] * 6 + [2.0] * 4)
    assert rules.balanced_accuracy(gold, (gold == 0).astype(float)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(20))
def test_values_and_intervals_are_those_of_the_definitions(seed):
    """Against scikit-learn, as the toolkit calls it, with every sample left out in turn."""
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(seed)
    n = int(draw.integers(4, 40))
    gold = (draw.random((n, 3)) < 0.4).astype(float)
    gold[0], gold[1] = 1, 0
    scores = draw.integers(0, (4, 1000)[seed % 2], (n, 3)).astype(float)
    classes, right = draw.integers(0, 4, n).astype(float), (draw.random(n) < 0.5).astype(float)

    def theirs_map(kept):
        y, s = gold[kept], scores[kept]
        columns = [c for c in range(3) if y[:, c].any()]
        return np.mean([interpolated(metrics, y[:, c], s[:, c]) for c in columns])

    def theirs_balanced(kept):
        c, r = classes[kept], right[kept]
        return metrics.balanced_accuracy_score(c, np.where(r == 1, c, -1)) if len(set(c)) else 0

    def theirs_auc(kept):
        return metrics.roc_auc_score(gold[kept, 0], scores[kept, 0])

    whole = np.ones(n, bool)
    assert rules.map11(gold, scores) == pytest.approx(theirs_map(whole))
    assert rules.roc_auc(gold[:, 0], scores[:, 0]) == pytest.approx(theirs_auc(whole))
    assert rules._map11(gold, scores)[0] == pytest.approx(theirs_map(whole))
    assert rules._auc(gold[:, 0], scores[:, 0])[0] == pytest.approx(theirs_auc(whole))
    assert rules._balanced(classes, right)[0] == rules.balanced_accuracy(classes, right)
    for ours, theirs in (
        (rules._map11(gold, scores)[1], theirs_map),
        (rules._auc(gold[:, 0], scores[:, 0])[1], theirs_auc),
    ):
        for i in range(n):
            kept = np.arange(n) != i
            if 0 < gold[kept, 0].sum() < n - 1:
                assert ours[i] == pytest.approx(theirs(kept)), i
    with warnings.catch_warnings():  # our stand-in for a wrong class is none of the classes
        warnings.simplefilter("ignore")
        assert rules.balanced_accuracy(classes, right) == pytest.approx(theirs_balanced(whole))
        for i in range(n):
            kept = np.arange(n) != i
            assert rules._balanced(classes, right)[1][i] == pytest.approx(theirs_balanced(kept))


def interpolated(metrics, gold, scores):
    """VOC's 11 points as vision-evaluation reads them off scikit-learn's curve."""
    precision, recall, _ = metrics.precision_recall_curve(gold, scores)
    levels = np.linspace(1, 0, 11)
    return np.mean([precision[recall >= level].max() for level in levels])


@pytest.mark.parametrize("images", [30, 15])
def test_intervals_are_the_jackknifes(images):
    """The spread of the values without each image, also where two rows share one."""
    draw = random.Random(0)
    rows = [
        {"id": str(i), "cluster": str(i % images), "status": "scored", "score": 1.0, "groups": {},
         "stats": {"class": i % 2, "positive": draw.gauss(i % 2, 1)}}
        for i in range(30)
    ]  # fmt: skip
    metric = Metric("area", "roc_auc", options={"gold": "class", "value": "positive"})
    found = estimate_all(rows, [metric])["area"]
    gold, seen = (
        np.array([row["stats"][name] for row in rows], float) for name in metric.options.values()
    )
    whole = rules.roc_auc(gold, seen)
    changes = np.array(
        [rules.roc_auc(np.delete(gold, i), np.delete(seen, i)) - whole for i in range(30)]
    )
    left = np.array([changes[c::images].sum() for c in range(images)])  # first order for two rows
    error = np.sqrt((images - 1) / images * ((left - left.mean()) ** 2).sum())
    reach = 100 * student.ppf(0.975, images - 1) * error
    assert found.value == pytest.approx(100 * whole) and found.clusters == images
    assert found.low == pytest.approx(found.value - reach)
    assert found.high == pytest.approx(min(found.value + reach, 100))


def test_other_rows_and_failures_are_left_out():
    rows = [
        {"id": str(i), "cluster": str(i), "status": "failed" if i > 7 else "scored",
         "score": float(i % 3 == 0), "groups": {"set": "a" if i % 2 else "b"},
         "stats": {"class": i % 4} if i % 2 else {}}
        for i in range(12)
    ]  # fmt: skip
    found = estimate_all(
        rows, [Metric("x", "balanced_accuracy", {"set": "a"}, options={"gold": "class"})]
    )
    assert found["x"].value == 25.0 and (found["x"].n, found["x"].asked) == (4, 6)  # of 1, 3, 5, 7
    nothing = estimate_all(rows[:1], [Metric("x", "balanced_accuracy", options={"gold": "class"})])
    assert nothing["x"].value is None


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.integers(0, 10**6))
def test_leaving_everyone_out_averages_to_the_balanced_value(n, seed):
    """For two balanced classes the jackknife is unbiased; a slip of sign would show."""
    draw = random.Random(seed)
    gold = np.array([0.0, 1.0] * n)
    right = np.array([float(draw.random() < 0.6) for _ in gold])
    value, without = rules._balanced(gold, right)
    assert without.mean() == pytest.approx(value)
