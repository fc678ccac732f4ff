"""What a run costs: arithmetic per token, memory, steps and time, from shapes alone.

Arithmetic: 2 operations per weight and token forward; backward 2 more per weight and token for
the gradient that flows on, where something before it trains, and 2 more for a trained weight's own.
Attention is counted causally, half of the square. Activation checkpointing recomputes the forward
pass; that is not counted, as MFU is usually given. The head counts at target positions only, where
it is computed. May import torch at the top.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

PEAKS = {"H200": 989e12, "H100": 989e12, "GH200": 989e12, "B200": 2250e12, "A100": 312e12,
         "A800": 312e12, "H800": 989e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12,
         "RTX 4090": 165e12, "RTX 3090": 71e12}  # fmt: skip
"""Dense bfloat16 operations a second, as the makers state them."""


@dataclass
class Cost:
    """Weights of a model by part, and what a batch costs."""

    model: Any
    vision_tokens: int = field(init=False)
    """Patches of a picture or tile."""

    def __post_init__(self) -> None:
        """Count the weights of matrices by part, and those that train."""
        self.parts: dict[str, list[int]] = {
            p: [0, 0] for p in ("vision", "projector", "lm", "head")
        }
        for name, parameter in self.model.named_parameters():
            if parameter.ndim < 2 or "embed_tokens" in name or "position_embedding" in name:
                continue
            part = _part(name)
            self.parts[part][0] += parameter.numel()
            self.parts[part][1] += parameter.numel() * parameter.requires_grad
        config = self.model.config
        text = config.get_text_config()
        if not self.parts["head"][0]:  # tied to the embedding
            self.parts["head"] = [text.vocab_size * text.hidden_size] * 2
        self.layers, self.width = text.num_hidden_layers, text.hidden_size
        tower = getattr(config, "vision_config", None)
        side = getattr(tower, "image_size", 0) or 0
        patch = getattr(tower, "patch_size", 1) or 1
        self.vision_tokens = int(side // patch) ** 2

    def flops(self, tokens: int, squares: float, targets: int, pictures: float) -> float:
        """Return the operations of batches.

        Args:
            tokens: Of all samples, image tokens included.
            squares: Sum of the squared lengths of samples.
            targets: Tokens that are learnt.
            pictures: Pictures, or tiles of them.
        """
        patches = pictures * self.vision_tokens
        reach = {"vision": patches, "projector": patches, "lm": tokens, "head": targets}
        order = ("vision", "projector", "lm", "head")
        total, before = 0.0, False
        for part in order:
            weights, trained = self.parts[part]
            flows = before or bool(trained)
            # Within a part everything after its first trained weight carries gradients.
            total += 2.0 * reach[part] * (weights + trained + (weights if flows else 0))
            if part == "lm":
                attention = 2.0 * squares * self.width * self.layers
                total += attention * (3 if flows else 1)
            before = flows
        return total

    def peak(self, device: Any) -> float:
        """Return the operations a second that the device could do; 0 where unknown."""
        kind = torch.device(device)
        if kind.type != "cuda":
            return 0.0
        name = torch.cuda.get_device_name(kind)
        return next((peak for key, peak in PEAKS.items() if key in name), 0.0)


def _part(name: str) -> str:
    if "lm_head" in name:
        return "head"
    if "projector" in name or "image_newline" in name:
        return "projector"
    return "vision" if "vision" in name else "lm"


def memory(total: int, trained: int, precision: str, shards: int) -> dict[str, float]:
    """Return bytes of `total` weights, and of gradients and AdamW's states, on one device."""
    if precision == "fp32":
        held, own = 4 * total, 4 + 8
    elif precision == "bf16":
        held, own = 2 * (total - trained) + 4 * trained, 4 + 8
    else:
        held, own = 2 * total, 2 + 4
    return {"weights": held / shards, "gradients_and_optimizer": trained * own / shards}


SAMPLE = 2000
"""Records that a forecast encodes; more are extrapolated from so many."""
ASSUMED_MFU = 0.45
ASSUMED_PEAK = ("A100", PEAKS["A100"])


def forecast(recipe: Any, source: Any, data: Any, images: Any, devices: int) -> list[str]:
    """Return what a run would take, as lines for people, with what was assumed.

    Args:
        recipe: What would be carried out.
        source: Model to start from, or None for the recipe's builder.
        data: Records, as for a run.
        images: Folder of pictures.
        devices: How many would share the work.

    Raises:
        UsageError: No model is named.
        DataError: As a run would.
    """
    from pathlib import Path

    import numpy as np

    from trainers.engine import model, records, samples
    from trainers.engine.sampler import Plan

    found = records.read(recipe, Path(data))
    ready = model.prepare(recipe, source or _sketch(recipe, Path(data)))
    encoder = samples.Encoder(recipe, ready.processor, Path(images) if images else None)
    total = len(found)
    step = max(1, total // SAMPLE)
    part = records.Records(found.shards, found.picks[::step])
    index = samples.Dataset(part, encoder).index()
    share = total / len(part)
    plan = Plan(recipe, index, devices)
    cost = Cost(ready.plain)
    weights = sum(p.numel() for p in ready.model.parameters())
    trained = sum(p.numel() for p in ready.model.parameters() if p.requires_grad)
    steps = recipe.max_steps or max(1, round(plan.total * share))
    epochs = recipe.epochs if not recipe.max_steps else steps / max(len(plan.epoch(0)) * share, 1)
    tokens = int(index.lengths.sum() * share * epochs)
    squares = float((index.lengths.astype(np.float64) ** 2).sum() * share * epochs)
    frames = min(recipe.images.video, recipe.images.frames) or 1
    pictures = float(index.pictured.sum() * share * epochs) * frames
    flops = cost.flops(tokens, squares, int(index.targets.sum() * share * epochs), pictures)
    shards = devices if recipe.parallel in ("fsdp2", "zero3") else 1
    held = memory(weights, trained, recipe.precision, shards)
    name, peak = _machine(cost)
    seconds = flops / (ASSUMED_MFU * peak * devices)
    lines = [
        f"recipe {recipe.name}: {ready.base}",
        f"records  {total:,}, of which {round(len(index.kept) * share):,} are trained on"
        + (f" (from a sample of {len(part):,})" if step > 1 else ""),
        *(f"  left out, {reason}: {round(n * share):,}" for reason, n in index.bad.items()),
        f"steps    {steps:,} of {recipe.batch_size} samples: {plan.accumulation} micro-batches of "
        f"{recipe.micro_batch} {'rows' if recipe.packing else 'samples'} on each of {devices}",
        f"tokens   {tokens:,}, {index.targets.sum() / max(index.lengths.sum(), 1):.1%} of "
        "them targets",
        f"weights  {weights:,}, of which {trained:,} train, in "
        f"{len({m.group for m in ready.members.values()})} groups",
        f"memory   {held['weights'] / 2**30:.2f} GiB of weights and "
        f"{held['gradients_and_optimizer'] / 2**30:.2f} GiB of gradients and optimizer states on "
        "each device; activations come on top and depend on micro_batch",
        f"time     {_clock(seconds)} on {devices} x {name}, "
        f"{seconds * devices / 3600:.2f} device hours",
        f"assumed  {ASSUMED_MFU:.0%} of {peak / 1e12:.0f} TFLOP/s; {flops:.3g} operations; AdamW",
    ]
    if recipe.a100_hours:
        lines.append(f"published {recipe.a100_hours:g} A100 hours")
    if frames > 1:
        lines.append(f"assumed  {frames} frames for each sample with a picture")
    lines += [f"note     {note}" for note in found.notes]
    return lines


def _sketch(recipe: Any, data: Any) -> Any:
    """Return what makes the recipe's model without weights, where its builder can do that."""
    from importlib import import_module

    from trainers.engine.model import BUILDERS

    if not (BUILDERS / f"{recipe.builder}.py").is_file():
        return None
    module = import_module(f"trainers.builders.{recipe.builder}")
    return module.sketch(recipe, data) if hasattr(module, "sketch") else None


def _machine(cost: Cost) -> tuple[str, float]:
    if torch.cuda.is_available() and (peak := cost.peak("cuda")):
        return torch.cuda.get_device_name(), peak
    return ASSUMED_PEAK


def _clock(seconds: float) -> str:
    from harness.progress import clock

    return clock(seconds)
