"""A small vision tower from nothing: it learns to name what region phrases say.

The base models of the demo and of `make wind-tunnel` need eyes, and published ones cannot be
downloaded everywhere. Features of the patches below a region are averaged, weighted by how much of
each patch the region covers, and must tell which words its phrase has (binary cross-entropy over
the words, as in word-classification pretraining). Phrases and boxes are in Visual Genome's files;
no class labels are used. The result is an ordinary CLIP vision tower for trainers/builders.
Imports torch and transformers at the top; imported lazily only.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, isqrt, pi
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from harness.errors import DataError
from trainers.builders import shapes
from trainers.engine.muon import MuonAdamW, inner

_STOP = frozenset(("a", "an", "the", "of", "in", "on", "at", "with", "who", "and", "is", "to"))
_RARE = 8
"""Words of fewer phrases are not learned."""


@dataclass(frozen=True)
class Look:
    """One picture and its phrases, in patches."""

    pixels: Tensor
    """uint8, 3 x side x side: padded to a square and resized."""
    weights: Tensor
    """Regions x patches: share of the region's area that lies on each patch."""
    words: list[list[int]]


@dataclass(frozen=True)
class Lessons:
    """What there is to learn."""

    looks: list[Look]
    words: tuple[str, ...]
    side: int
    patch: int


def read(folder: Path, images: Path, side: int, patch: int, most: int = 0) -> Lessons:
    """Read Visual Genome's region_descriptions.json and image_data.json with the pictures.

    Args:
        folder: Where both files are.
        images: Where <image id>.jpg are, at any depth of VG_100K.
        side: Pixels of the square that the tower sees.
        patch: Pixels of a patch's side.
        most: Read so many pictures only; 0: all.

    Raises:
        DataError: A file is missing or is something else, or a picture cannot be opened.
    """
    path = folder / "region_descriptions.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))[: most or None]
        phrases = {row["id"]: row["regions"] for row in told}
        counts = Counter(
            word for regions in phrases.values() for r in regions for word in _words(r["phrase"])
        )
        words = tuple(sorted(word for word, count in counts.items() if count >= _RARE))
        known = {word: place for place, word in enumerate(words)}
        looks = [_look(images, id, regions, known, side, patch) for id, regions in phrases.items()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not Visual Genome's region descriptions ({type(error).__name__}: {error})"
        ) from error
    if not looks or not words:
        raise DataError(f"{path}: no phrases to learn from")
    return Lessons(looks, words, side, patch)


def _words(phrase: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]+", phrase.lower()) if word not in _STOP}


def _look(
    images: Path, id: int, regions: list[Any], known: dict[str, int], side: int, patch: int
) -> Look:
    import numpy
    from PIL import Image

    path = next((p for p in (images / f"{id}.jpg", images / "VG_100K" / f"{id}.jpg") if p.exists()),
                images / f"{id}.jpg")  # fmt: skip
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    width, height = picture.size
    longest = max(width, height)
    # as LLaVA's processor pads, so that the tower later sees what it has learned on
    mean = tuple(round(255 * value) for value in shapes.CLIP_MEAN)
    square = Image.new("RGB", (longest, longest), mean)
    corner = ((longest - width) // 2, (longest - height) // 2)
    square.paste(picture, corner)
    square = square.resize((side, side), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(numpy.asarray(square).copy()).permute(2, 0, 1).contiguous()
    edges = torch.arange(0, side, patch, dtype=torch.float32)
    rows, words = [], []
    for region in regions:
        scale = side / longest
        left, top = (region["x"] + corner[0]) * scale, (region["y"] + corner[1]) * scale
        right, bottom = left + region["width"] * scale, top + region["height"] * scale
        across = (torch.clamp(edges + patch, max=right) - torch.clamp(edges, min=left)).clamp(min=0)
        down = (torch.clamp(edges + patch, max=bottom) - torch.clamp(edges, min=top)).clamp(min=0)
        cover = torch.outer(down, across).flatten()
        if cover.sum() > 0:
            rows.append(cover / cover.sum())
            words.append([known[word] for word in _words(region["phrase"]) if word in known])
    return Look(pixels, torch.stack(rows), words)


def train(
    lessons: Lessons,
    out: Path,
    *,
    sizes: dict[str, Any],
    steps: int,
    batch: int = 16,
    lr: float = 2e-3,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, float]:
    """Train a tower from random weights and save it at `out`; return what was measured.

    Args:
        lessons: From `read`.
        out: Folder for config.json, the weights and preprocessor_config.json.
        sizes: Of a CLIP vision tower (shapes.TOWERS); image and patch size come from the lessons.
        steps: Optimizer steps; the rate rises over the first 50 and falls as a cosine.
        batch: Pictures of a step.
        lr: Highest learning rate, of AdamW; the layers' matrices have Muon (muon.py).
        seed: Of the weights and of the order of pictures.
        say: Told every tenth of the way.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(seed)
    told = {**sizes, "image_size": lessons.side, "patch_size": lessons.patch}
    told.pop("model_type", None)
    half = half_is_fast()
    model = CLIPVisionModel(CLIPVisionConfig(**told))
    model.set_attn_implementation("eager" if half else "sdpa")
    head = torch.nn.Linear(model.config.hidden_size, len(lessons.words))
    weights = [*model.parameters(), *head.parameters()]
    optimizer = MuonAdamW([{"params": weights}], inner(model), lr=lr, weight_decay=0.05)
    warm = min(50, max(steps // 10, 1))
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, 0.5 + 0.5 * cos(step / steps * pi))
    )
    order = torch.Generator().manual_seed(seed)
    started, seen, recent = time.monotonic(), 0, 0.0
    model.train()
    for step in range(1, steps + 1):
        chosen = torch.randint(len(lessons.looks), (batch,), generator=order).tolist()
        looks = [lessons.looks[n] for n in chosen]
        if step % 2:
            looks = [mirrored(look) for look in looks]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = _loss(model, head, looks)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        rate.step()
        seen += batch
        recent = loss.item() if step == 1 else 0.98 * recent + 0.02 * loss.item()
        if step % max(steps // 10, 1) == 0:
            pace = seen / (time.monotonic() - started)
            say(f"tower: step {step:,} of {steps:,}, loss {recent:.2f}, {pace:.0f} pictures/s")
    model.eval()
    model.save_pretrained(out)
    _save_processor(out, lessons.side)
    return {"loss": recent, "pictures": float(seen), "seconds": time.monotonic() - started}


def half_is_fast() -> bool:
    """Return whether this processor multiplies bfloat16 itself; others are slower with it."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16"))


def mirrored(look: Look) -> Look:
    """Return a picture as in a mirror, with its regions; phrases never say left or right."""
    rows, patches = look.weights.shape
    grid = look.weights.view(rows, isqrt(patches), isqrt(patches))
    return Look(look.pixels.flip(-1), grid.flip(-1).reshape(rows, patches), look.words)


def _normal(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (shapes.CLIP_MEAN, shapes.CLIP_STD))
    return (pixels.float() / 255 - mean) / std


def pooled(model: Any, looks: list[Look]) -> Tensor:
    """Return the features of all regions of some pictures, regions x width."""
    features = model(pixel_values=_normal(torch.stack([look.pixels for look in looks])))
    patches = features.last_hidden_state[:, 1:]
    return torch.cat([look.weights @ patches[n] for n, look in enumerate(looks)])


def _loss(model: Any, head: Any, looks: list[Look]) -> Tensor:
    seen = pooled(model, looks)
    wanted = torch.zeros(len(seen), head.out_features)
    row = 0
    for look in looks:
        for words in look.words:
            wanted[row, words] = 1.0
            row += 1
    told = functional.binary_cross_entropy_with_logits(head(seen), wanted, reduction="none")
    return told.sum(1).mean()


def _save_processor(out: Path, side: int) -> None:
    stated = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        "image_mean": list(shapes.CLIP_MEAN),
        "image_std": list(shapes.CLIP_STD),
        "do_convert_rgb": True,
    }
    (out / "preprocessor_config.json").write_text(json.dumps(stated, indent=1), encoding="utf-8")
