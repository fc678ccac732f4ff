"""Tiny random BLIP-2s that write: with a T5, and with a Llama as MiniGPT-4 is. Made from a seed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from small_blip2 import PATCH, SIDE, TEXTS

MARKS = ("###human", "###assistant", "<img>", "</img>", "human", "assistant", "img", "#", "<", ">")


def make(path: Path, kind: str, texts: Iterable[str] = (), *, seed: int = 0) -> Path:
    """Write a model with its processor to `path`; `kind` is t5 or llama."""
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        BlipImageProcessorPil,
    )

    tokenizer = _tokenizer(kind, texts)
    image = tokenizer.convert_tokens_to_ids("<image>")
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    config = Blip2Config(
        vision_config={**sizes, "image_size": SIDE, "patch_size": PATCH},
        qformer_config={**sizes, "encoder_hidden_size": 32, "cross_attention_frequency": 1,
                        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        text_config=_language(kind, len(tokenizer), sizes),
        num_query_tokens=4,
        image_token_index=image,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Blip2ForConditionalGeneration(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(path)
    pictures = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    Blip2Processor(pictures, tokenizer, num_query_tokens=4).save_pretrained(path)
    return path


def _language(kind: str, words: int, sizes: dict[str, Any]) -> dict[str, Any]:
    ends = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    if kind == "llama":
        return {"model_type": "llama", "vocab_size": words, "max_position_embeddings": 256,
                **sizes, **ends}  # fmt: skip
    return {"model_type": "t5", "vocab_size": words, "d_model": 32, "d_kv": 8, "d_ff": 64,
            "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0, "decoder_start_token_id": 0,
            "tie_word_embeddings": False, **ends}  # fmt: skip


def _tokenizer(kind: str, texts: Iterable[str]) -> Any:
    """Return a tokenizer of whole words: a T5's ends with </s>, a Llama's begins with <s>."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = ["<pad>", "</s>", "<s>", "<unk>", "<image>"]
    words = sorted(set(" ".join((*TEXTS, *MARKS, *texts)).lower().split()))
    vocabulary = {word: i for i, word in enumerate([*specials, *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.decoder = decoders.Fuse()
    single = "$A </s>" if kind == "t5" else "<s> $A"
    raw.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("</s>", 1), ("<s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", bos_token="<s>",
        unk_token="<unk>", model_max_length=256,
    )  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return tokenizer
