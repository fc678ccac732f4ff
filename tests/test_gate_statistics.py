"""The paired tests against brute force, textbooks and simulation."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.gate_simulation import CASES, SIZES, one_task, simulate, size_of
from harness.paired import (
    benjamini_hochberg,
    holm,
    jackknife,
    pooled,
    sign_flip,
    unchanged_bound,
)
from harness.stats import Sums


def discordant(wins: int, losses: int, same: int = 20) -> np.ndarray:
    return np.concatenate([np.ones(wins), -np.ones(losses), np.zeros(same)])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 14).flatmap(lambda k: st.tuples(st.integers(0, k), st.just(k))))
def test_single_items_of_zero_and_one_are_mcnemar_exactly(found):
    wins, k = found
    change = sign_flip(d := discordant(wins, k - wins), np.ones(len(d)))
    exact = stats.binomtest(wins, k, alternative="less").pvalue if k else 1.0
    assert change.method == "sign-flip exact" and change.p_worse == pytest.approx(exact)


@pytest.mark.parametrize(("wins", "losses"), [(20, 35), (100, 120), (40, 40), (3, 30)])
def test_many_items_are_mcnemar_up_to_chance(wins, losses):
    change = sign_flip(d := discordant(wins, losses, 900), np.ones(len(d)))
    exact = stats.binomtest(wins, wins + losses, alternative="less").pvalue
    assert abs(change.p_worse - exact) < 4 * np.sqrt(exact * (1 - exact) / 10_000) + 1.1e-4


def by_hand(sums, sizes):
    """Return both p of the studentised sign-flip by its definition, one set of signs at a time."""

    def t(s):
        mean = s.sum() / sizes.sum()
        spread = np.sqrt(((s - sizes * mean) ** 2).sum())
        return s.sum() / spread if spread > 1e-12 else np.sign(s.sum()) * np.inf

    drawn = np.array([t(np.array(signs) * sums) for signs in product((-1, 1), repeat=len(sums))])
    seen = t(sums)
    return (drawn <= seen + 1e-9).mean(), (np.abs(drawn) >= abs(seen) - 1e-9).mean()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 9))
def test_uneven_clusters_are_flipped_whole(seed, clusters):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 30, clusters).astype(float)
    sums = random.normal(0, 2, clusters)
    change = sign_flip(sums, sizes)
    assert (change.p_worse, change.p) == pytest.approx(by_hand(sums, sizes))


def test_random_signs_give_what_all_signs_give():
    random = np.random.default_rng(5)
    sizes, sums = random.integers(1, 9, 15).astype(float), random.normal(-0.5, 2, 15)
    change = sign_flip(sums, sizes)
    assert change.method == "sign-flip"
    assert (change.p_worse, change.p) == pytest.approx(by_hand(sums, sizes), abs=0.02)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_order_of_clusters_does_not_matter_and_sides_mirror(seed):
    random = np.random.default_rng(seed)
    sums, sizes = random.integers(-3, 4, 12).astype(float), np.full(12, 4.0)
    one, other = sign_flip(sums, sizes), sign_flip(-sums[::-1], sizes)
    assert (one.value, one.p) == pytest.approx((-other.value, other.p))
    assert one.error == pytest.approx(other.error) and 0 < one.p_worse <= 1


def test_single_items_have_the_interval_of_the_paired_t_test():
    random = np.random.default_rng(1)
    a, b = random.random(50), random.random(50)
    test = stats.ttest_rel(b, a)
    low, high = sign_flip(b - a, np.ones(50)).interval()
    assert (low, high) == pytest.approx(tuple(test.confidence_interval()))
    sums = [Sums(np.stack([x, np.ones(50)], axis=1), lambda s: s[..., 0] / s[..., 1], 50)
            for x in (a, b)]  # fmt: skip
    change = jackknife(*sums)
    assert change.interval() == pytest.approx((low, high))
    assert change.p == pytest.approx(test.pvalue)


def test_a_constant_fall_of_a_corpus_metric_is_seen_and_not_called_impossible():
    """lmms-eval gives a constant yes-ratio that falls from 1 to 0 the error of accuracy."""
    ones, zeros = (
        Sums(np.tile([value, 1.0], (20, 1)), lambda s: s[..., 0] / s[..., 1], 20)
        for value in (1, 0)
    )
    change = jackknife(ones, zeros)
    assert (change.value, change.error, change.p_worse) == (-1.0, 0.0, 2.0**-20)


def test_corrections_for_many_tests():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    )
    p = {str(i): x for i, x in enumerate(np.random.default_rng(0).random(30) ** 3)}
    expected = stats.false_discovery_control(list(p.values()))
    assert list(map(benjamini_hochberg(p).get, p)) == pytest.approx(list(expected))


def test_no_change_in_few_clusters_proves_little():
    assert 1 - (1 + unchanged_bound(30, 0.05)) == pytest.approx(1 - 0.05 ** (1 / 30))
    assert unchanged_bound(30, 0.05) < -0.09 and unchanged_bound(14_000, 0.05) > -0.001


def test_small_drops_of_many_tasks_add_up():
    random = np.random.default_rng(2)
    drops = [sign_flip(random.normal(-0.05, 0.5, 300), np.ones(300)) for _ in range(9)]
    assert pooled(drops).p_worse < min(c.p_worse for c in drops) / 10
    assert pooled(drops, floor=0.2).p_worse > 0.9 and pooled(drops[:1]) is None


@pytest.mark.parametrize("case", list(CASES)[:4])
def test_the_false_alarm_rate_of_the_test_is_what_it_says(case):
    repetitions = 3000
    rate = size_of(case, repetitions, resamples=499, seed=4)
    chance = 2.58 * np.sqrt(0.05 * 0.95 / repetitions)
    assert 0.04 - chance < rate < 0.06 + chance


@pytest.mark.parametrize("case", list(CASES)[4:])
def test_few_outcomes_make_the_test_timid_and_never_bold(case):
    assert size_of(case, 2000, resamples=499, seed=4) < 0.06


def test_the_gate_as_a_whole_cries_wolf_rarely_and_sees_a_uniform_loss():
    """The full simulation, with the other designs beside it, is benchmarks/gate_simulation.py."""
    unchanged = simulate({}, 500, seed=1, resamples=499)
    assert unchanged.gate_block <= 0.05 + 2.33 * np.sqrt(0.05 * 0.95 / 500)
    assert unchanged.threshold_block > 0.25  # and this is what it is for
    lower = simulate(dict.fromkeys(SIZES, -0.5), 500, seed=2, resamples=499)
    assert lower.gate_block >= 0.80


def test_the_simulation_makes_what_it_says():
    size = SIZES["gqa"]
    random = np.random.default_rng(0)
    means = [one_task(size, -0.01, random)[0].sum() / size.items for _ in range(400)]
    assert np.mean(means) == pytest.approx(-0.01, abs=0.001)
    assert np.std(means) == pytest.approx(0.97 / 100 / 2.486, rel=0.15)
