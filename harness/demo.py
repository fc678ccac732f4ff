"""`sightline demo`: from nothing to a leaderboard and a gate that stops the worse of two models.

Nothing is downloaded. A world is rendered (harness/world), a small model learns to see and talk in
it (trainers/small.py), and is tuned twice on the same records: once as they are, once with the
pictures of other records, so that it learns to talk without looking. Both are scored on all nine
benchmarks; then come the board, the report that compares them, and the gate, which holds the
second against the first and must stop it. Every step but the making of the base model is a command
that a user could have typed, and is shown.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from harness.errors import RunStopped

LIMITS = {
    "pope": 2000,
    "gqa": 1600,
    "scienceqa": 300,
    "vcr": 150,
    "visualcomet": 24,
    "sherlock": 200,
    "refcoco": 3000,
    "elevater/mnist": 100,
    "llava_bench": 60,
}
"""The nine benchmarks, and how many questions of each are asked."""
GATE = """\
# Stop the release when a score falls for certain; docs/gate.md says how it decides.
gate:
  baseline: good
  margin: 2.0
  tasks:
    gqa: {tier: critical}
    pope: {tier: standard}
    refcoco: {tier: standard}
    scienceqa: {tier: advisory}
    vcr: {tier: advisory}
    visualcomet: {tier: advisory}
    sherlock: {tier: advisory}
    elevater/mnist: {tier: advisory}
    llava_bench: {tier: advisory}
"""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Length:
    """How much of everything there is."""

    scenes: int
    size: str
    """Of trainers.small.SIZES."""
    steps: int
    """Of the tuning, 8 records each."""
    share: float = 1.0
    """Of the questions."""


LENGTHS = {"full": Length(800, "demo", 450), "tiny": Length(60, "tiny", 20, 0.01)}


def run(out: Path, length: str = "full", say: Say = print) -> int:
    """Carry out the demo in `out`; return the gate's exit code for the worse model (1: stopped).

    Raises RunStopped when a step fails.
    """
    told = LENGTHS[length]
    started = time.monotonic()
    world, runs = out / "world", out / "runs"
    if not (world / "world.json").exists():
        _step(
            out, say, "world", "--out", str(world), "--scenes", str(told.scenes), "--simple", "-q"
        )
    _train(out, world, told, say)
    _score(out, world, told, say)
    code = _judge_and_gate(out, runs, say)
    say(f"\n{time.monotonic() - started:.0f} s in all")
    return code


def _train(out: Path, world: Path, told: Length, say: Say) -> None:
    """Make the base model, then tune it twice, side by side."""
    from trainers import small

    base = small.make_base(world, out / "base", told.size, say=say)
    records = json.loads((world / "instruct" / "mix.json").read_text(encoding="utf-8"))
    seen = [small.once(row) for row in records if "image" in row]
    pictures = [row["image"] for row in seen]
    other = pictures[len(pictures) // 2 :] + pictures[: len(pictures) // 2]
    blind = [{**row, "image": image} for row, image in zip(seen, other, strict=True)]
    jobs = []
    for name, rows in (("good", seen), ("worse", blind)):
        if (out / name / "model" / "config.json").exists():
            continue
        path = out / f"{name}.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        settings = {**small.tuning(), "max_steps": told.steps, "batch_size": 8, "micro_batch": 8}
        settings["hold_out"] = [f"{task}={world / task}" for task in ("gqa", "pope")]
        config = out / f"{name}.yaml"
        config.write_text(json.dumps(settings, indent=1), encoding="utf-8")
        jobs.append(("train", "finetune", "--config", str(config), "--model", str(base.captioner),
                     "--data", str(path), "--images", str(world / "instruct"),
                     "--out", str(out / name), "-q"))  # fmt: skip
    if jobs:
        say("\ntuning both models, two minutes or so:")
    _side_by_side(out, say, jobs)


def _score(out: Path, world: Path, told: Length, say: Say) -> None:
    """Score both models, each in a process of its own that loads torch once."""
    say(f"\nscoring both models on {len(LIMITS)} benchmarks, as these commands would:")
    for task, limit in LIMITS.items():
        judge = " --judge overlap" if task == "llava_bench" else ""
        say(f"  sightline run -m transformers:{out}/good/model -t {task} "
            f"-d {world}/{task.split('/')[0]} --limit {_asked(limit, told)}{judge}")  # fmt: skip
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_score_one, out, world, told, name) for name in ("good", "worse")]
        for done in as_completed(jobs):
            say(done.result())


def _asked(limit: int, told: Length) -> int:
    return max(int(limit * told.share), 4)


def _score_one(out: Path, world: Path, told: Length, name: str) -> str:
    import torch

    from harness import api
    from harness.find import make_model, make_task
    from harness.judging import How, Judge, judge

    torch.set_num_threads(1)
    started = time.monotonic()
    for task, limit in LIMITS.items():
        folder = out / "runs" / name / task.replace("/", "-")
        made = make_task(task, str(world / task.split("/")[0]))
        model = f"transformers:{out / name / 'model'}"
        asked = _asked(limit, told)
        record = api.run(model, made, out=folder, limit=asked, resume=folder.exists())
        if made.judge and "judging" not in record.run:
            judge(folder, made, How([Judge(make_model("overlap"), "overlap")]))
    return f"scored the {name} model in {time.monotonic() - started:.0f} s"


def _judge_and_gate(out: Path, runs: Path, say: Say) -> int:
    say("\nthe board, the report and the gate")
    both = [str(runs / "good"), str(runs / "worse")]
    _step(out, say, "board", *both, "--out", str(out / "board.html"))
    compared = (f"{both[1]}/refcoco", "--baseline", f"{both[0]}/refcoco")
    _step(out, say, "report", *compared, "--out", str(out / "report.html"))
    (out / "gate.yaml").write_text(GATE, encoding="utf-8")
    home = ("--baselines", str(out / "baselines"))
    if not (out / "baselines").exists():
        _step(out, say, "bless", "good", both[0], "--why", "the demo's own baseline", *home)
    gate = ("gate", "--config", str(out / "gate.yaml"), *home)
    code = _step(out, say, *gate, both[1], good=(0, 1, 2))
    verdict = {0: "let it pass", 1: "stopped it", 2: "could not decide"}[code]
    say(f"the gate was asked about the worse model and {verdict} (exit code {code})")
    return code


def _step(out: Path, say: Say, *words: str, good: Sequence[int] = (0,), threads: int = 0) -> int:
    """Carry out one command and show it. Raises RunStopped when it fails."""
    say(f"$ sightline {' '.join(words)}")
    command = [sys.executable, "-m", "harness", *words]
    limits = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **limits}
    )
    with (out / "demo.log").open("a", encoding="utf-8") as log:
        log.write(done.stdout + done.stderr)
    if words[0] in ("gate", "judge") and done.stdout:
        say(done.stdout.rstrip())
    if done.returncode not in good:
        raise RunStopped(
            f"'sightline {words[0]}' ended with exit code {done.returncode}; all it said is in "
            f"{out / 'demo.log'}:\n{(done.stderr or done.stdout)[-2000:]}"
        )
    return done.returncode


def _side_by_side(out: Path, say: Say, jobs: Sequence[Sequence[str]]) -> None:
    """Carry out commands two at a time, one thread each: small models cannot use more."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: _step(out, say, *job, threads=1), jobs))
