"""A toy world for LocVLM: places as text, learnt from nothing through our own pipeline.

Pictures of coloured rectangles go through the same code as COCO: annotations, records of the three
objectives, the trainer, probes. A fifth of all positions is kept from training. Afterwards places
at these positions should be told to less than 2 bins, things of absent colours denied, and a model
that was trained on boxes of other pictures should fail. Weights are random at first and all of
them train: there is no pretrained tower here.

    python benchmarks/locvlm_toy.py
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from trainers import probing
from trainers.builders import llava
from trainers.codecs import codec
from trainers.engine import loop
from trainers.locating import OBJECTIVES, Item, Locating, Picture, records
from trainers.recipe import Recipe

SIDE = 28
"""Pixels of a picture, and bins of the codec."""
COLOURS = {
    "red": (230, 30, 30),
    "green": (30, 200, 30),
    "blue": (40, 60, 230),
    "yellow": (230, 220, 30),
}
CODEC = {"name": "ivb", "bins": SIDE}


def world(count: int, seed: int, held_out: bool, things: int) -> list[Picture]:
    """Return pictures of rectangles; (left, top) is held out of training or of evaluation."""
    made = []
    for number in range(count):
        draw = Random(repr((seed, number, held_out)))
        boxes: list[tuple[int, int, int, int]] = []
        while len(boxes) < things:
            wide, high = draw.randint(5, 12), draw.randint(5, 12)
            left, top = draw.randint(0, SIDE - wide), draw.randint(0, SIDE - high)
            if ((left + 3 * top) % 5 == 0) is not held_out:
                continue
            box = (left, top, left + wide, top + high)
            if all(_apart(box, other) for other in boxes):
                boxes.append(box)
        names = draw.sample(sorted(COLOURS), things)
        items = tuple(
            Item(10 * number + i, name, tuple(map(float, box)))  # type: ignore[arg-type]
            for i, (name, box) in enumerate(zip(names, boxes, strict=True))
        )
        split = "held-out" if held_out else "train"
        made.append(Picture(f"{split}-{number}", f"{split}-{number}.png", (SIDE, SIDE), items))
    return made


def _apart(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    return one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]


def draw(pictures: list[Picture], folder: Path) -> None:
    """Write the pictures."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        canvas = Image.new("RGB", picture.size, (20, 20, 20))
        for item in picture.items:
            canvas.paste(COLOURS[item.kind], tuple(int(x) for x in item.box))
        canvas.save(folder / picture.file)


def shuffled(pictures: list[Picture], seed: int) -> list[Picture]:
    """Return pictures that say the boxes of others: the control."""
    boxes = [[item.box for item in picture.items] for picture in pictures]
    Random(seed).shuffle(boxes)
    return [
        Picture(p.id, p.file, p.size,
                tuple(Item(i.id, i.kind, box) for i, box in zip(p.items, told, strict=True)))
        for p, told in zip(pictures, boxes, strict=True)
    ]  # fmt: skip


def build(data: Path) -> Any:
    """Return what makes the model: random, with positions that weigh as much as what is there.

    CLIP's own start has them at a twentieth of that, and pretraining makes them large.
    """

    def make(told: Recipe) -> Any:
        import torch

        model, processor = llava.build(
            told, vision="scratch:toy", language="scratch:toy", vocabulary=400, texts=str(data)
        )
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            model.model.vision_tower.embeddings.position_embedding.weight.normal_(std=0.3)
        return model, processor

    return make


def recipe(steps: int, probes: Path, batch: int, lr: float) -> Recipe:
    """Return the training run: everything but the tower's unused last layer."""
    return Recipe.model_validate(
        {
            "name": "locvlm-toy",
            "trainable": (".*",),
            "frozen": (r".*vision_tower\.(.*layers\.2\..*|.*post_layernorm.*)",),
            "images": {"aspect": "pad", "size": SIDE, "cache": "ram"},
            "template": "v1",
            "system": "",
            "batch_size": batch,
            "micro_batch": batch,
            "max_steps": steps,
            "max_length": 128,
            "lr": lr,
            "optimizer": "muon",
            "schedule": "linear",
            "warmup": 0.05,
            "precision": "fp32",
            "sampler": "random",
            "log_every": 50,
            "save_every": 250,
            "keep": 1,
            "probes": str(probes),
        }
    )


def run(folder: Path, steps: int, count: int, batch: int, control: bool = False,
        location: str = "point", things: int = 1, lr: float = 1e-3,
        objectives: tuple[str, ...] = OBJECTIVES, seed: int = 0) -> dict[str, Any]:  # fmt: skip
    """Train in `folder` and return what the probes of held-out positions gave, and the losses."""
    train, held = world(count, seed, False, things), world(100, seed, True, things)
    images = folder / "images"
    draw(train + held, images)
    coder = codec(**CODEC)  # type: ignore[arg-type]
    how = Locating(coder, location, objectives, each=2, seed=seed)  # type: ignore[arg-type]
    kinds = sorted(COLOURS)
    said = shuffled(train, seed) if control else train
    rows = list(records(said, kinds, how))
    data = folder / "records.json"
    data.write_text(json.dumps(rows), encoding="utf-8")
    probes = folder / "probes.json"
    probing.write(probes, probing.make(held, kinds, how, 100), CODEC)
    told = recipe(steps, probes, batch, lr)
    began = time.monotonic()
    result = loop.train(told, build(data), data, folder / "run", images=images, quiet=True)
    found: dict[str, Any] = [line for line in result.log if "eval" in line][-1]["eval"]["metrics"]
    losses = [line["loss"] for line in result.log if "loss" in line]
    error = found["centre_error"]
    return found | {
        "error_in_bins": None if error is None else error / 100 * SIDE,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    """Print both runs."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--location", default="point")
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--things", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("boxes", "control"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for control in {"boxes": (False,), "control": (True,), None: (False, True)}[args.only]:
        with tempfile.TemporaryDirectory() as folder:
            found = run(
                Path(folder),
                args.steps,
                args.pictures,
                args.batch,
                control,
                args.location,
                args.things,
                args.lr,
                tuple(args.objectives.split(",")),
            )
        print("control (boxes of other pictures)" if control else "boxes of the pictures")
        print(json.dumps(found, indent=1), flush=True)


if __name__ == "__main__":
    main()
