"""Training at LLaVA-1.5-7B shapes: our engine with packed rows beside a plain padded loop.

    python benchmarks/train_gpu.py [--stage 1 2] [--steps 8] [--rows 8192] [--checkpointing]
    python benchmarks/train_gpu.py --tiny          # a smoke test on a CPU, small shapes

Random bfloat16 weights are drawn on the device, records and pictures are made up: one caption per
picture for stage 1, conversations of ragged lengths for stage 2, a sixth of them without a picture
(`--length N` makes all of them N tokens long). Both ways train on such samples with the same AdamW.
Tokens are those of samples, padding not counted, and so is MFU: the operations that these tokens
need (trainers/engine/estimate.py), over what the device could do. Ours includes everything that a
run does: reading and preprocessing pictures, packing, logging. Without a GPU it says so.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
from engine_common import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import tiny_models

from trainers import llava15
from trainers.builders import llava as builder
from trainers.engine import loop, model, records, samples
from trainers.engine.collate import Collator, Rows
from trainers.engine.estimate import Cost
from trainers.engine.log import Display, Log, read
from trainers.engine.sampler import Plan
from trainers.engine.trainer import Training
from trainers.recipe import Recipe

WORDS = tiny_models.TEXT.split()
PICTURES = 64
WARM = 2
"""Steps that are not measured: kernels are chosen, memory is asked for."""


def main() -> None:
    """Print the machine and a table."""
    options = _options()
    if not options.tiny and not torch.cuda.is_available():
        print("no GPU here: this benchmark needs one (--tiny is a smoke test on a CPU)")
        return
    print(f"{machine()}\n")
    print("| stage | way | tokens in a step | tokens/s | MFU | padding | memory GiB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for stage in options.stage:
            data = write(Path(folder) / f"stage{stage}", stage, options)
            for way in options.ways:
                measure(way, stage, data, options)


def measure(way: str, stage: int, data: Path, options: argparse.Namespace) -> None:
    """Train a few steps in one way and print its row."""
    recipe = _recipe(stage, way, options)
    ready = model.prepare(recipe, lambda _: _model(recipe, options))
    encoder = samples.Encoder(recipe, ready.processor, data / "images")
    dataset = samples.Dataset(records.read(recipe, data / "records.json"), encoder)
    index = dataset.index()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run = _ours if way == "packed" else _plain
    tokens, seconds, mfu, used = run(recipe, ready, dataset, index, data)
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    share = f"{mfu:.3f}" if mfu else "-"
    print(
        f"| {stage} | {way} | {tokens / options.steps:,.0f} | {tokens / seconds:,.0f} | {share} "
        f"| {1 - used:.0%} | {peak:.1f} |",
        flush=True,
    )


def write(folder: Path, stage: int, options: argparse.Namespace) -> Path:
    """Write pictures and as many records as all steps need; return the folder."""
    images = folder / "images"
    images.mkdir(parents=True)
    size = (56, 40) if options.tiny else (640, 480)
    for at in range(PICTURES):
        (images / f"{at}.png").write_bytes(tiny_models.picture(at, size))
    count = (options.steps + WARM + 1) * options.batch
    rows = [_record(at, stage, options) for at in range(count)]
    (folder / "records.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def _record(at: int, stage: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return a caption, or a conversation: median 120 words a reply, long ones ten times that."""
    lot = Random(at)
    seen = stage == 1 or options.length or lot.random() > 1 / 6
    scale = 0.05 if options.tiny else 1.0
    turns = []
    for turn in range(1 if stage == 1 or options.length else lot.randint(1, 4)):
        middle = 10 if stage == 1 else 120
        words = max(2, int(scale * min(1_000, lot.lognormvariate(0, 0.8) * middle)))
        if options.length:
            words = options.length
        mark = "<image>\n" if turn == 0 and seen else ""
        turns += [
            {"from": "human", "value": mark + " ".join(lot.choices(WORDS, k=8))},
            {"from": "gpt", "value": " ".join(lot.choices(WORDS, k=words))},
        ]
    row: dict[str, Any] = {"id": str(at), "conversations": turns}
    return row | ({"image": f"{at % PICTURES}.png"} if seen else {})


def _recipe(stage: int, way: str, options: argparse.Namespace) -> Recipe:
    """Return LLaVA-1.5's recipe of this stage at the size of the benchmark."""
    packed = way == "packed"
    changes: dict[str, Any] = {
        "data": (),
        "mixture": "",
        "needs": (),
        "template": "v1",
        "batch_size": options.batch,
        "micro_batch": 1 if packed else options.micro,
        "packing": packed,
        "pack_length": options.rows if packed else 0,
        "max_length": options.length or options.limit,
        "max_steps": options.steps + WARM,
        "precision": "fp32" if options.tiny else "bf16_pure",
        "activation_checkpointing": options.checkpointing,
        "parallel": "ddp",
        "sampler": "modality",
        "optimizer": "adamw_torch" if options.tiny else "adamw_torch_fused",
        "workers": options.workers,
        "images.cache": "none",
        "compile": options.compile,
    }
    if options.tiny:
        changes |= {"images.size": 28}
    return llava15.make(f"stage{stage}").changed(changes)


def _model(recipe: Recipe, options: argparse.Namespace) -> tuple[Any, Any]:
    vision, language, dtype, device = (
        ("scratch:tiny", "scratch:tiny", "float32", "cpu")
        if options.tiny
        else ("shapes:clip-l-14-336", "shapes:vicuna-7b", "bfloat16", "cuda")
    )
    with torch.device(device):
        return builder.assemble(
            vision=vision,
            language=language,
            texts=[tiny_models.TEXT],
            vocabulary=600,
            images=recipe.images,
            dtype=dtype,
        )


Measured = tuple[int, float, float, float]
"""Tokens, seconds, MFU (0: the speed of the device is unknown), share that is not padding."""


def _ours(recipe: Recipe, ready: Any, dataset: Any, index: Any, data: Path) -> Measured:
    """Train as `sightline train` does, but for saving and checksums."""
    plan = Plan(recipe, index, 1)
    out = data / "run"
    out.mkdir(exist_ok=True)
    rows, args = Rows(dataset, index), loop.arguments(recipe, plan, out)
    Training(ready, plan, rows, args, Log(out), Display(True)).train()
    lines = [line for line in read(out / "train_log.jsonl") if "loss" in line]
    first, last = lines[WARM - 1], lines[-1]
    tokens, seconds = (last[name] - first[name] for name in ("tokens", "seconds"))
    mfu = sum((line["mfu"] or 0) * line["tokens_per_s"] ** -1 for line in lines[WARM:])
    mfu /= sum(line["tokens_per_s"] ** -1 for line in lines[WARM:])
    return tokens, seconds, mfu, 1.0  # a packed row is as long as what is in it


def _plain(recipe: Recipe, ready: Any, dataset: Any, index: Any, _: Path) -> Measured:
    """Train in the plainest loop: random batches, padded, the model's own loss."""
    collator = Collator(ready.image_token, ready.pad_token, False, None)
    cost, device = Cost(ready.plain), next(ready.model.parameters()).device
    trained = [p for p in ready.model.parameters() if p.requires_grad]
    fused = device.type == "cuda"
    optimizer = torch.optim.AdamW(trained, lr=recipe.lr, weight_decay=0.0, fused=fused)
    ready.model.train()
    if recipe.activation_checkpointing:
        ready.model.gradient_checkpointing_enable({"use_reentrant": False})
    totals = dict.fromkeys(("tokens", "squares", "targets", "pictures"), 0)
    held, began = 0, 0.0
    for step, batches in enumerate(_batches(recipe, Rows(dataset, index), collator)):
        if step == WARM:
            _wait(device)
            began, held = time.perf_counter(), 0
            totals = dict.fromkeys(totals, 0)
        for batch in batches:
            facts = batch.pop("facts")
            moved = {name: _moved(value, ready.model) for name, value in batch.items()}
            (ready.model(**moved, use_cache=False).loss / len(batches)).backward()
            totals = {name: totals[name] + facts[name] for name in totals}
            held += moved["input_ids"].numel()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    _wait(device)
    seconds = time.perf_counter() - began
    peak = cost.peak(device)
    mfu = cost.flops(**totals) / seconds / peak if peak else 0.0
    return totals["tokens"], seconds, mfu, totals["tokens"] / held


def _batches(recipe: Recipe, rows: Rows, collator: Collator) -> Iterator[list[dict[str, Any]]]:
    """Yield the micro-batches of each step, pictures read by as many processes as ours has."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    wanted = order[: recipe.max_steps * recipe.batch_size]
    size = recipe.micro_batch
    lots = [[((0, at, True),) for at in wanted[i : i + size]] for i in range(0, len(wanted), size)]
    loader = torch.utils.data.DataLoader(
        rows,  # type: ignore[arg-type]  # rows are asked for by tuples
        batch_sampler=lots,
        collate_fn=collator,
        num_workers=recipe.workers,
        pin_memory=torch.cuda.is_available(),
    )
    step: list[dict[str, Any]] = []
    for batch in loader:
        step.append(batch)
        if len(step) * size >= recipe.batch_size:
            yield step
            step = []


def _moved(value: Any, trained: Any) -> Any:
    moved = value.to(trained.device, non_blocking=True)
    return moved.to(trained.dtype) if moved.is_floating_point() else moved


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", type=int, nargs="+", choices=(1, 2), default=[1, 2])
    parser.add_argument(
        "--ways", nargs="+", choices=("plain", "packed"), default=["plain", "packed"]
    )
    parser.add_argument("--steps", type=int, default=6, help="measured ones, after two others")
    parser.add_argument("--batch", type=int, default=64, help="samples of an optimizer step")
    parser.add_argument("--micro", type=int, default=8, help="padded rows of a forward pass")
    parser.add_argument("--rows", type=int, default=8192, help="tokens of a packed row")
    parser.add_argument("--limit", type=int, default=2048, help="tokens of the longest sample")
    parser.add_argument("--length", type=int, default=0, help="all samples as long as this")
    parser.add_argument("--workers", type=int, default=8, help="processes that read pictures")
    parser.add_argument("--checkpointing", action="store_true", help="activation checkpointing")
    parser.add_argument("--compile", action="store_true", help="compile norms and MLPs")
    parser.add_argument("--tiny", action="store_true", help="small shapes, on a CPU")
    options = parser.parse_args()
    if options.tiny:
        options.batch, options.micro, options.rows = 4, 2, 512
        options.limit, options.workers, options.steps = 256, 0, min(options.steps, 2)
        torch.set_num_threads(1)
    return options


if __name__ == "__main__":
    main()
