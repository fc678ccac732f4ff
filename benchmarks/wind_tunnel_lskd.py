"""LSKD's part of `make wind-tunnel`: does filtering by a critic help, at a very small size?

    python benchmarks/wind_tunnel_lskd.py --out wind-tunnel-lskd --size mini --seeds 3

Makes a world, a small BLIP-2, the rule-based oracle's corpus with a stated rate of false triples, a
critic and the arms of trainers/tunnel_lskd.py; scores base and students on VCR, Sherlock and
VisualCOMET of the world with `sightline run`'s own loop. Prints the critic's precision by share
kept (Figure 2) and the table of directions. What is there is not made again, so an interrupted run
goes on.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _directions import fewer, side_by_side, table

from trainers import tunnel_lskd as tunnel


def main() -> None:
    """Parse, make what is missing, print Figure 2 and the table."""
    told = _parse()
    started = time.monotonic()
    told.out.mkdir(parents=True, exist_ok=True)
    facts = prepare(told.out, told.size, told.seeds)
    print(f"world, base, corpus, critic: {time.monotonic() - started:.0f} s", flush=True)
    print("\n".join(lines(facts)), flush=True)
    jobs = [(told.out, told.size, 0, "base")]
    jobs += [(told.out, told.size, seed, a.name) for seed in range(told.seeds) for a in tunnel.ARMS]
    side_by_side(arm, jobs, told.workers)
    print(f"trained and scored: {time.monotonic() - started:.0f} s\n")

    def runs(seed: int, arm: str, task: str) -> Path:
        return _runs(told.out, seed, arm) / task

    print("\n".join(table(tunnel.DIRECTIONS, told.seeds, runs, told.out / "directions.json")))
    print(f"\n{time.monotonic() - started:.0f} s in all, {told.workers} processes, {told.size}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("wind-tunnel-lskd"))
    parser.add_argument("--size", choices=sorted(tunnel.PLANS), default="mini")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    return parser.parse_args()


def prepare(out: Path, size: str, seeds: int) -> dict[str, Any]:
    """Make what all students share; return counts, the critic's curve and what the arms hold."""
    import torch

    from harness.world import build

    torch.set_num_threads(1)
    plan, world, corpus = tunnel.PLANS[size], out / "world", out / "corpus"
    if not (world / build.MANIFEST).exists():
        build.make(world, plan.scenes, 0, only=tunnel.FORMATS, size=tunnel.PIXELS, simple=True,
                   say=lambda line: None)  # fmt: skip
    counts = _once(corpus / "counts.json", lambda: tunnel.write_corpus(world, corpus, plan))
    base = tunnel.make_base(world, corpus / "triples.jsonl", out / "base", plan)
    critic = out / "critic" / "model"
    if not (critic / "config.json").exists():
        tunnel.critic(base, corpus / "labels.jsonl", world, out / "critic", plan)
    curves = {
        name: _once(
            out / f"{name}.json",
            lambda name=name, model=model: tunnel.score(corpus, model, world, out / "pool" / name),
        )
        for name, model in (("base", base), ("critic", critic))
    }
    pool = out / "pool" / "critic" / "scored.jsonl"
    arms = [
        _once(
            out / "data" / f"seed{seed}.json",
            lambda seed=seed: tunnel.write_arms(pool, out / "data" / f"seed{seed}", plan, seed),
        )
        for seed in range(seeds)
    ]
    return {"counts": counts, "curves": curves, "arms": arms}


def _once(path: Path, make: Any) -> Any:
    if not path.exists():
        found = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def lines(facts: dict[str, Any]) -> list[str]:
    """Return what is known before any student, as lines for people."""
    counts, curve = facts["counts"], facts["curves"]["critic"]
    out = [
        f"the oracle wrote {counts['triples']:,} triples, {counts['false']:,} of them false; "
        f"{counts['labelled']:,} labelled for the critic, {counts['pool']:,} in the pool",
        f"area under the ROC curve on the pool: {facts['curves']['base']['area']:.3f} of the base, "
        f"{curve['area']:.3f} of the critic, whose own by error: "
        + ", ".join(f"{name} {one['area']:.3f}" for name, one in curve["by_error"].items()),
        "figure 2, triples kept and how many of them are true:",
    ]
    for point in curve["by_share"]:
        if point["precision"] is not None and point["low"] is not None:
            out.append(
                f"  {point['kept']:6.1%}  {point['precision']:6.1%}  "
                f"({point['low']:.1%} to {point['high']:.1%})"
            )
    return [*out, *_held(facts["arms"])]


def _held(arms: Sequence[dict[str, Any]]) -> list[str]:
    """Return how many triples each arm has, and the share of true ones over the seeds."""
    return [
        f"{name}: {one['triples']:,.0f} triples, true "
        + ", ".join(f"{seed[name]['true']:.1%}" for seed in arms)
        for name, one in arms[0].items()
    ]


def _runs(out: Path, seed: int, name: str) -> Path:
    return out / "runs" / (name if name == "base" else f"seed{seed}/{name}")


def arm(job: tuple[Path, str, int, str]) -> str:
    """Train one arm of one seed, if it is not there, and score it."""
    import torch

    torch.set_num_threads(1)
    out, size, seed, name = job
    started, plan, world = time.monotonic(), tunnel.PLANS[size], out / "world"
    base = model = out / "base" / "run" / "model"
    if name != "base":
        folder, data = out / f"seed{seed}" / name, out / "data" / f"seed{seed}" / f"{name}.jsonl"
        model = folder / "model"
        if not (model / "config.json").exists():
            tunnel.student(base, data, world, folder, plan, seed)
    trained = time.monotonic() - started
    score(model, world, _runs(out, seed, name), plan)
    return f"{name}, seed {seed}: {trained:.0f} s and {time.monotonic() - started - trained:.0f} s"


def score(model: Path, world: Path, out: Path, plan: tunnel.Plan) -> None:
    """Ask a model the questions of all tasks, regions drawn as in its training."""
    from harness import api
    from harness.find import make_task

    for name in tunnel.TASKS:
        folder = out / name
        if not (folder / ".done").exists():
            task = fewer(make_task(name, str(world / name)), plan.asked[name])
            api.run(f"transformers:{model}", task, out=folder, options={"regions": "draw"},
                    resume=folder.exists())  # fmt: skip
            (folder / ".done").touch()


if __name__ == "__main__":
    main()
