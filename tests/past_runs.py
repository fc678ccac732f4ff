"""What tests of histories and trainings share: blessed runs on chosen days, and a training log."""

import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gate_runs import gold, record, task, wrong

from harness.record import Record
from reports.gate import baselines

START = datetime(2026, 1, 5, 9, tzinfo=UTC)


def says(share: float, seed: int, n: int = 400) -> Callable[[int], str]:
    """Answer a share of the questions wrongly, hard ones (every other) far more often."""
    draw = random.Random(seed)
    bad = {i for i in range(n) if draw.random() < share * (1.7 if i % 2 else 0.3)}
    return lambda i: wrong(i) if i in bad else gold(i)


def blessed(
    home: Path, shares: Sequence[float], monkeypatch, n: int = 400, name: str = "pope"
) -> list[Record]:
    """Bless one run a month, each wrong on a share of the answers; every third is major."""
    found = []
    for at, share in enumerate(shares):
        made = record(home / "runs" / f"{name}{at}", says(share, at, n), task(n, 4, name=name))
        when = (START + timedelta(days=30 * at)).isoformat()
        monkeypatch.setattr(baselines, "_now", lambda when=when: when)
        baselines.bless(
            home / "blessed", f"{name}@{at}", [made.folder], f"why {at}", major=not at % 3
        )
        found.append(made)
    return found


def write_log(path: Path, steps: int = 400, task: str = "pope", metric: str = "accuracy") -> Path:
    """Write a training log whose loss at step s is 1 + 2 / s, with a score every 100 steps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in range(1, steps + 1):
        lines.append({
            "step": step, "samples": 8 * step, "tokens": 800 * step, "loss": 1 + 2 / step,
            "grad_norm": 0.5, "lr": {"connector": 1e-3, "language": 2e-5}, "tokens_per_s": 1000.0,
            "mfu": 0.5, "seconds": 0.5 * step,
        })  # fmt: skip
        if step % 100 == 0:
            score = {"task": task, "metric": metric, "value": 70 + (step % 300) / 50}
            lines.append({"step": step, "eval": score})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
