"""What the wind tunnels share: arms side by side, fewer questions, and the table of directions.

Each row of the table says what a paper says and what came out: it compares two arms, seed by seed,
with `sightline compare`'s own statistics. Imports reports, harness.types, and trainers.tunnel for
the type of a direction.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from math import sqrt
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import UsageError
from harness.types import Task
from reports import compare
from reports.comparable import load
from trainers.tunnel import Direction

Runs = Callable[[int, str, str], Path]
"""(seed, arm, task) to the folder of a run."""
HEAD = ("the paper's order", "task", "metric", "base", "cand", "per seed", "mean", "shows")


def side_by_side(work: Callable[[Any], str], jobs: Sequence[Any], workers: int) -> None:
    """Carry out jobs in processes of their own, and print what each says."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(work, job) for job in jobs]):
            print(done.result(), flush=True)


def fewer(task: Task, pictures: int) -> Task:
    """Return a task with the questions about some pictures, drawn by lot; all arms get the same.

    0 pictures: all of them.
    """
    asked = list(task.samples())
    names = sorted({sample.cluster for sample in asked})
    if 0 < pictures < len(names):
        kept = set(Random(task.name).sample(names, pictures))
        asked = [sample for sample in asked if sample.cluster in kept]
    return replace(task, samples=lambda: asked)


def table(directions: Sequence[Direction], seeds: int, runs: Runs, kept: Path) -> list[str]:
    """Return the lines of the table of directions, and write it as JSON at `kept`.

    A direction whose runs have too few samples for a test says so in its row.
    """
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    rows = []
    for direction in directions:
        every = [_difference(direction, seed, runs) for seed in range(seeds)]
        found = [one for one in every if one is not None]
        if len(found) < seeds:
            said = f"{direction.cand} over {direction.base}: {direction.source}"
            lines.append(
                f"| {said} | {direction.task} | {direction.metric} | | | | | too few samples |"
            )
            continue
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


def _difference(direction: Direction, seed: int, runs: Runs) -> dict[str, Any] | None:
    before, after = (
        load(runs(seed, arm, direction.task)) for arm in (direction.base, direction.cand)
    )
    try:
        found = compare.compare(before, after, metric=direction.metric).headline
    except UsageError:  # so few questions that none is of this kind
        return None
    if found.base is None or found.cand is None or not found.change:
        return None
    sign = 1 if direction.higher else -1
    return {
        "base": found.base,
        "cand": found.cand,
        "difference": sign * (found.cand - found.base),
        "error": found.change.error,
        "metric": found.name,
    }
