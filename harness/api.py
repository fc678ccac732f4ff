"""The Python API: what the command line does, in three lines.

from harness.api import run

record = run("recorded:answers.jsonl", "pope", data="pope/")
print(record.metrics["adversarial.f1"])
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import run as loop
from harness.find import make_model, make_task
from harness.record import Record, read
from harness.types import Model, Task

__all__ = ["default_folder", "load", "run", "runs"]


def run(
    model: str | Model,
    task: str | Task,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    limit: int | None = None,
    seed: int = 0,
    resume: bool = False,
    max_failures: float = 0.01,
    watcher: loop.Watcher | None = None,
) -> Record:
    """Ask `model` the questions of `task` and return the record.

    Both are names as on the command line ("openai:gpt-4.1", "pope/lmms") or objects of your own.
    `options` are the model's. Raises UsageError, DataError or RunStopped (harness/errors.py).
    """
    if isinstance(task, str):
        task = make_task(task, None if data is None else str(data))
    address = model if isinstance(model, str) else model.name
    if isinstance(model, str):
        model = make_model(model, options)
    planned = loop.plan(task, model, address=address, options=options, limit=limit, seed=seed)
    folder = Path(out) if out else default_folder(task.name, model.name)
    return loop.run(planned, folder, resume=resume, max_failures=max_failures, watcher=watcher)


def load(place: str | Path) -> Record:
    """Open a run folder, or a run in a store ("s3://team/runs/pope-7b")."""
    return read(place)


def runs(*places: str | Path) -> Any:
    """Return one line per run as a pandas DataFrame, the oldest first; default runs/.

    Places are run folders, folders of them, and addresses of stores, of which nothing but run.json
    is read.
    """
    from leaderboards.query import runs as lines

    return lines(*places)


def default_folder(task: str, model: str) -> Path:
    """Return a new folder name under runs/ for a run that starts now."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in f"{task}-{model}")
    return Path("runs") / f"{name[:120]}-{now}"
