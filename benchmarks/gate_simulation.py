"""How often does the gate cry wolf, and what does it miss? Next to a threshold and to no clusters.

    python benchmarks/gate_simulation.py [REPETITIONS]

Eight tasks of the sizes that we run, with the share of items whose score changes and the
correlation within an image chosen so that each has the minimum detectable effect that was measured
for it. Each release is drawn as per-cluster sums of paired differences and judged by the code that
judges real runs (reports/gate/verdict.py). Percentages are of releases.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from harness.paired import Change, sign_flip
from reports.gate.config import Tier
from reports.gate.verdict import Evidence, decide

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """A task: how much of it there is, and how two releases differ on it by chance."""

    items: int
    clusters: int
    changed: float
    """Share of items whose score changes."""
    icc: float
    """Correlation of paired differences within a cluster."""
    tier: Tier = "standard"
    uneven: bool = False


SIZES = {
    "vcr": Size(26_534, 9_929, 0.12, 0.05, "critical"),
    "elevater": Size(20_000, 20_000, 0.10, 0.0),
    "pope": Size(9_000, 500, 0.06, 0.028, "critical"),
    "sherlock": Size(9_000, 3_000, 0.10, 0.05),
    "gqa": Size(12_578, 398, 0.08, 0.03, "critical", uneven=True),
    "refcoco": Size(5_657, 750, 0.12, 0.054),
    "scienceqa": Size(2_017, 2_017, 0.10, 0.0),
    "llava_bench": Size(60, 24, 0.05, 0.05, "advisory"),
}
TRUTHS: dict[str, dict[str, float]] = {
    "no change": {},
    "every task -0.2": dict.fromkeys(SIZES, -0.2),
    "every task -0.5": dict.fromkeys(SIZES, -0.5),
    "every task -1": dict.fromkeys(SIZES, -1.0),
    "VCR -0.5 only (inside the margin)": {"vcr": -0.5},
    "GQA -1 only (critical)": {"gqa": -1.0},
    "RefCOCO -3": {"refcoco": -3.0},
    "POPE -2": {"pope": -2.0},
    "ScienceQA -2.5": {"scienceqa": -2.5},
    "GQA +1, RefCOCO -2": {"gqa": 1.0, "refcoco": -2.0},
}


def cluster_sizes(size: Size, random: np.random.Generator) -> Floats:
    """Return how many items each cluster has."""
    if not size.uneven:
        base, more = divmod(size.items, size.clusters)
        return np.array([base + (i < more) for i in range(size.clusters)], np.float64)
    weights = random.gamma(3.0, size=size.clusters)
    return 1.0 + random.multinomial(size.items - size.clusters, weights / weights.sum())


def one_task(size: Size, shift: float, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw per-cluster sums of differences of 0/1 scores with mean `shift`, and cluster sizes.

    An item's score changes with probability `changed`; whether for better is drawn with a
    probability that differs between clusters just so much that differences correlate by `icc`.
    """
    sizes = cluster_sizes(size, random)
    tilt = sqrt(size.icc / (4 * size.changed)) * random.choice([-1.0, 1.0], size.clusters)
    better = np.clip(0.5 + shift / (2 * size.changed) + tilt, 0, 1)
    changed = random.binomial(sizes.astype(int), size.changed)
    return 2.0 * random.binomial(changed, better) - changed, sizes


def judged(clusters: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw sums of differences of graded answers, as of a judge: 60 of them, unevenly spread."""
    sizes = 1.0 + random.multinomial(60 - clusters, np.full(clusters, 1 / clusters))
    shared = random.normal(0, 0.5, clusters) * sizes
    return shared + random.normal(0, 1, clusters) * np.sqrt(sizes), sizes


CASES = {
    "12 clusters, graded answers": lambda random: judged(12, random),
    "24 clusters, graded answers": lambda random: judged(24, random),
    "398 clusters (GQA)": lambda random: one_task(SIZES["gqa"], 0.0, random),
    "500 clusters (POPE)": lambda random: one_task(SIZES["pope"], 0.0, random),
    "12 clusters, 60 answers of 0 or 1": lambda random: one_task(
        Size(60, 12, 0.3, 0.1), 0.0, random
    ),
    "2,017 single items, 10 % change": lambda random: one_task(SIZES["scienceqa"], 0.0, random),
}
"""Data on which nothing changed. Where there are few outcomes, ties make any exact test timid."""


def size_of(case: str, repetitions: int, *, resamples: int, seed: int) -> float:
    """Return how often the test rejects at 5 % when nothing changed."""
    random = np.random.default_rng(seed)
    rejected = 0
    for repetition in range(repetitions):
        change = sign_flip(*CASES[case](random), resamples=resamples, seed=repetition)
        rejected += change is not None and change.p_worse <= 0.05
    return rejected / repetitions


@dataclass(frozen=True)
class Rates:
    """Shares of releases."""

    gate_block: float
    gate_undecided: float
    gate_pass: float
    gate_warn: float
    """Of all releases; part of those that pass."""
    threshold_block: float
    """Any task down by more than a point, advisory ones too, as such rules do."""
    unclustered_block: float
    """The same gate on items that are taken to be independent."""


def simulate(
    truth: Mapping[str, float], repetitions: int, *, seed: int = 0, resamples: int = 1999
) -> Rates:
    """Return what three designs do with releases that truly change by `truth` points."""
    random = np.random.default_rng(seed)
    seen = dict.fromkeys(("REGRESSED", "UNDECIDED", "PASS", "WARN"), 0)
    threshold = unclustered = 0
    for repetition in range(repetitions):
        evidence, apart = {}, {}
        worst = 0.0
        for name, size in SIZES.items():
            sums, sizes = one_task(size, truth.get(name, 0.0) / 100, random)
            change = sign_flip(sums, sizes, resamples=resamples, seed=repetition)
            assert change
            worst = min(worst, 100 * change.value)
            evidence[name] = Evidence(size.tier, change.scaled(100), 1.0)
            apart[name] = Evidence(size.tier, naive(sums, sizes, size), 1.0)
        seen[decide(evidence).status] += 1
        unclustered += decide(apart).status == "REGRESSED"
        threshold += worst < -1.0
    rate = {name: count / repetitions for name, count in seen.items()}
    return Rates(
        rate["REGRESSED"], rate["UNDECIDED"], rate["PASS"] + rate["WARN"], rate["WARN"],
        threshold / repetitions, unclustered / repetitions,
    )  # fmt: skip


def naive(sums: Floats, sizes: Floats, size: Size) -> Change:
    """Return the change in points with the error of independent items, tested by z."""
    from scipy.special import ndtr

    n = float(sizes.sum())
    value = float(sums.sum()) / n
    error = sqrt(max(size.changed - value**2, 1e-12) / n)
    p = float(ndtr(value / error))
    return Change(100 * value, 100 * error, n - 1, p, 2 * min(p, 1 - p), len(sizes), "jackknife")


def main() -> None:
    """Print the tables."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    print(f"false alarms of the test at 5 %, {4 * repetitions:,} repetitions")
    for at, case in enumerate(CASES):
        rate = size_of(case, 4 * repetitions, resamples=1999, seed=at)
        print(f"  {case:<36} {rate:6.1%}", flush=True)
    print(f"\nreleases, {repetitions:,} each: % of them (+-{98 / repetitions**0.5:.1f} at most)")
    print(f"{'':<36} gate: block undecided   pass (warn)   threshold   unclustered")
    for name, truth in TRUTHS.items():
        r = simulate(truth, repetitions, seed=len(name))
        print(
            f"{name:<36} {100 * r.gate_block:>11.1f} {100 * r.gate_undecided:>9.1f} "
            f"{100 * r.gate_pass:>6.1f} {100 * r.gate_warn:>6.1f} {100 * r.threshold_block:>11.1f} "
            f"{100 * r.unclustered_block:>13.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
