"""Change points: rare where nothing changed, found where something did."""

import numpy as np
import pytest

from harness.shifts import BLOCKS, shifts


def history(
    seed: int, runs: int, clusters: int, per: int, *, step: float = 0.0, at: int = 0
) -> np.ndarray:
    """Return (runs, clusters, 2) right answers and answers; clusters differ and vary together."""
    random = np.random.default_rng(seed)
    hard = random.beta(2, 1, (1, clusters, 1))
    moved = hard + random.normal(0, 0.15, (runs, clusters, 1))
    moved[at:] += step if at else 0.0
    right = random.random((runs, clusters, per)) < np.clip(moved, 0, 1)
    return np.stack([right.sum(axis=2), np.full((runs, clusters), per)], axis=-1).astype(float)


def accuracy(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def f1_like(sums: np.ndarray) -> np.ndarray:
    """Return a metric that is no mean."""
    return 2 * sums[..., 0] / (sums[..., 0] + sums[..., 1])


@pytest.mark.parametrize(
    ("runs", "clusters", "per", "of"),
    [(2, 24, 3, accuracy), (6, 12, 5, accuracy), (12, 40, 6, f1_like), (15, 30, 1, accuracy)],
)
def test_a_flat_history_rings_in_at_most_one_of_twenty(runs, clusters, per, of):
    tries = 300
    rang = sum(
        bool(shifts(history(seed, runs, clusters, per), of, resamples=99, seed=seed))
        for seed in range(tries)
    )
    assert rang <= 0.05 * tries + 3 * (0.05 * 0.95 * tries) ** 0.5  # three standard errors
    assert rang > 0  # a test that never rings is none


def test_a_change_is_found_where_it_is():
    found = [
        shifts(history(s, 10, 200, 3, step=-0.12, at=6), accuracy, resamples=199) for s in range(20)
    ]
    assert sum([f.at for f in one] == [6] for one in found) >= 17
    first = next(one[0] for one in found if [f.at for f in one] == [6])
    assert first.after - first.before == pytest.approx(-0.1, abs=0.04) and first.p < 0.01


def test_two_changes_are_two():
    sums = history(1, 12, 300, 4)
    sums[4:8, :, 0] = np.clip(sums[4:8, :, 0] - 1, 0, None)
    assert [one.at for one in shifts(sums, accuracy, resamples=199)] == [4, 8]


def test_the_level_is_kept_and_the_same_seed_says_the_same():
    sums = history(3, 8, 200, 4, step=0.15, at=4)
    (one,) = shifts(sums, accuracy, seed=5)
    assert [one] == shifts(sums, accuracy, seed=5)
    assert shifts(sums, accuracy, alpha=one.p / 2, seed=5) == []


def test_nothing_is_said_of_what_has_no_value():
    same = np.repeat(history(1, 1, 30, 4), 6, axis=0)
    assert shifts(same, accuracy) == []  # one model, blessed six times
    assert shifts(same[:1], accuracy) == []
    empty = np.zeros((4, 30, 2))
    with np.errstate(invalid="ignore"):
        assert shifts(empty, accuracy) == []


def test_many_clusters_are_shuffled_in_blocks_and_lose_nothing():
    sums = history(2, 5, 10 * BLOCKS + 7, 1)
    moved = sums.copy()
    moved[3:, :, 0] *= 0.7
    assert [one.at for one in shifts(moved, accuracy, resamples=199)] == [3]
    (one,) = shifts(moved, accuracy, resamples=199)
    assert one.before == pytest.approx(accuracy(moved.sum(axis=1))[:3].mean())
