"""A small base model with triples about squares and recipes on it: tests of LSKD's students."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import small_blip2

from trainers.engine.objective_loop import declare
from trainers.localized import student
from trainers.recipe import ObjectiveRecipe, find

COLOURS = ("red", "blue", "green", "yellow")
BOXES = ((4, 4, 28, 28), (34, 34, 60, 60))


def make_world(folder: Path) -> Path:
    """Write a base model and 16 triples about 8 pictures of two squares."""
    small_blip2.make(folder / "base")
    lines = []
    for at in range(16):
        name = f"{at % 8}.png"
        pair = COLOURS[at % 4], COLOURS[at // 4 % 2 + 2]
        if at < 8:
            shapes = list(zip(pair, BOXES, strict=True))
            small_blip2.picture(folder / "images" / name, shapes)
        said = ["a", pair[at // 8 % 2], "square", "."]
        lines.append(small_blip2.line(f"t{at}", name, BOXES, said, prediction=at / 16))
    small_blip2.write(folder / "triples.jsonl", lines)
    return folder


def recipe(name: str = "discriminative", **changes: Any) -> ObjectiveRecipe:
    options = {"image_size": 32, "augment": "none"} | changes.pop("options", {})
    made = find(
        f"lskd/{name}",
        {"precision": "fp32", "batch_size": 8, "micro_batch": 8, "max_steps": 2, "warmup": 0.0,
         "lr": 1e-3, "options": options} | changes,
    )  # fmt: skip
    assert isinstance(made, ObjectiveRecipe)
    return made


def made(world: Path, **changes: Any) -> student.Training:
    told = recipe(**changes)
    found = student.make(told, world / "base", world / "triples.jsonl", world / "images")
    declare(found, told)
    return found


def batch_of(objective: Any, places: Sequence[int], epoch: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = objective.collate([objective.read(at, epoch) for at in places])
    return found
