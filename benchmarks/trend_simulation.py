"""How often a history rings although nothing changed, and how often it finds what did.

    python benchmarks/trend_simulation.py [histories]

Histories of releases on the same items: items are hard or easy, answers on one image hang together,
and every release draws its answers anew (a retrained model). Beside harness/shifts.py stand two
rules that dashboards use: "a point": a release differs by more than a point from the one before;
"no overlap": its 95 % interval does not touch that of the one before. docs/reports.md has the
numbers.
"""

import sys

import numpy as np

from harness.shifts import shifts

SIZES = ((4, 24, 3), (12, 40, 6), (12, 398, 10))
"""Releases, images, questions on each."""
STEPS = (0.0, -0.005, -0.01, -0.02, -0.04)


def history(
    random: np.random.Generator, runs: int, images: int, per: int, step: float
) -> np.ndarray:
    """Return (runs, images, 2) right answers and answers; the last third moves by `step`."""
    hard = random.beta(1.4, 0.6, (1, images, 1))
    moved = hard + random.normal(0, 0.08, (runs, images, 1))
    moved[2 * runs // 3 :] += step
    right = random.random((runs, images, per)) < np.clip(moved, 0, 1)
    return np.stack([right.sum(axis=2), np.full((runs, images), per)], axis=-1).astype(float)


def accuracy(sums: np.ndarray) -> np.ndarray:
    """Return the share of right answers."""
    return sums[..., 0] / sums[..., 1]


def intervals(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return clustered 95 % ends of every release."""
    value = accuracy(sums.sum(axis=1))
    rest = sums[..., 0] - value[:, None] * sums[..., 1]
    images = sums.shape[1]
    error = np.sqrt(images / (images - 1) * (rest**2).sum(axis=1)) / sums[..., 1].sum(axis=1)
    return value - 1.96 * error, value + 1.96 * error


def main() -> None:
    """Print one line per size and step."""
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{asked} histories each, {5 * asked} without a step; per cent that ring")
    print("there: within one release of the step")
    print("releases x images x questions | step | change point | there | a point | no overlap")
    for runs, images, per in SIZES:
        for step in STEPS:
            tries = asked if step else 5 * asked
            random = np.random.default_rng(1)
            rang = there = point = apart = 0
            for seed in range(tries):
                sums = history(random, runs, images, per, step)
                found = [one.at for one in shifts(sums, accuracy, resamples=199, seed=seed)]
                rang += bool(found)
                there += any(abs(at - 2 * runs // 3) <= 1 for at in found)
                values = accuracy(sums.sum(axis=1))
                point += bool((np.abs(np.diff(values)) > 0.01).any())
                low, high = intervals(sums)
                apart += bool(((low[1:] > high[:-1]) | (high[1:] < low[:-1])).any())
            cells = " | ".join(f"{100 * n / tries:5.1f}" for n in (rang, there, point, apart))
            print(f"{runs:2d} x {images:4d} x {per:2d} | {100 * step:+.1f} | {cells}", flush=True)


if __name__ == "__main__":
    main()
