"""What LSKD's wind tunnel begins with: a small BLIP-2 that has seen regions drawn on pictures.

    OUT/tower/       a vision tower that names what lies in a region, and which of the published
                     colours is drawn around it (the lessons of trainers/engine/tower.py)
    OUT/told/        triples.jsonl: true and false statements about drawn regions of pictures that
                     no triple of the corpus is about (tunnel_lskd_told.py)
    OUT/start/       a Blip2ForImageTextRetrieval around that tower (tunnel_lskd_start.py)
    OUT/run/model    the same after learning which statements are true (lskd/critic-frozen)

May import torch at the top; transformers, tokenizers and Pillow inside functions.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import cos, pi
from pathlib import Path
from random import Random
from typing import Any

from trainers.localized import triples
from trainers.tunnel_lskd_told import MOST, NUMBERS, box, pictures, read_rows

SIDE, PATCH = 96, 12
"""Pixels that the tower sees of a picture, and of a patch."""
VISION: Mapping[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": PATCH,
    "initializer_range": 0.02,
}
QFORMER: Mapping[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "encoder_hidden_size": 96,
    "max_position_embeddings": 96,
    "cross_attention_frequency": 2,
    "use_qformer_text_input": True,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
QUERIES = 8
_SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "bos_token": "[DEC]",
}

# ---- The tower ----


def lessons(world: Path, seed: int = 0) -> Any:
    """Return the lessons of tower.py with regions drawn on the pictures, their colours as words.

    Every picture is there twice, with other regions drawn on it.
    """
    from collections import Counter

    from PIL import Image

    from harness.engine.highlight import highlight
    from trainers.engine import tower

    rows = list(pictures(world))
    counts = Counter(w for _, regions in rows for r in regions for w in tower._words(r["phrase"]))
    known = [word for word, count in sorted(counts.items()) if count >= tower._RARE]
    places = {word: at for at, word in enumerate([*NUMBERS[:MOST], *known])}
    looks = []
    for scene, regions in rows:
        things = regions[:-1]
        with Image.open(world / "region_captions" / "VG_100K" / f"{scene}.jpg") as opened:
            picture = opened.convert("RGB")
        for turn in range(2):
            draw = Random(f"lesson {seed} {turn} {scene}")
            most = min(len(things), MOST)
            drawn = draw.sample(range(len(things)), draw.choice((min(1, most), most)))
            shown = highlight(picture, [box(things[at]) for at in drawn])
            slots = {at: slot for slot, at in enumerate(drawn)}
            words = [
                [places[w] for w in tower._words(r["phrase"]) if w in places]
                + ([slots[at]] if at in slots else [])
                for at, r in enumerate(regions)
            ]
            looks.append(_look(shown, regions, words))
    return tower.Lessons(looks, tuple(places), SIDE, PATCH)


def _look(picture: Any, regions: Sequence[Any], words: list[list[int]]) -> Any:
    """Return a picture as the model's processor makes it, stretched, and regions in patches."""
    import numpy
    import torch

    from trainers.engine.tower import Look

    wide, high = SIDE / picture.width, SIDE / picture.height
    small = numpy.asarray(picture.resize((SIDE, SIDE), 3))  # 3: bicubic
    edges = torch.arange(0, SIDE, PATCH, dtype=torch.float32)
    rows = []
    for region in regions:
        left, top, right, bottom = box(region)
        across = _cover(edges, left * wide, right * wide)
        down = _cover(edges, top * high, bottom * high)
        cover = torch.outer(down, across).flatten()
        rows.append(cover / cover.sum())
    pixels = torch.from_numpy(small.copy()).permute(2, 0, 1).contiguous()
    return Look(pixels, torch.stack(rows), words)


def _cover(edges: Any, begin: float, end: float) -> Any:
    return ((edges + PATCH).clamp(max=end) - edges.clamp(min=begin)).clamp(min=1e-6)


def train_tower(
    found: Any, steps: int, seed: int = 0, lr: float = 2e-3, say: Callable[[str], None] = print
) -> Any:
    """Train a Blip2VisionModel on lessons and return it.

    The loss, the mirror and the optimizer are those of trainers/engine/tower.py.
    """
    import torch
    from transformers import Blip2VisionConfig, Blip2VisionModel

    from trainers.engine import tower
    from trainers.engine.muon import MuonAdamW, inner

    torch.manual_seed(seed)
    model = Blip2VisionModel(Blip2VisionConfig(**VISION))
    for name, weight in model.named_parameters():
        if "embedding" in name and weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.02)
    head = torch.nn.Linear(model.config.hidden_size, len(found.words))
    weights = [*model.parameters(), *head.parameters()]
    optimizer = MuonAdamW([{"params": weights}], inner(model), lr=lr, weight_decay=0.05)
    warm = min(50, max(steps // 10, 1))
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, 0.5 + 0.5 * cos(step / steps * pi))
    )
    draw, recent = Random(f"tower {seed}"), 0.0
    model.train()
    for step in range(1, steps + 1):
        looks = draw.choices(found.looks, k=16)
        loss = tower._loss(model, head, [tower.mirrored(x) for x in looks] if step % 2 else looks)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        rate.step()
        recent = loss.item() if step == 1 else 0.98 * recent + 0.02 * loss.item()
        if step % max(steps // 5, 1) == 0:
            say(f"tower: step {step:,} of {steps:,}, loss {recent:.2f}")
    return model.eval()


# ---- The model ----


def new_model(out: Path, tower: Any, found: Any, texts: Iterable[str], seed: int = 0) -> Path:
    """Write a Blip2ForImageTextRetrieval around a tower; its vocabulary has the words of `texts`.

    Args:
        out: Folder.
        tower: A Blip2VisionModel.
        found: The tower's lessons.
        texts: Whose words are in the vocabulary, beside those of the lessons.
        seed: Of new weights.
    """
    from transformers import (
        Blip2ForImageTextRetrieval,
        Blip2Processor,
        BlipImageProcessorPil,
    )

    from trainers import tunnel_lskd_start as start

    tokenizer = _tokenizer(chain(texts, found.words[MOST:]))
    model = Blip2ForImageTextRetrieval(_config(tokenizer))
    seen = start.sight(tower, found, MOST)
    start.settle(model, tokenizer, found.words, seen, MOST, seed)
    model.vision_model.load_state_dict(tower.state_dict())
    model.save_pretrained(out)
    pictures = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    Blip2Processor(pictures, tokenizer, num_query_tokens=QUERIES).save_pretrained(out)
    return out


def _config(tokenizer: Any) -> Any:
    from transformers import Blip2Config

    return Blip2Config(
        vision_config=dict(VISION),
        qformer_config={**QFORMER, "vocab_size": len(tokenizer)},
        text_config={"model_type": "opt", "vocab_size": 8, "hidden_size": 8,
                     "num_attention_heads": 1},
        num_query_tokens=QUERIES,
        image_text_hidden_size=QFORMER["hidden_size"],
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip


def _tokenizer(texts: Iterable[str]) -> Any:
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({}, unk_token="[UNK]"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    found = {w for text in texts for w, _ in raw.pre_tokenizer.pre_tokenize_str(text.lower())}
    listed = [*_SPECIAL.values(), "<image>", *NUMBERS, *sorted(found)]
    known = {word: at for at, word in enumerate(listed)}
    raw.model = models.WordLevel(known, unk_token="[UNK]")
    raw.add_tokens([AddedToken(number, normalized=False) for number in NUMBERS])
    ends = [(name, known[name]) for name in ("[CLS]", "[SEP]")]
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, model_max_length=QFORMER["max_position_embeddings"], **_SPECIAL
    )


def statements(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the texts of corpora, for the vocabulary."""
    for path in paths:
        for triple in triples.read(path):
            # numbers are tokens of their own
            plain = [
                tuple(t for t in part if isinstance(t, str))
                for part in (triple.question, triple.answer, triple.rationale)
            ]
            yield triples.text(replace(triple, question=plain[0], answer=plain[1],
                                       rationale=plain[2]))  # fmt: skip


def asked(world: Path) -> Iterator[str]:
    """Yield texts of the train files of the evaluated formats, for the vocabulary."""
    from tasks.visualcomet import PREFIXES

    yield from PREFIXES.values()
    for row in read_rows(world / "visualcomet" / "train_annots.json"):
        yield from (row["event"], row["place"], *row["intent"], *row["before"], *row["after"])
    for row in read_rows(world / "sherlock" / "sherlock_train_v1_1.json"):
        yield row["targets"]["inference"]
    for line in (world / "vcr" / "train.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield from (row["question_orig"], row["answer_orig"], row["rationale_orig"])
