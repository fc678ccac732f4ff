"""A tiny random BLIP-2 for image-text matching, its words, and drawn pictures with regions.

Everything is made from a seed; nothing is downloaded. For tests of LSKD's critic and students.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SIDE = 32
PATCH = 8
LEFT, RIGHT = (6, 20, 26, 44), (38, 20, 58, 44)
COLOURS = ("red", "blue", "green", "yellow")
TEXTS = (
    "question answer rationale : . , ? [ ] 0 1 2 3 4 5 6 7 8 9",
    "what is this that it the a an in on of left right and because can be seen here not",
    "red blue green yellow square circle triangle is big small yes no looks person holding",
)


def make(
    path: Path,
    texts: Iterable[str] = (),
    *,
    seed: int = 0,
    side: int = SIDE,
    patch: int = PATCH,
    width: int = 32,
    layers: int = 2,
    queries: int = 4,
    dropout: float = 0.0,
    spread: float = 0.1,
) -> Path:
    """Write a model with its processor to `path`; its vocabulary has every word of `texts`."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import (
        Blip2Config,
        Blip2ForImageTextRetrieval,
        Blip2Processor,
        BlipImageProcessorPil,
        PreTrainedTokenizerFast,
    )

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<image>", "[DEC]"]
    words = sorted(set(" ".join((*TEXTS, *texts)).lower().split()))
    vocabulary = {word: i for i, word in enumerate([*specials, *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[DEC]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
    sizes: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
    }
    config = Blip2Config(
        vision_config={**sizes, "image_size": side, "patch_size": patch},
        qformer_config={
            **sizes,
            "encoder_hidden_size": width,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 64,
            "cross_attention_frequency": 1,
            "use_qformer_text_input": True,
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
        },
        text_config={
            "model_type": "opt",
            "vocab_size": 8,
            "hidden_size": 8,
            "num_attention_heads": 1,
        },
        num_query_tokens=queries,
        image_text_hidden_size=width,
        image_token_index=vocabulary["<image>"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Blip2ForImageTextRetrieval(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=spread)
    model.save_pretrained(path)
    pictures = BlipImageProcessorPil(size={"height": side, "width": side})
    Blip2Processor(pictures, tokenizer, num_query_tokens=queries).save_pretrained(path)
    return path


def picture(path: Path, shapes: Sequence[tuple[str, Sequence[float]]], size: int = 64) -> None:
    """Write a grey picture with coloured rectangles."""
    from PIL import Image, ImageDraw

    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.new("RGB", (size, size), (128, 128, 128))
    pen = ImageDraw.Draw(made)
    for colour, box in shapes:
        pen.rectangle(tuple(box), fill=colour)
    made.save(path)


def line(
    id: str,
    image: str,
    boxes: Sequence[Sequence[float]],
    answer: Sequence[Any],
    **fields: Any,
) -> dict[str, Any]:
    """Return a corpus line about region 0, with as many regions as boxes; 64 pixels a side."""
    made = {
        "id": id,
        "image": image,
        "width": 64,
        "height": 64,
        "source": "made",
        "split": "train",
        "index": 0,
        "region": [0],
        "region_all": list(range(len(boxes))),
        "references": [
            {"name": str(i), "boxes": [list(box)], "obj_guess": ""} for i, box in enumerate(boxes)
        ],
        "question": ["what", "is", [0], "?"],
        "answer": list(answer),
        "rationale": ["it", "can", "be", "seen", "."],
        "style": "ids",
        "provenance": {},
        "prediction": None,
    }
    return made | fields


def write(path: Path, lines: Iterable[dict[str, Any]]) -> Path:
    """Write lines of JSON."""
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def squares(root: Path) -> Path:
    """Write train.jsonl and images: eight pictures of two squares, of each a true and a false line.

    Both lines have the same words; they differ in which square is region 0, and in their labels.
    """
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for this in COLOURS:
        for other in [colour for colour in COLOURS if colour != this][:2]:
            name = f"{this}-{other}.png"
            picture(root / "images" / name, [(this, LEFT), (other, RIGHT)])
            for accept, boxes in ((1, (LEFT, RIGHT)), (0, (RIGHT, LEFT))):
                id = f"{this}-{other}-{accept}"
                words = [[0], "is", "the", this, "square"]
                scores = {"accept": accept, "qa_score": accept * 1.0, "r_score": accept * 2 / 3}
                lines.append(line(id, name, boxes, words, **scores))
    write(root / "train.jsonl", lines)
    return root
