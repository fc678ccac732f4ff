"""The index of a run's records on disk, so that going on does not read them all again.

May import numpy at the top.
"""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np

from trainers.engine import records, samples
from trainers.recipe import Recipe


def key(
    recipe: Recipe, found: records.Records, encoder: samples.Encoder, images: Path | None
) -> str:
    """Return what an index depends on, as one hash."""
    parts = [found.describe(), list(found.picks)[:1], len(found), encoder.template, str(images),
            recipe.max_length, recipe.images.model_dump(), recipe.on_bad, recipe.seed]  # fmt: skip
    return sha256(json.dumps(parts, default=str).encode()).hexdigest()


def known(path: Path, key: str) -> samples.Index | None:
    """Return the index at `path`, if it is there and belongs to `key`."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        if str(file["key"]) != key:
            return None
        rest = json.loads(str(file["rest"]))
        columns = (file["kept"], file["lengths"], file["targets"], file["pictured"])
        return samples.Index(*columns, rest["bad"], tuple(rest["examples"]), rest["cut"])


def keep(path: Path, index: samples.Index, key: str) -> None:
    """Write an index, atomically."""
    rest = {"bad": dict(index.bad), "examples": list(index.examples), "cut": index.cut}
    part = path.with_suffix(".part.npz")
    np.savez(part, kept=index.kept, lengths=index.lengths, targets=index.targets,
             pictured=index.pictured, key=np.array(key),
             rest=np.array(json.dumps(rest)))  # fmt: skip
    part.replace(path)
