"""The forecast against what then happens, and the self-test against a gate that is broken."""

import math

import numpy as np
import pytest
from gate_runs import noisy, record, task
from hypothesis import given
from hypothesis import strategies as st

from harness.paired import detectable, sign_flip
from reports.comparable import load
from reports.gate import plan, selftest
from reports.gate.config import Config, TaskConfig


def test_the_detectable_loss_is_detected_four_times_out_of_five():
    random = np.random.default_rng(0)
    n, changed = 2000, 0.10
    loss = detectable(math.sqrt(changed / n))
    found = 0
    for seed in range(400):
        worse = random.random(n) < 0.5 + loss / (2 * changed)
        d = np.where(random.random(n) < changed, np.where(worse, -1.0, 1.0), 0.0)
        found += sign_flip(d, np.ones(n), resamples=499, seed=seed).p_worse <= 0.05
    assert found / 400 == pytest.approx(0.80, abs=0.06)


def test_the_chance_of_undecided_is_what_happens():
    random = np.random.default_rng(1)
    n = 2000
    error = math.sqrt(0.10 / n)
    undecided = 0
    for _ in range(2000):
        d = random.choice([-1.0, 0.0, 1.0], n, p=[0.05, 0.9, 0.05])
        mean, se = d.mean(), d.std(ddof=1) / math.sqrt(n)
        undecided += mean - 1.6456 * se <= -0.02
    assert undecided / 2000 == pytest.approx(plan.undecided_chance(error, 0.02, 0.05), abs=0.03)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_clusters_never_make_a_guess_more_precise(sizes):
    alone = plan.guessed_error([1] * sum(sizes))
    assert plan.guessed_error(sizes) >= alone * (1 - 1e-12)


def test_llava_bench_of_60_questions_cannot_see_a_point(tmp_path):
    record(tmp_path / "base", noisy(0.3, 1), task(60, per_image=3))
    base = {"pope": load(tmp_path / "base")}
    (found,) = plan.forecast(Config(tasks={"pope": TaskConfig(tier="advisory")}), base)
    assert found.mde > 7 and "blind to it" in plan.text([found])
    assert found.items_needed > 60 * 50 and found.repeats is None


def test_history_takes_the_place_of_the_guess_and_prices_add_up(tmp_path):
    made = task(2000)
    for i, name in enumerate(("base", "old")):
        record(tmp_path / name, noisy(0.1, i), made)
    base = {"pope": load(tmp_path / "base")}
    (guess,) = plan.forecast(Config(), base)
    (found,) = plan.forecast(Config(), base, [load(tmp_path / "old")], price_in=5, price_out=10)
    assert "guessed" in guess.source and "measured against old" in found.source
    assert found.discordance == pytest.approx(0.18, abs=0.03)
    assert found.error == pytest.approx(100 * math.sqrt(0.18 / 2000), rel=0.1)
    assert found.money is None and found.tokens is None  # nobody counted tokens


def test_alarms_are_counted_on_swapped_sides(tmp_path):
    made = task(1000, per_image=2)
    runs = {}
    for i, name in enumerate(("base", "cand")):
        record(tmp_path / name, noisy(0.2, i), made)
        runs[name] = {"pope": load(tmp_path / name)}
    found = selftest.alarms(Config(margin=0.0), runs["base"], runs["cand"], draws=400)
    assert found.blocked / 400 <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 400)
    assert found.noise["pope"][0] == 1000 and found.noise["pope"][1] == found.noise["pope"][2] > 200


def test_a_gate_that_lets_everything_through_fails_its_self_test(tmp_path):
    record(tmp_path / "base", noisy(0.1, 1), task(2000))
    base = {"pope": load(tmp_path / "base")}
    deaf = Config(tasks={"pope": TaskConfig(margin=99.0, coverage=0.0, parse_fail=1.0)})
    trials = {t.fault: t for t in selftest.faults(deaf, base)}
    assert not trials["the judge away for 20 %"].ok
    assert not trials["a fifth of the clusters answered wrongly"].ok
    assert trials["nothing changed"].ok and trials["F1 to 0 at equal accuracy"].found is None
