"""Tiny LLaVA models out of our own builders, and records with pictures, for tests of trainers."""

import json
from pathlib import Path
from random import Random
from typing import Any

import tiny_models

from trainers.builders import llava
from trainers.engine import templates
from trainers.recipe import ImageSettings, Recipe

WORDS = ("red", "blue", "green", "cube", "ball", "cone", "left", "right", "big", "one", "two")
TEXTS = [tiny_models.TEXT, *WORDS, templates.CURIOUS, templates.CURIOUS_HUMAN]
TILE = 28
"""Pixels of the tiny tower's input."""


def model(kind: str = "llava", **options: Any) -> tuple[Any, Any]:
    """Return a random tiny model and its processor."""
    chosen: dict[str, Any] = {
        "vision": "scratch:tiny",
        "language": "scratch:tiny",
        "kind": kind,
        "texts": TEXTS,
        "vocabulary": 500,
        "template": templates.text("v1"),
    }
    return llava.assemble(**chosen | options)


def settings(**fields: Any) -> ImageSettings:
    """Return image settings."""
    return ImageSettings.model_validate(fields)


def small(recipe: Recipe, **changes: Any) -> Recipe:
    """Return `recipe` at a size that a test can carry out, on the records of `write`."""
    parts = {
        "vision": "scratch:tiny",
        "language": "scratch:tiny",
        "connector": recipe.builder_options["connector"],
        "kind": recipe.builder_options["kind"],
        "connector_weights": "none",
    }
    tiles = recipe.images.aspect == "anyres"
    plain = {
        "builder_options": parts,
        "needs": (),
        "data": (),
        "mixture": "",
        "images.size": TILE,
        "images.grid": ((2 * TILE, 2 * TILE), (TILE, 2 * TILE)) if tiles else (),
        "batch_size": 4,
        "micro_batch": 4,
        "epochs": 1,
        "precision": "fp32",
        "parallel": "ddp",
        "activation_checkpointing": False,
        "max_length": 512,
    }
    return recipe.changed(plain | changes)


def write(folder: Path, count: int = 8, text_only: int = 0) -> tuple[Path, Path]:
    """Write records of two turns with pictures, then some without; return records and images."""
    images = folder / "images"
    images.mkdir(parents=True)
    rows = []
    for at in range(count + text_only):
        lot = Random(at)
        turns = []
        for turn in range(1 + at % 2):
            mark = "<image>\n" if turn == 0 and at < count else ""
            turns.append({"from": "human", "value": f"{mark}What is {lot.choice(WORDS)} here?"})
            turns.append({"from": "gpt", "value": " ".join(lot.sample(WORDS, 3))})
        row: dict[str, Any] = {"id": f"r{at}", "conversations": turns}
        if at < count:
            row["image"] = f"{at}.png"
            size = (30 + 7 * at, 70 - 4 * at)
            (images / f"{at}.png").write_bytes(tiny_models.picture(at, size))
        rows.append(row)
    path = folder / "records.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path, images


def picture(seed: int = 1, size: tuple[int, int] = (40, 32)) -> Any:
    """Return a picture of `size` (width, height)."""
    from io import BytesIO

    from PIL import Image

    return Image.open(BytesIO(tiny_models.picture(seed, size)))


def asked(processor: Any, text: str = "<s><image>\nWhat is red here?") -> Any:
    """Return the tensors of a question about a picture."""
    return processor(images=[picture()], text=text, return_tensors="pt")


def logits(model: Any, inputs: Any) -> Any:
    """Return what the model makes of them."""
    import torch

    with torch.no_grad():
        return model.eval()(**inputs).logits


def directories(root: Path) -> Path:
    """Write a language model and towers of the three kinds below `root`, with random weights."""
    from transformers import (
        CLIPConfig,
        CLIPModel,
        Dinov2Config,
        Dinov2Model,
        SiglipVisionConfig,
        SiglipVisionModel,
    )

    tiny_models.make_llama(root / "llama", template=None)
    small = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    sizes = {"image_size": 28, "patch_size": 7, "intermediate_size": 48} | small
    CLIPModel(CLIPConfig(vision_config=sizes, text_config=small)).save_pretrained(root / "clip")
    SiglipVisionModel(SiglipVisionConfig(**sizes)).save_pretrained(root / "siglip")
    dino = Dinov2Model(Dinov2Config(image_size=56, patch_size=7, **small))
    dino.save_pretrained(root / "dinov2")
    stated = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (root / "siglip/preprocessor_config.json").write_text(json.dumps(stated))
    return root
