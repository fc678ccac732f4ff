"""Drawn shapes with captions as pairs, and small models: for tests of REACT."""

import json
import tarfile
from io import BytesIO

import numpy as np
import torch
from PIL import Image, ImageDraw
from tiny_encoders import make_clip, make_siglip

from trainers.contrastive import export

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 60),
    "blue": (40, 60, 220),
    "yellow": (230, 210, 30),
}
SHAPES = ("circle", "tree", "bar", "dot")


def drawn(colour, shape, seed):
    """Return a PNG of a coloured shape on a grey ground, somewhere."""
    draw = np.random.default_rng([seed, *map(ord, shape)])
    picture = Image.new("RGB", (40, 36), tuple(int(x) for x in draw.integers(90, 150, 3)))
    pen = ImageDraw.Draw(picture)
    x, y = (int(v) for v in draw.integers(0, 12, 2))
    boxes = {"circle": (x, y, x + 24, y + 24), "tree": (x + 8, y, x + 14, y + 24),
             "bar": (x, y + 8, x + 26, y + 14), "dot": (x + 8, y + 8, x + 15, y + 15)}  # fmt: skip
    kind = pen.ellipse if shape in ("circle", "dot") else pen.rectangle
    kind(boxes[shape], fill=COLOURS[colour])
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


PAIRS = [(f"{i:04d}", f"a {colour} {shape}", drawn(colour, shape, n), colour)
         for i, (n, colour, shape) in enumerate(
             (n, c, s) for n in range(4) for c in COLOURS for s in SHAPES)]  # fmt: skip


def write_tar(path, pairs=PAIRS):
    with tarfile.open(path, "w") as tar:
        for key, caption, picture, colour in pairs:
            facts = json.dumps({"labels": [colour], "rank": 1}).encode()
            for ending, content in (("png", picture), ("txt", caption.encode()), ("json", facts)):
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                tar.addfile(member, BytesIO(content))
    return path


def make_world(root):
    """Write a CLIP, a SigLIP and two tars of pairs."""
    make_clip(root / "clip")
    make_siglip(root / "siglip")
    (root / "tars").mkdir()
    write_tar(root / "tars/00000.tar", PAIRS[:40])
    write_tar(root / "tars/00001.tar", PAIRS[40:])
    return root


def inputs(world, model="clip", count=6):
    loaded = export.load(str(world / model))
    pictures = [Image.open(BytesIO(pair[2])).convert("RGB") for pair in PAIRS[:count]]
    pixels = loaded.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
    words = loaded.tokenizer([pair[1] for pair in PAIRS[:count]], return_tensors="pt",
                             padding="max_length", max_length=16)  # fmt: skip
    return {"pixel_values": pixels, "input_ids": words["input_ids"]}


def logits(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).logits_per_image
