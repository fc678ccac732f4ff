"""Exact continuation: which checkpoint counts, whether it belongs to this run, what it holds.

A checkpoint counts once its progress.json is there, which is written last; a half-written one is
removed. Weights are loaded with `from_pretrained` and compared with the file afterwards, tensor by
tensor: transformers 5.23 saves LLaVA's tensors under older names, and its own Trainer then restores
none of them with a warning alone. May import torch at the top.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from harness.errors import DataError, UsageError
from trainers.recipe import Common

MARK = "progress.json"
MAY_DIFFER = {"save_every", "keep", "log_every", "report_to", "evaluate", "workers", "save_dtype"}
"""Keys of a recipe that change no number of the run."""


def checkpoints(out: Path) -> list[Path]:
    """Return the complete checkpoints below `out`, oldest first."""
    found = [p for p in out.glob("checkpoint-*") if (p / MARK).is_file()]
    return sorted(found, key=_step)


def latest(out: Path) -> Path | None:
    """Return the last complete checkpoint, and remove what a crash left half-written."""
    for path in out.glob("checkpoint-*"):
        if not (path / MARK).is_file():
            shutil.rmtree(path)
    found = checkpoints(out)
    return found[-1] if found else None


def mark(folder: Path, progress: Mapping[str, Any]) -> None:
    """Declare a checkpoint complete, and say how far the run had come."""
    part = folder / f"{MARK}.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump(dict(progress), file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / MARK)


def progress(folder: Path) -> dict[str, Any]:
    """Return how far the run had come."""
    return dict(json.loads((folder / MARK).read_text(encoding="utf-8")))


def rotate(out: Path, keep: int) -> None:
    """Remove all complete checkpoints but the last `keep`."""
    for path in checkpoints(out)[:-keep]:
        (path / MARK).unlink()  # a crash in the middle leaves one that does not count
        shutil.rmtree(path)


def same_run(before: Mapping[str, Any], recipe: Common, data: Any, world: int) -> None:
    """Raise UsageError unless a run can go on with this recipe, these data and so many devices."""
    old, new = dict(before["recipe"]), recipe.model_dump(mode="json")
    differing = [k for k in new if k not in MAY_DIFFER and old.get(k) != new[k]]
    if differing:
        told = "; ".join(f"{k}: {old.get(k)!r} before, {new[k]!r} now" for k in differing[:4])
        raise UsageError(f"--resume goes on with the recipe that the run began with; {told}")
    if before["data"] != data:
        raise UsageError("--resume: the files of records are not those that the run began with")
    if before["world"] != world:
        raise UsageError(
            f"--resume: the run began on {before['world']} devices and this is {world}; the order "
            "of samples within a step and the random states belong to that number"
        )


def verify(model: Any, folder: Path) -> int:
    """Compare the live tensors of `model` with the files of a checkpoint; return how many.

    Raises:
        DataError: A tensor differs, or is in one of the two only.
    """
    from safetensors import safe_open

    adapted = hasattr(model, "peft_config")
    live = _adapter_state(model) if adapted else model.state_dict()
    files = sorted(folder.glob("adapter_model*.safetensors" if adapted else "model*.safetensors"))
    seen, differing = set(), []
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  # no mapping
                seen.add(name)
                stored = file.get_tensor(name)
                own = live.get(name)
                if own is None or not torch.equal(own.detach().cpu().to(stored.dtype), stored):
                    differing.append(name)
    pointers = {live[name].data_ptr() for name in seen if name in live}
    absent = [n for n, t in live.items() if n not in seen and t.data_ptr() not in pointers]
    if differing or absent or not seen:
        some = ", ".join((differing + absent)[:4]) or "there is no weight file"
        raise DataError(f"{folder}: the weights in memory are not those of the checkpoint: {some}")
    return len(seen)


def load_adapter(model: Any, folder: Path) -> None:
    """Load the adapter of a checkpoint into a model that already has one."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))


def _adapter_state(model: Any) -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    return dict(get_peft_model_state_dict(model))


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])
