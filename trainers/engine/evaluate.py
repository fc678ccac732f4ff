"""Benchmarks on a checkpoint, run as `sightline run` in a process of their own.

The same command, scorers and run folders as a release; random states and memory of the training
process stay as they are. A benchmark that fails is written down and never ends the training.
Imports the standard library, harness.record, trainers.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import SightlineError
from trainers.recipe import Common, Evaluation


def run(
    recipe: Common, checkpoint: Path, out: Path, step: int, base: str
) -> Iterator[dict[str, Any]]:
    """Run the recipe's benchmarks on `checkpoint`; yield a line for the log for each.

    Args:
        recipe: Names the benchmarks.
        checkpoint: Directory of a model, or of an adapter.
        out: The training run's folder; records go below its `eval`.
        step: Optimizer steps so far.
        base: Model that an adapter belongs to.
    """
    for evaluation in recipe.evaluate:
        name = checkpoint.name.replace("checkpoint-", "step-")
        folder = out / "eval" / f"{name}-{evaluation.task.replace('/', '-')}"
        yield {"step": step, "eval": _one(evaluation, checkpoint, folder, base)}


def command(evaluation: Evaluation, checkpoint: Path, folder: Path, base: str) -> list[str]:
    """Return the command that runs one benchmark."""
    adapter = (checkpoint / "adapter_config.json").is_file()
    model = base if adapter else str(checkpoint)
    words = [sys.executable, "-m", "harness", "run", "--model", f"transformers:{model}",
             "--task", evaluation.task, "--out", str(folder), "--quiet"]  # fmt: skip
    if (folder / "run.json").is_file():
        words.append("--resume")
    words += ["--data", evaluation.data] if evaluation.data else []
    words += ["--limit", str(evaluation.limit)] if evaluation.limit else []
    options = dict(evaluation.options) | ({"adapter": str(checkpoint)} if adapter else {})
    for name, value in options.items():
        words += ["--option", f"{name}={value}"]
    return words


def _alone(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what makes a process one of several."""
    several = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_",
               "ACCELERATE_", "FSDP_")  # fmt: skip
    return {key: value for key, value in environment.items() if not key.startswith(several)}


def _one(evaluation: Evaluation, checkpoint: Path, folder: Path, base: str) -> dict[str, Any]:
    from harness.record import read

    found: dict[str, Any] = {
        "task": evaluation.task,
        "metric": evaluation.metric or None,
        "value": None,
        "run": f"eval/{folder.name}",
    }
    words = command(evaluation, checkpoint, folder, base)
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", env=_alone(os.environ)
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return {**found, "error": f"exit {done.returncode}: {last}"}
        record = read(folder)
    except (OSError, SightlineError) as error:
        return {**found, "error": str(error)}
    name = evaluation.metric or record.run["task"]["headline"]
    estimate = record.metrics.get(name)
    if estimate is None or estimate["value"] is None:
        have = ", ".join(key for key, one in record.metrics.items() if one["value"] is not None)
        return {
            **found,
            "metric": name,
            "error": f"no value of {name}; there are: {have or 'none'}",
        }
    parts = {key: estimate[key] for key in ("value", "low", "high", "n")}
    every = {key: one["value"] for key, one in record.metrics.items()}
    return {**found, "metric": name, **parts, "metrics": every}
