"""Weights of open_clip, and of REACT's release, as a CLIPModel: `python -m ...importer --help`.

open_clip keeps query, key and value in one matrix, projections transposed, and REACT's gated block
inside the layer that it stands before (microsoft/react, src/open_clip/transformer.py:
`gated_attn_block`, `alpha_attn`, `alpha_dense`). Sizes, tokenizer and image processor come from a
transformers CLIP of the same kind. May import torch at the top.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import DataError, SightlineError
from trainers.contrastive.export import Loaded, load, save
from trainers.engine.gated import DEFAULT, customise

_PLAIN = {
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}
_INNER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_GATES = {"alpha_attn": "block.attention_gate", "alpha_dense": "block.mlp_gate"}
_UNUSED = {"attn_mask", "input_resolution", "context_length", "vocab_size"}
_LAYER = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(gated_attn_block\.)?(.+)")


def convert(weights: Path, base: Path, out: Path) -> str:
    """Write the model of an open_clip or react-vl file as a directory; return its mode.

    Args:
        weights: .pt, .pth, .bin (a state_dict, or a training checkpoint with one) or .safetensors.
        base: A transformers CLIP of the same sizes; its weights are not used.
        out: Where to; gates are folded in, and kept beside the model.

    Raises:
        DataError: The file cannot be read, or its tensors do not fit `base`; those are named.
    """
    state = read(weights)
    loaded = load(str(base))
    found, gated = translate(state)
    mode, last = _mode(gated, loaded.model.config)
    config = loaded.model.config
    model = customise(type(loaded.model)(config), mode, last)
    own = model.state_dict()
    faults = [f"{name} is missing" for name in own if name not in found]
    faults += [f"{name} is not in it" for name in found if name not in own]
    faults += [
        f"{name} is {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if faults:
        raise DataError(f"{weights} does not fit {base}: {'; '.join(faults[:4])}")
    model.load_state_dict(found)
    out.mkdir(parents=True, exist_ok=True)
    kept = Loaded(model, loaded.image_processor, loaded.tokenizer)
    save(kept, out, torch.float32, mode, last, train_scale=True)
    return mode


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of weights, in float32, without what wrappers add to names."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # unpickling raises of all kinds
        raise DataError(
            f"{path} is no file of tensors alone ({type(error).__name__}: {error}); save its "
            "state_dict with torch.save and give that"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise DataError(f"{path} holds no state_dict")
    return {
        name.removeprefix("module."): tensor.float()
        for name, tensor in found.items()
        if isinstance(tensor, Tensor)
    }


def translate(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, set[int]]]:
    """Return tensors under the names of a customised CLIPModel, and each tower's gated layers.

    Raises:
        DataError: A name that open_clip's CLIP does not have; all are named up to four.
    """
    state = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    gated: dict[str, set[int]] = {"image": set(), "text": set()}
    for name in state:
        match = _LAYER.fullmatch(name)
        if match and match[3]:
            gated["image" if match[1] else "text"].add(int(match[2]))
    out: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in state.items():
        if name in _UNUSED:
            continue
        if name in _PLAIN:
            out[_PLAIN[name]] = tensor
        elif name in _TRANSPOSED:
            out[_TRANSPOSED[name]] = tensor.T.contiguous()
        elif match := _LAYER.fullmatch(name):
            tower = "image" if match[1] else "text"
            parts = list(_layer(match[4], tensor))
            prefix = f"{'vision' if tower == 'image' else 'text'}_model.encoder.layers.{match[2]}."
            if match[3]:
                prefix += "" if match[4] in _GATES else "block.layer."
            elif int(match[2]) in gated[tower]:
                prefix += "base."
            out |= {prefix + inner: part for inner, part in parts}
            unknown += [] if parts else [name]
        else:
            unknown.append(name)
    if unknown:
        raise DataError(f"{len(unknown)} names are not open_clip's CLIP: {', '.join(unknown[:4])}")
    return out, gated


def _layer(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a layer's (or block's) tensor under our names."""
    if name in _GATES:
        yield _GATES[name], tensor.reshape(())
    elif name in ("attn.in_proj_weight", "attn.in_proj_bias"):
        kind = name.rpartition("_")[2]
        for part, one in zip("qkv", tensor.chunk(3), strict=True):
            yield f"self_attn.{part}_proj.{kind}", one.contiguous()
    else:
        inner, _, kind = name.rpartition(".")
        if inner in _INNER:
            yield f"{_INNER[inner]}.{kind}", tensor


def _mode(gated: Mapping[str, set[int]], config: Any) -> tuple[str, int]:
    """Return the mode that has these gated layers, and how many a tower has."""
    counts = {tower: len(layers) for tower, layers in gated.items() if layers}
    for tower, layers in gated.items():
        part = config.vision_config if tower == "image" else config.text_config
        total = part.num_hidden_layers
        if layers != set(range(total - len(layers), total)):
            raise DataError(f"the {tower} tower's gated layers are {sorted(layers)}, not the last")
    if not counts:
        return "locked-text", 1
    if len(set(counts.values())) > 1:
        raise DataError(f"the towers have different numbers of gated layers: {counts}")
    modes = {("image",): DEFAULT, ("text",): "gated-text", ("image", "text"): "gated-both"}
    mode = modes[tuple(counts)]
    return mode, next(iter(counts.values()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert one file; return the exit code (harness/errors.py)."""
    parser = argparse.ArgumentParser(prog="python -m trainers.contrastive.importer")
    parser.add_argument("weights", type=Path, help="file of open_clip's or react-vl's weights")
    parser.add_argument("--base", type=Path, required=True, help="a CLIP of the same sizes")
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    asked = parser.parse_args(arguments)
    try:
        mode = convert(asked.weights, asked.base, asked.out)
    except SightlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"model: {asked.out} ({mode})\nnext: sightline run --model transformers:{asked.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
