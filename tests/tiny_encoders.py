"""Small random image-text scorers with real processors: CLIP, SigLIP, SigLIP 2, BLIP-2 ITM.

Nothing is downloaded: tokenizers are trained or listed here, weights are drawn from a seed with a
spread that makes scores depend on the picture and on the words, and everything is saved with
`save_pretrained`. Imports transformers only inside the functions.
"""

from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

TEXTS = (
    "a photo of the cat",
    "a red cube on the mat",
    "two dogs running",
    "a large green tree",
    "is there a small blue car left of the person",
    "yes",
)
SIDE = 32
"""Pixels of the models' input; pictures of `picture` are larger, so that resizing takes part."""

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 8,
}
_ENDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def picture(seed: int, width: int = 60, height: int = 45, kind: str = "PNG") -> bytes:
    """Return an encoded picture of coloured blocks; another seed gives another picture."""
    from PIL import Image

    blocks = Image.frombytes("RGB", (4, 3), Random(seed).randbytes(36))
    file = BytesIO()
    blocks.resize((width, height), Image.Resampling.NEAREST).save(file, kind)
    return file.getvalue()


def make_clip(path: Path, seed: int = 0) -> Path:
    """Write a CLIP with its own kind of tokenizer (lower-cases, ends with the pad token)."""
    from transformers import (
        CLIPConfig,
        CLIPImageProcessorPil,
        CLIPModel,
        CLIPProcessor,
        CLIPTokenizer,
    )

    letters = sorted(set("".join(TEXTS).replace(" ", "")))
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    vocabulary |= {"<|startoftext|>": len(pieces), "<|endoftext|>": len(pieces) + 1}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16)
    ends = {"bos_token_id": len(pieces), "eos_token_id": len(pieces) + 1}
    config = CLIPConfig(
        text_config={
            **TEXT,
            **ends,
            "vocab_size": len(vocabulary),
            "pad_token_id": len(pieces) + 1,
        },
        vision_config=VISION,
        projection_dim=24,
    )
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    _save(CLIPModel, config, path, seed)
    CLIPProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(path)
    return path


def make_siglip(path: Path, seed: int = 0, lower: bool = True) -> Path:
    """Write a SigLIP of fixed resolution with the tokenizer kind of SigLIP 2.

    `lower=False` gives it a tokenizer that keeps capitals, as published SigLIP 2 files do.
    """
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipProcessor

    tokenizer, size = _gemma_like(lower)
    config = SiglipConfig(
        text_config={**TEXT, **_ENDS, "vocab_size": size, "projection_size": 32},
        vision_config=VISION,
    )
    processor = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    _save(SiglipModel, config, path, seed)
    SiglipProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(path)
    return path


def make_siglip_1(path: Path) -> Path:
    """Write a SigLIP with the sentencepiece tokenizer of the first release."""
    import sentencepiece

    make_siglip(path)
    (path / "tokenizer.json").unlink()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXTS] * 50),
        model_prefix=str(path / "spiece"),
        vocab_size=30,
        hard_vocab_limit=False,
        pad_id=-1,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=9,
    )
    (path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "SiglipTokenizer", "model_input_names": ["input_ids"]}'
    )
    return path


def make_siglip2(path: Path, seed: int = 0) -> Path:
    """Write a SigLIP 2 of native aspect ratio (NaFlex): at most 256 patches of 16 pixels."""
    from transformers import Siglip2Config, Siglip2ImageProcessorPil, Siglip2Model, Siglip2Processor

    tokenizer, size = _gemma_like(True)
    vision = {k: v for k, v in VISION.items() if k not in ("image_size", "patch_size")}
    config = Siglip2Config(
        text_config={**TEXT, **_ENDS, "vocab_size": size, "projection_size": 32},
        vision_config={**vision, "num_patches": 16, "patch_size": 16},
    )
    processor = Siglip2ImageProcessorPil(patch_size=16, max_num_patches=256)
    _save(Siglip2Model, config, path, seed)
    Siglip2Processor(image_processor=processor, tokenizer=tokenizer).save_pretrained(path)
    return path


def make_blip2(path: Path, seed: int = 0, image_token: bool = True) -> Path:
    """Write a BLIP-2 retrieval model; with `image_token` as newer published files have it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import (
        Blip2Config,
        Blip2ForImageTextRetrieval,
        Blip2Processor,
        BlipImageProcessorPil,
        PreTrainedTokenizerFast,
    )

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<image>"]
    vocabulary = {
        word: i for i, word in enumerate([*specials, *sorted(set(" ".join(TEXTS).split()))])
    }
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    config = Blip2Config(
        vision_config=VISION,
        qformer_config={
            **TEXT,
            "vocab_size": len(vocabulary),
            "cross_attention_frequency": 1,
            "use_qformer_text_input": True,
        },
        text_config={
            "model_type": "opt",
            "vocab_size": 8,
            "hidden_size": 8,
            "num_attention_heads": 1,
        },
        num_query_tokens=4,
        image_text_hidden_size=24,
        image_token_index=vocabulary["<image>"] if image_token else None,
    )
    processor = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    _save(Blip2ForImageTextRetrieval, config, path, seed)
    Blip2Processor(
        processor, tokenizer, num_query_tokens=4 if image_token else None
    ).save_pretrained(path)
    return path


def _gemma_like(lower: bool) -> tuple[Any, int]:
    """Return a character-level tokenizer of the kind of SigLIP 2, and its vocabulary size."""
    from transformers import GemmaTokenizer, Siglip2Tokenizer

    text = "".join(TEXTS).replace(" ", "")
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *sorted({*text, *text.upper()})]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    kind = Siglip2Tokenizer if lower else GemmaTokenizer
    tokenizer = kind(vocab=vocabulary, merges=[], model_input_names=["input_ids"])
    tokenizer.padding_side = "right"
    return tokenizer, len(pieces)


def _save(kind: Any, config: Any, path: Path, seed: int) -> None:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                # The usual 0.02 leaves scores that hardly depend on the input.
                torch.nn.init.normal_(parameter, std=0.2)
        if hasattr(model, "logit_bias"):
            # As published: neither is 0, so that leaving one out shows.
            torch.nn.init.constant_(model.logit_scale, 3.0)
            torch.nn.init.constant_(model.logit_bias, -5.0)
    model.save_pretrained(path)
