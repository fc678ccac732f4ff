"""COCO-Stuff pixel maps for the contract test: a class or none in each of some blocks."""

from pathlib import Path
from random import Random

import numpy as np
from PIL import Image
from small_data import picture

VALUES = (0, 2, 17, 91, 105, 148, 156, 168, 181, 255)
"""Bytes of the maps: an id minus 1, or 255 for none."""
BLOCK = 8


def values(number: int, size: tuple[int, int] = (48, 40)) -> np.ndarray:
    """Return one map (height, width) of bytes."""
    draw = Random(f"stuff/{number}")
    blocks = [
        [draw.choice(VALUES) for _ in range(size[0] // BLOCK)] for _ in range(size[1] // BLOCK)
    ]
    return np.kron(np.array(blocks, np.uint8), np.ones((BLOCK, BLOCK), np.uint8))


def write(folder: Path) -> dict[str, Path]:
    """Write 8 maps with their pictures; returns variant to data."""
    (folder / "stuffthingmaps/val2017").mkdir(parents=True)
    (folder / "val2017").mkdir()
    for number in range(8):
        stem = f"{number + 3:012d}"
        Image.fromarray(values(number)).save(folder / f"stuffthingmaps/val2017/{stem}.png")
        (folder / f"val2017/{stem}.jpg").write_bytes(picture(number, (48, 40)))
    return {"": folder}
