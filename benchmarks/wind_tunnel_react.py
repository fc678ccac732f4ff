"""REACT's part of `make wind-tunnel`: its lift and the order of its modes, at a very small size.

    python benchmarks/wind_tunnel_react.py --out wind-tunnel-react --size mini --seeds 3

Makes a world, a small CLIP, a pool and what is retrieved from it (trainers/tunnel_react.py), trains
every arm for each seed, scores them zero-shot with `sightline run`'s own loop and prints the table
of directions. With --real, a folder with MNIST, CIFAR-10 and DTD as the task elevater reads them,
these are retrieved for and evaluated too. What is there is not made again, so an interrupted run
goes on.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from _directions import side_by_side, table

from harness.types import Task
from trainers import tunnel_react as tunnel
from trainers import tunnel_react_data as pairs

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def main() -> None:
    """Parse, make what is missing, print the table."""
    told = _parse()
    started = time.monotonic()
    told.out.mkdir(parents=True, exist_ok=True)
    facts = prepare(told.out, told.size, told.real)
    print(f"world, base, pairs: {time.monotonic() - started:.0f} s", flush=True)
    print("\n".join(_lines(facts)), flush=True)
    jobs = [(told.out, told.size, 0, "base")]
    jobs += [(told.out, told.size, seed, a.name) for a in tunnel.ARMS for seed in range(told.seeds)]
    side_by_side(arm, jobs, told.workers)
    print(f"trained and scored: {time.monotonic() - started:.0f} s\n")
    wanted = tunnel.directions(facts["sets"])
    runs = lambda seed, arm, task: _runs(told.out, seed, arm) / task  # noqa: E731
    print("\n".join(table(wanted, told.seeds, runs, told.out / "directions.json")))
    print(f"\n{time.monotonic() - started:.0f} s in all, {told.workers} processes, {told.size}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("wind-tunnel-react"))
    parser.add_argument("--size", choices=sorted(tunnel.PLANS), default="mini")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    shared = Path(os.environ.get("SIGHTLINE_SHARED", SHARED)) / "elevater"
    parser.add_argument("--real", type=Path, default=shared, help="mnist/, cifar-10/, dtd/ in it")
    return parser.parse_args()


def prepare(out: Path, size: str, real: Path) -> dict[str, Any]:
    """Make what all arms share; return what there is of it."""
    from harness.world import build

    kept = out / "facts.json"
    if kept.exists():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    plan, world, data = tunnel.PLANS[size], out / "world", out / "data"
    if not (world / build.MANIFEST).exists():
        build.make(world, plan.scenes, 0, only=tunnel.DATA, size=tunnel.PIXELS, simple=True,
                   say=lambda line: None)  # fmt: skip
    sets = (
        pairs.write_real(real, data / "real", plan.shown, plan.asked["real"])
        if real.is_dir()
        else []
    )
    if not (data / "counts.json").exists():
        pairs.write_pairs(world, data / "real" if sets else None, data, plan.told)
    base, tasks = out / "base" / "run" / "model", _tasks(out, plan)
    if not (base / "config.json").exists():
        tunnel.train_base(data, out / "base", plan, _held(out, tasks))
    found = tunnel.retrieve(base, tasks, data, plan)
    groups = {
        name: [m.name.rpartition(".")[0] for m in task.metrics if "." in m.name]
        for name, task in tasks.items()
    }
    found |= {"sets": groups, "asked": {n: len(list(t.samples())) for n, t in tasks.items()}}
    kept.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def _lines(facts: dict[str, Any]) -> list[str]:
    def told(counts: dict[str, int]) -> str:
        return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"

    lines = [f"{name}: {told(facts[name])}" for name in ("asked", "pool", "retrieved")]
    lines.append(f"K of retrieval: {facts['k_used']}, pairs: {facts['kept']:,}")
    lines.append(f"left out by retrieval: {told(facts['dropped'])}")
    if "real" not in facts["sets"]:
        lines.append("no MNIST, CIFAR-10 or DTD at --real: the world's sets alone")
    return lines


def _tasks(out: Path, plan: tunnel.Plan) -> dict[str, Task]:
    from harness.find import make_task

    places = {"world": out / "world" / "elevater", "real": out / "data" / "real"}
    return {
        name: _fewer(make_task("elevater", str(place)), plan.asked[name])
        for name, place in places.items()
        if (place / pairs.WORDS).exists()
    }


def _held(out: Path, tasks: dict[str, Task]) -> list[str]:
    """Return what no training picture may be from, as the engine's `hold_out` wants it."""
    held = [f"elevater={out}/world/elevater"]
    return held + ([f"elevater={out}/data/real"] if "real" in tasks else [])


def _fewer(task: Task, most: int) -> Task:
    """Return a task with some pictures of each set, drawn by lot; all arms get the same."""
    by_set: dict[str, list[Any]] = {}
    for sample in task.samples():
        by_set.setdefault(str(sample.groups["set"]), []).append(sample)
    kept = [
        sample
        for name, some in by_set.items()
        for sample in Random(name).sample(some, min(most, len(some)))
    ]
    return replace(task, samples=lambda: kept)


def _runs(out: Path, seed: int, name: str) -> Path:
    return out / "runs" / (name if name == "base" else f"seed{seed}/{name}")


def arm(job: tuple[Path, str, int, str]) -> str:
    """Train one arm of one seed, if it is not there, and score it."""
    import torch

    torch.set_num_threads(1)
    out, size, seed, name = job
    started, plan = time.monotonic(), tunnel.PLANS[size]
    base = model = out / "base" / "run" / "model"
    tasks = _tasks(out, plan)
    if name != "base":
        folder = out / f"seed{seed}" / name
        model = folder / "model"
        if not (model / "config.json").exists():
            chosen = next(one for one in tunnel.ARMS if one.name == name)
            tunnel.customise(chosen, base, out / "data", _held(out, tasks), folder, plan, seed)
    trained = time.monotonic() - started
    _score(model, tasks, _runs(out, seed, name))
    return f"{name}, seed {seed}: {trained:.0f} s and {time.monotonic() - started - trained:.0f} s"


def _score(model: Path, tasks: dict[str, Task], out: Path) -> None:
    from harness import api

    for name, task in tasks.items():
        folder = out / name
        if not (folder / ".done").exists():
            api.run(f"transformers:{model}", task, out=folder, resume=folder.exists())
            (folder / ".done").touch()


if __name__ == "__main__":
    main()
