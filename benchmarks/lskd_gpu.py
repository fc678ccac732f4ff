"""LSKD's critic and discriminative student at the shapes of BLIP-2 with ViT-g, 480 pixels, bf16.

    python benchmarks/lskd_gpu.py [--models critic student] [--steps 6] [--workers 12]
    python benchmarks/lskd_gpu.py --tiny           # a smoke test on a CPU, small shapes

Random weights are written once (about 2.4 GB) and loaded as a run loads them; pictures of 640 x 480
and triples about their regions are made up. Training is what `sightline train lskd/...` does, but
for saving and checksums: regions are drawn, pictures varied, texts put into word pieces, by as many
processes as `--workers` says. `exact` computes the student's Q-Former in float32 (TF32 where the
card has it), as the class keeps its weights, `autocast` in bfloat16; `kept` reads the frozen
tower's outputs from memory instead of running it, over pictures that are not varied. MFU: the
operations of a forward and backward pass over the same batch, as torch counts them without
recomputation (torch.utils.flop_counter), over what the device could do in dense bfloat16. Without a
GPU it says so.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from engine_common import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import small_blip2
import tiny_models

from trainers.engine import objective_loop, runs
from trainers.engine.estimate import PEAKS
from trainers.engine.log import Display, Log, read
from trainers.engine.objective import make
from trainers.engine.objective_plan import ObjectivePlan
from trainers.engine.objective_trainer import ObjectiveTraining
from trainers.recipe import ObjectiveRecipe, find

WARM = 2
"""Steps that are not measured: kernels are chosen, memory is asked for, workers start."""
PICTURES = 64
BASE_WORDS = 30_523
"""Rows of the published word table: BERT's and [DEC]."""
VIT_G = {
    "hidden_size": 1408,
    "intermediate_size": 6144,
    "num_hidden_layers": 39,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
}
WAYS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "critic": ("critic", {}, True),
    "critic, nothing recomputed": ("critic", {}, False),
    "student, exact": ("discriminative", {"q_former": "float32"}, False),
    "student, autocast": ("discriminative", {"q_former": "autocast"}, False),
    "student, kept": (
        "discriminative",
        {"q_former": "autocast", "cache_features": True, "augment": "none", "regions": "mentioned",
         "cache_gib": 24},
        False,
    ),
}  # fmt: skip
"""Rows of the table: variant of the recipe, options, whether activations are recomputed."""


@dataclass(frozen=True)
class Measured:
    """What a few steps of training took."""

    rate: float
    """Samples a second, over the measured steps."""
    flops: float
    """Operations of a sample, forward and backward."""
    memory: float
    """GiB at the peak."""


def main() -> None:
    """Print the machine and a table."""
    options = _options()
    if not options.tiny and not torch.cuda.is_available():
        print("no GPU here: this benchmark needs one (--tiny is a smoke test on a CPU)")
        return
    print(f"{machine()}\n")
    print("| model | micro-batch | samples/s | TFLOP a sample | MFU | memory GiB |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        data = write(Path(folder), options)
        for name, (variant, changes, again) in WAYS.items():
            if name.partition(",")[0] not in options.models:
                continue
            recipe = _recipe(variant, changes, again, options)
            try:
                found = measure(recipe, data, options)
            except torch.OutOfMemoryError:
                print(f"| {name} | {recipe.micro_batch} | out of memory | | | |", flush=True)
                continue
            peak = _peak()
            share = f"{found.rate * found.flops / peak:.3f}" if peak else "-"
            print(
                f"| {name} | {recipe.micro_batch} | {found.rate:.1f} | {found.flops / 1e12:.3g} | "
                f"{share} | {found.memory:.1f} |",
                flush=True,
            )


def write(folder: Path, options: argparse.Namespace) -> Path:
    """Write the base model, pictures and labelled triples; return the folder."""
    words = small_blip2.TEXTS[1].split()
    small_blip2.make(folder / "base")
    if not options.tiny:
        _grow(folder / "base")
    size = (64, 64) if options.tiny else (640, 480)
    (folder / "images").mkdir()
    for at in range(PICTURES):
        (folder / "images" / f"{at}.png").write_bytes(tiny_models.picture(at, size))
    lines = [_line(at, words, size) for at in range(_count(options))]
    small_blip2.write(folder / "train.jsonl", lines)
    return folder


def _count(options: argparse.Namespace) -> int:
    """Return the triples of one epoch; each step takes a batch of them."""
    return max(PICTURES, int(options.batch))


def _line(at: int, words: list[str], size: tuple[int, int]) -> dict[str, Any]:
    """Return a labelled triple about one of three regions, some 60 words long as LSKD's are."""
    lot = Random(at)
    width, height = size
    boxes = []
    for _ in range(3):
        left, top = lot.randrange(width // 2), lot.randrange(height // 2)
        boxes.append((left, top, left + width // 4, top + height // 4))
    made: dict[str, Any] = small_blip2.line(
        str(at), f"{at % PICTURES}.png", boxes, lot.choices(words, k=20)
    )
    rationale = lot.choices(words, k=30)
    facts = {"width": width, "height": height, "rationale": rationale, "accept": at % 2,
             "qa_score": 0.5, "r_score": 0.5}  # fmt: skip
    return made | facts


def _grow(folder: Path) -> None:
    """Replace the tiny model in `folder` by random weights of ViT-g's shapes, in bfloat16."""
    from transformers import Blip2ForImageTextRetrieval, Blip2Processor, BlipImageProcessorPil

    tiny = Blip2ForImageTextRetrieval.from_pretrained(folder)
    config = tiny.config
    for name, value in VIT_G.items():
        setattr(config.vision_config, name, value)
    form: dict[str, Any] = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "encoder_hidden_size": 1408,
        "vocab_size": BASE_WORDS,
        "max_position_embeddings": 512,
        "cross_attention_frequency": 2,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
    }
    for name, value in form.items():
        setattr(config.qformer_config, name, value)
    config.num_query_tokens, config.image_text_hidden_size = 32, 256
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Blip2ForImageTextRetrieval(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    processor = Blip2Processor.from_pretrained(folder)
    processor.image_processor = BlipImageProcessorPil(size={"height": 224, "width": 224})
    processor.tokenizer.model_max_length = 512
    processor.save_pretrained(folder)


def measure(recipe: ObjectiveRecipe, data: Path, options: argparse.Namespace) -> Measured:
    """Train a few steps as a run does, and count the operations of one batch."""
    objective = make(recipe, data / "base", data / "train.jsonl", data / "images")
    members = objective_loop.declare(objective, recipe)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    objective.model.to(device)
    flops = _flops(objective, recipe, device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    plan = ObjectivePlan(recipe, len(objective))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        own = {"bf16": False, "per_device_train_batch_size": plan.share}
        args = runs.arguments(recipe, out, steps=plan.total, **own)
        ObjectiveTraining(objective, members, plan, args, Log(out), Display(True)).train()
        lines = [line for line in read(out / "train_log.jsonl") if "loss" in line]
    first, last = lines[WARM - 1], lines[-1]
    rate = (last["samples"] - first["samples"]) / (last["seconds"] - first["seconds"])
    held = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    return Measured(rate, flops, held)


def _flops(objective: Any, recipe: ObjectiveRecipe, device: torch.device) -> float:
    """Return the operations of a sample in a forward and a backward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    count = min(4, recipe.micro_batch)
    batch = objective.collate([objective.read(place, 0) for place in range(count)])
    batch = {name: value.to(device) for name, value in batch.items()}
    objective.model.train()
    with FlopCounterMode(display=False) as counter:
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss, _ = objective.loss(objective.model, batch)
        loss.backward()
    objective.model.zero_grad(set_to_none=True)
    return float(counter.get_total_flops()) / count


def _recipe(
    variant: str, changes: dict[str, Any], again: bool, options: argparse.Namespace
) -> ObjectiveRecipe:
    """Return LSKD's recipe at the size of the benchmark."""
    small = {"options.image_size": 48} if options.tiny else {}
    kept = bool(changes.get("cache_features"))
    found = find(f"lskd/{variant}", {
        **{f"options.{name}": value for name, value in changes.items()},
        **small,
        "batch_size": options.batch,
        "micro_batch": options.micro_critic if variant == "critic" else options.micro,
        "max_steps": options.steps + WARM,
        "epochs": 1,
        "warmup": 0.0,
        "precision": "fp32" if options.tiny else "bf16",
        "optimizer": "adamw_torch" if options.tiny else "adamw_torch_fused",
        "activation_checkpointing": again,
        "workers": 0 if kept or options.tiny else options.workers,
        "evaluate": (),
    })  # fmt: skip
    assert isinstance(found, ObjectiveRecipe)
    return found


def _peak() -> float:
    if not torch.cuda.is_available():
        return 0.0
    name = torch.cuda.get_device_name()
    return next((peak for key, peak in PEAKS.items() if key in name), 0.0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=("critic", "student"),
                        default=["critic", "student"])  # fmt: skip
    parser.add_argument("--steps", type=int, default=6, help="measured ones, after two others")
    parser.add_argument("--batch", type=int, default=256, help="samples of an optimizer step")
    parser.add_argument("--micro", type=int, default=64, help="of a student's forward pass")
    parser.add_argument("--micro-critic", type=int, default=16, help="of a critic's forward pass")
    parser.add_argument("--workers", type=int, default=12, help="processes that read pictures")
    parser.add_argument("--tiny", action="store_true", help="small shapes, on a CPU")
    options = parser.parse_args()
    if options.tiny:
        options.batch, options.micro, options.micro_critic, options.steps = 8, 4, 4, 2
    return options


if __name__ == "__main__":
    main()
