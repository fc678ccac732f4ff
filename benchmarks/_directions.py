"""The table of directions that the wind tunnels print: what a paper says, and what came out.

Each row compares two arms, seed by seed, with `sightline compare`'s own statistics. Imports
reports, and trainers.tunnel for the type of a direction.
"""

import json
from collections.abc import Callable, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

from reports import compare
from reports.comparable import load
from trainers.tunnel import Direction

Runs = Callable[[int, str, str], Path]
"""(seed, arm, task) to the folder of a run."""
HEAD = ("the paper's order", "task", "metric", "base", "cand", "per seed", "mean", "shows")


def table(directions: Sequence[Direction], seeds: int, runs: Runs, kept: Path) -> list[str]:
    """Return the lines of the table of directions, and write it as JSON at `kept`.

    Raises SystemExit where two runs have too few samples for a test.
    """
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    rows = []
    for direction in directions:
        found = [_difference(direction, seed, runs) for seed in range(seeds)]
        row = {**vars(direction), "seeds": found, **combined(found)}
        lines.append(_line(direction, row))
        rows.append(row)
    kept.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return lines


def combined(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean difference of seeds, its standard error, and whether the order shows.

    The error of the mean of seeds that share their questions: no less than one seed's own sampling
    error averaged, and the spread between seeds on top.
    """
    seeds = len(found)
    mean = sum(row["difference"] for row in found) / seeds
    spread = sum((row["difference"] - mean) ** 2 for row in found) / max(seeds - 1, 1) / seeds
    error = sqrt(sum(row["error"] ** 2 for row in found) / seeds + spread)
    shows = "yes" if mean > 1.96 * error else "no, reversed" if mean < -1.96 * error else "no"
    return {"mean": mean, "error": error, "shows": shows}


def _line(direction: Direction, row: dict[str, Any]) -> str:
    found = row["seeds"]
    each = ", ".join(f"{one['difference']:+.1f} ± {1.96 * one['error']:.1f}" for one in found)
    before, after = (sum(one[side] for one in found) / len(found) for side in ("base", "cand"))
    return (
        f"| {direction.cand} over {direction.base}: {direction.source} | {direction.task} | "
        f"{found[0]['metric']} | {before:.1f} | {after:.1f} | {each} | "
        f"{row['mean']:+.1f} ± {1.96 * row['error']:.1f} | {row['shows']} |"
    )


def _difference(direction: Direction, seed: int, runs: Runs) -> dict[str, Any]:
    before, after = (
        load(runs(seed, arm, direction.task)) for arm in (direction.base, direction.cand)
    )
    found = compare.compare(before, after, metric=direction.metric).headline
    if found.base is None or found.cand is None or not found.change:
        raise SystemExit(
            f"{direction.cand} over {direction.base}, seed {seed}: {direction.task}/"
            f"{direction.metric} has no test; too few samples"
        )
    sign = 1 if direction.higher else -1
    return {
        "base": found.base,
        "cand": found.cand,
        "difference": sign * (found.cand - found.base),
        "error": found.change.error,
        "metric": found.name,
    }
