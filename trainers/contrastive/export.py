"""A contrastive model as a plain directory, and with its gates, so that they can be trained on.

    DIR/model.safetensors, config.json    CLIPModel or SiglipModel: gated blocks are layers
    DIR/unfolded.safetensors, gates.json  the same with its gates, where there are any

May import torch and transformers at the top.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from harness.engine.load import cannot_load, quiet
from harness.errors import DataError, UsageError
from trainers.engine.gated import MODES, customise, fold

UNFOLDED, GATES = "unfolded.safetensors", "gates.json"


@dataclass
class Loaded:
    """A contrastive checkpoint: the model in float32 on the CPU, and how it is asked."""

    model: Any
    image_processor: Any
    tokenizer: Any


def load(address: str) -> Loaded:
    """Load a CLIP or SigLIP.

    Raises:
        DataError: It cannot be loaded.
        UsageError: It is a model of another kind.
    """
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, CLIPModel, SiglipModel

    try:
        with quiet():
            model = AutoModel.from_pretrained(address, dtype=torch.float32)
            images = AutoImageProcessor.from_pretrained(address, backend="pil")
            tokenizer = AutoTokenizer.from_pretrained(address)
    except (OSError, ValueError, ImportError) as error:
        raise cannot_load(address, error) from error
    if not isinstance(model, CLIPModel | SiglipModel):
        raise UsageError(
            f"{address} is a {type(model).__name__}; a CLIPModel or SiglipModel is customised"
        )
    return Loaded(model, images, tokenizer)


def save(
    loaded: Loaded, folder: Path, dtype: torch.dtype, mode: str, last: int, train_scale: bool
) -> None:
    """Write the model of a run in `mode`; it stays what it is."""
    plain = fold(loaded.model).to(dtype)
    plain.config.dtype = dtype
    plain.save_pretrained(folder)
    loaded.image_processor.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    if MODES[mode]:
        state = {name: t.detach().cpu().clone() for name, t in loaded.model.state_dict().items()}
        save_file(state, folder / UNFOLDED, metadata={"format": "pt"})
        facts = {"mode": mode, "gates": last, "train_scale": train_scale}
        (folder / GATES).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def unfold(loaded: Loaded, folder: Path, mode: str, last: int, train_scale: bool) -> None:
    """Put the gates beside a plain model of ours back into it: `loaded.model` is replaced.

    Raises:
        DataError: There are none beside it, or they are not this model's.
        UsageError: They belong to another mode.
    """
    path = folder / GATES
    if not path.is_file():
        raise DataError(f"{folder} has no {GATES}: it was not trained with gates")
    found = json.loads(path.read_text(encoding="utf-8"))
    if (found["mode"], found["gates"]) != (mode, last):
        raise UsageError(
            f"{folder} was trained as mode {found['mode']} with {found['gates']} gates, and "
            f"{mode} with {last} is asked for"
        )
    config = loaded.model.config
    for name in MODES[mode]:
        part = config.text_config if name == "text" else config.vision_config
        part.num_hidden_layers -= last
    model = customise(type(loaded.model)(config), mode, last, train_scale)
    try:
        state = load_file(folder / UNFOLDED)
        if "logit_bias" in state and not hasattr(model, "logit_bias"):
            model.logit_bias = nn.Parameter(state["logit_bias"].clone())
        model.load_state_dict(state)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder / UNFOLDED} is not this model with its gates: {error}") from error
    loaded.model = model
