"""`make wind-tunnel`: the orders of the papers' tables, looked for at a very small size.

    python benchmarks/wind_tunnel.py --out wind-tunnel --size mini --seeds 3
    python benchmarks/wind_tunnel.py --out wt-real --size brief --backbone real --seeds 1 \
        --arms untuned format      # published parts on a CPU: `pip install onnx` beforehand

Makes a world, a base model, and for each seed the arms of trainers/tunnel.py; scores them with
`sightline run`'s own loop and compares them with `sightline compare`'s own statistics. Prints one
row per direction: the difference for each seed with its clustered 95 % interval, their mean, and
whether the direction shows. What is there is not made again, so an interrupted run goes on.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from _directions import fewer, side_by_side, table

from harness.types import Task
from trainers import small, tunnel

TASKS = ("gqa", "pope", "llava_bench", "coco_spatial", "refcoco", "hallucination")
SCENES = {"tiny": 60, "mini": 3000, "brief": 3000, "small": 6000}
ONLY = ("instruct", "stage1", "regions", "region_captions", "reading", *TASKS)


def main() -> None:
    """Parse, make what is missing, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("wind-tunnel"))
    parser.add_argument("--size", choices=sorted(tunnel.PLANS), default="mini")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument("--backbone", choices=("scratch", "real"), default="scratch")
    names = [arm.name for arm in tunnel.ARMS]
    parser.add_argument("--arms", nargs="+", choices=names, default=names, metavar="ARM")
    told = parser.parse_args()
    arms = [arm for arm in tunnel.ARMS if arm.name in told.arms]
    wanted = [d for d in tunnel.DIRECTIONS if {d.base, d.cand} <= {arm.name for arm in arms}]
    if not wanted:
        parser.error(
            f"nothing compares {' with '.join(told.arms)}: --arms are of {', '.join(names)}"
        )
    started = time.monotonic()
    plan = tunnel.PLANS[told.size]
    world = _world(told.out / "world", SCENES[told.size])
    tunnel.write_data(world, told.out / "data")
    small.make_base(world, told.out / "base", plan.size, backbone=told.backbone)
    print(f"base: {time.monotonic() - started:.0f} s", flush=True)
    jobs = [(told.out, world, told.size, told.backbone, seed) for seed in range(told.seeds)]
    connectors = sorted({arm.connector for arm in arms})
    side_by_side(_connectors, [(*job, c) for job in jobs for c in connectors], told.workers)
    side_by_side(_arm, [(*job, arm.name) for job in jobs for arm in arms], told.workers)
    print(f"trained and scored: {time.monotonic() - started:.0f} s\n")
    rows = table(
        wanted,
        told.seeds,
        lambda seed, arm, task: told.out / "runs" / f"seed{seed}" / arm / task,
        told.out / "directions.json",
    )
    print("\n".join(rows))
    print(
        f"\n{time.monotonic() - started:.0f} s in all, {told.workers} processes, size {told.size}"
    )


def _world(folder: Path, scenes: int) -> Path:
    from harness.world import build

    if not (folder / build.MANIFEST).exists():
        build.make(folder, scenes, 0, only=ONLY, simple=True, say=lambda line: None)
    return folder


def _setting(job: Any) -> tuple[Path, tunnel.Setting]:
    import torch

    torch.set_num_threads(1)
    out, world, size, backbone = job[:4]
    plan = tunnel.PLANS[size]
    base = small.make_base(world, out / "base", plan.size, backbone=backbone)
    files = {name: out / "data" / f"{name}.json" for name in tunnel.PICTURES}
    return out, tunnel.Setting(world, base, plan, files)


def _connectors(job: Any) -> str:
    out, setting = _setting(job)
    seed, connector = job[4:]
    folder = out / f"seed{seed}" / f"stage1-{connector}"
    if not (folder / "model" / "config.json").exists():
        tunnel.stage1(setting, connector, seed, folder)
    return f"{folder.relative_to(out)}"


def _arm(job: Any) -> str:
    out, setting = _setting(job)
    seed, name = job[4:]
    arm = next(arm for arm in tunnel.ARMS if arm.name == name)
    start = out / f"seed{seed}" / f"stage1-{arm.connector}" / "model"
    folder = out / f"seed{seed}" / name
    model = folder / "model" if arm.data else start
    if not (model / "config.json").exists():
        model = tunnel.stage2(setting, arm, start, seed, folder)
    asked = {d.task for d in tunnel.DIRECTIONS if name in (d.base, d.cand)}
    _score(model, setting.world, out / "runs" / f"seed{seed}" / name, setting.plan, asked)
    return f"{folder.relative_to(out)}"


def _score(model: Path, world: Path, out: Path, plan: tunnel.Plan, asked: set[str]) -> None:
    from harness import api
    from harness.find import make_task
    from harness.judging import How, Judge, judge
    from harness.models.overlap import make as overlap

    for name in TASKS:
        folder = out / name
        if name not in asked or (folder / ".done").exists():
            continue
        task = make_task(name, str(world / name))
        task = fewer(_adversarial(task) if name == "pope" else task, plan.pictures.get(name, 0))
        api.run(f"transformers:{model}", task, out=folder, resume=folder.exists())
        if task.judge:
            judge(folder, task, How([Judge(overlap(), "overlap")]))
        (folder / ".done").touch()


def _adversarial(task: Task) -> Task:
    """Return POPE with its adversarial set alone, which is what the table looks at."""
    asked = [s for s in task.samples() if s.groups.get("split") not in ("random", "popular")]
    return replace(task, samples=lambda: asked)


if __name__ == "__main__":
    main()
