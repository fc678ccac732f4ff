"""Sizes of parts that are built with random weights: small ones to learn from nothing, real ones.

`scratch:` sizes are trained from nothing (tests, the demo, the wind tunnel); `shapes:` sizes are
those of published parts, for benchmarks and estimates, since their weights are not ours to ship.
Published sizes: openai/clip-vit-large-patch14(-336), google/siglip-so400m-patch14-384,
facebook/dinov2-large, lmsys/vicuna-7b-v1.5 and -13b, mistralai/Mistral-7B-Instruct-v0.2,
NousResearch/Nous-Hermes-2-Yi-34B (their config.json). Imports the standard library alone.
"""

from typing import Any

from harness.errors import unknown

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_CLIP_L: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
TOWERS: dict[str, dict[str, Any]] = {
    "scratch:tiny": {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 7,
    },
    "scratch:toy": {
        "model_type": "clip_vision_model",
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 7,
    },
    "scratch:small": {
        "model_type": "clip_vision_model",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 8,
    },
    "scratch:base": {
        "model_type": "clip_vision_model",
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 6,
        "image_size": 128,
        "patch_size": 16,
    },
    "shapes:clip-l-14": _CLIP_L | {"image_size": 224},
    "shapes:clip-l-14-336": _CLIP_L | {"image_size": 336},
    "shapes:siglip-so400m": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    },
    "shapes:dinov2-l": {
        "model_type": "dinov2",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
    },
}
_LLAMA: dict[str, Any] = {"model_type": "llama", "bos_token_id": 1, "eos_token_id": 2}
LANGUAGES: dict[str, dict[str, Any]] = {
    "scratch:tiny": _LLAMA
    | {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
    },
    "scratch:toy": _LLAMA
    | {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
    },
    "scratch:tied": _LLAMA
    | {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "attention_bias": True,  # heads can start looking a fixed way back (small_start.py)
    },
    "scratch:small": _LLAMA
    | {
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "max_position_embeddings": 4096,
    },
    "scratch:base": _LLAMA
    | {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "max_position_embeddings": 4096,
    },
    "shapes:vicuna-7b": _LLAMA
    | {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
        "vocab_size": 32000,
    },
    "shapes:vicuna-13b": _LLAMA
    | {
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 40,
        "max_position_embeddings": 4096,
        "vocab_size": 32000,
    },
    "shapes:mistral-7b": {
        "model_type": "mistral",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
        "vocab_size": 32000,
        "sliding_window": None,
    },
    "shapes:yi-34b": _LLAMA
    | {
        "hidden_size": 7168,
        "intermediate_size": 20480,
        "num_hidden_layers": 60,
        "num_attention_heads": 56,
        "num_key_value_heads": 8,
        "max_position_embeddings": 4096,
        "vocab_size": 64000,
    },
}


def tower(name: str) -> dict[str, Any]:
    """Return the sizes of the vision tower `name`. Raises UsageError naming near ones."""
    return _named("vision tower", name, TOWERS)


def language(name: str) -> dict[str, Any]:
    """Return the sizes of the language model `name`. Raises UsageError naming near ones."""
    return _named("language model", name, LANGUAGES)


def is_shape(address: str) -> bool:
    """Tell whether an address names sizes rather than a directory of weights."""
    return address.startswith(("scratch:", "shapes:"))


def _named(what: str, name: str, table: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if name not in table:
        raise unknown(f"{what} with random weights", name, table)
    return dict(table[name])
