"""Vision towers and language models, read from directories or made from sizes.

A tower is any of CLIP, SigLIP or DINOv2 (a whole CLIP or SigLIP gives its image half); a
language model is anything that `AutoModelForCausalLM` loads. Both can be addressed as
`scratch:SIZE` or `shapes:NAME` (trainers/builders/shapes.py) and then have random weights, or as
`real:NAME` (trainers/builders/real.py), small pretrained parts out of the package index.
Imports torch and transformers inside the functions.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError
from trainers.builders import real, shapes, tokens

KINDS: dict[str, tuple[int, Sequence[float], Sequence[float]]] = {
    "clip_vision_model": (1, shapes.CLIP_MEAN, shapes.CLIP_STD),
    "siglip_vision_model": (0, (0.5,) * 3, (0.5,) * 3),
    "dinov2": (1, shapes.IMAGENET_MEAN, shapes.IMAGENET_STD),
}
"""Model type: how many class tokens precede the patches, and the pixel statistics."""


@dataclass(frozen=True, slots=True)
class Tower:
    """A vision tower with what its processor must know."""

    model: Any
    class_tokens: int
    """Tokens before the first patch: 1 (CLIP, DINOv2) or 0 (SigLIP)."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of pixels in 0 to 1, red, green, blue."""

    @property
    def strategy(self) -> str:
        """Return what transformers calls dropping the class token, or keeping all tokens."""
        return "default" if self.class_tokens else "full"


def read_tower(address: str, *, seed: int = 0, dtype: Any = None) -> Tower:
    """Read the tower at `address`, or make one of that size with weights drawn from `seed`.

    Raises:
        UsageError: no such size.
        DataError: not a directory with such a model, another architecture, weights missing.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    address = _found(address)
    dtype = dtype or torch.float32
    if shapes.is_shape(address):
        sizes = shapes.tower(address)
        config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModel.from_config(config, dtype=dtype)
    else:
        config = _config(address)
        config = getattr(config, "vision_config", config)
        _known(config.model_type, address)
        model = _weights(type(AutoModel.from_config(config)), address, config, dtype)
    class_tokens, mean, std = KINDS[config.model_type]
    mean, std = _statistics(address, mean, std)
    return Tower(model.eval(), class_tokens, tuple(mean), tuple(std))


def read_language(
    address: str,
    *,
    tokenizer: str = "",
    texts: Iterable[str] = (),
    vocabulary: int = 4096,
    template: str | None = None,
    seed: int = 0,
    dtype: Any = None,
) -> tuple[Any, Any]:
    """Return a causal language model and its prepared tokenizer, embeddings resized to it.

    New rows are the mean of the old ones: a new token then starts as an average one, in the
    input and in the head, and the same one each time.

    Args:
        address: a directory, `scratch:SIZE` or `shapes:NAME`.
        tokenizer: directory of another tokenizer than the model's own.
        texts: what a tokenizer is trained on where there is none to read.
        vocabulary: most tokens of a trained tokenizer.
        template: chat template to keep with the tokenizer.
        seed: of random weights.
        dtype: of the weights; None: float32.

    Raises:
        UsageError: no such size, or random weights without a tokenizer and without texts.
        DataError: the directory cannot be read, lacks weights, or has an unusable tokenizer.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    address = _found(address)
    dtype = dtype or torch.float32
    random = shapes.is_shape(address)
    words = tokens.prepare(_tokenizer(address, tokenizer, texts, vocabulary, random), template)
    if random:
        sizes = {"vocab_size": len(words)} | shapes.language(address)
        config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    else:
        config = _config(address)
        model = _weights(AutoModelForCausalLM, address, config, dtype)
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise DataError(f"{address}: its head has a bias, which LLaVA's head has no place for")
    _grow(model, tokens.rows(words, model.get_input_embeddings().weight.shape[0]))
    model.config.pad_token_id = words.pad_token_id
    model.config.bos_token_id = words.bos_token_id
    model.config.eos_token_id = words.eos_token_id
    return model, words


def _found(address: str) -> str:
    """Return the directory of a `real:` part, fetched if need be; other addresses as they are."""
    kind, _, name = address.partition(":")
    return str(real.fetch(name)) if kind == "real" else address


def _grow(model: Any, count: int) -> None:
    """Give `model` embedding rows up to `count`, each new one the mean of the old."""
    import torch

    old = model.get_input_embeddings().weight.shape[0]
    if count == old:
        return
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(count, mean_resizing=False)
    with torch.no_grad():
        for layer in {model.get_input_embeddings(), model.get_output_embeddings()}:
            weight = layer.weight
            weight[old:] = weight[:old].float().mean(0).to(weight.dtype)


def _tokenizer(
    address: str, tokenizer: str, texts: Iterable[str], vocabulary: int, random: bool
) -> Any:
    from transformers import AutoTokenizer

    if tokenizer or not random:
        try:
            return AutoTokenizer.from_pretrained(tokenizer or address)
        except (OSError, ValueError, ImportError) as error:
            raise DataError(f"no tokenizer in {tokenizer or address}: {error}") from error
    if not texts:
        raise UsageError(
            f"{address} names sizes, not weights: give a checkpoint directory "
            "(builder_options.language=DIR, builder_options.vision=DIR). To train from random "
            "weights, name a tokenizer (tokenizer=DIR) or records to train one on (texts=FILE)"
        )
    return tokens.learn(texts, vocabulary)


def _config(address: str) -> Any:
    from transformers import AutoConfig

    if not Path(address).is_dir():
        raise DataError(
            f"{address}: no such directory; give a checkpoint directory, or random weights as "
            f"one of {', '.join(sorted({*shapes.TOWERS, *shapes.LANGUAGES}))}"
        )
    try:
        return AutoConfig.from_pretrained(address)
    except (OSError, ValueError) as error:
        raise DataError(f"{address}: no configuration that transformers knows: {error}") from error


def _known(kind: str, address: str) -> None:
    if kind not in KINDS:
        raise DataError(
            f"{address} is a '{kind}'; vision towers can be {', '.join(sorted(KINDS))} "
            "(or a whole CLIP or SigLIP, whose image half is taken)"
        )


def _weights(kind: Any, address: str, config: Any, dtype: Any) -> Any:
    """Load all weights that `kind` has, refusing a checkpoint that lacks some."""
    from transformers.utils import logging

    from harness.engine.load import quiet

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # it lists the text half of a CLIP as unexpected
    try:
        with quiet():
            model, info = kind.from_pretrained(
                address, config=config, dtype=dtype, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{address}: cannot be loaded: {error}") from error
    finally:
        logging.set_verbosity(level)
    missing = sorted(info["missing_keys"])
    if missing:
        raise DataError(
            f"{address} lacks {len(missing)} weights of a {type(model).__name__} "
            f"({', '.join(missing[:3])}, ...)"
        )
    return model


def _statistics(
    address: str, mean: Sequence[float], std: Sequence[float]
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the pixel statistics that the directory states, else those of its architecture."""
    path = Path(address) / "preprocessor_config.json"
    if shapes.is_shape(address) or not path.is_file():
        return mean, std
    stated = json.loads(path.read_text(encoding="utf-8"))
    return stated.get("image_mean", mean), stated.get("image_std", std)
