"""What LSKD's wind tunnel begins with: a small BLIP-2 that has seen regions drawn on pictures.

    OUT/tower/       a vision tower that names what lies in a region, and which of the published
                     colours is drawn around it (the lessons of trainers/engine/tower.py)
    OUT/told/        triples.jsonl: phrases of regions and captions of the training pictures, as
                     statements about drawn regions; only what can be seen, nothing that follows
    OUT/start/       a Blip2ForImageTextRetrieval with that tower and a Q-Former of random weights
    OUT/run/model    the same after BLIP-2's first stage (lskd/discriminative) on told/

May import torch at the top; transformers, tokenizers and Pillow inside functions.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import cos, pi
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError
from trainers.localized import triples
from trainers.localized.triples import Reference, Triple, tokens

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
    "cross_attention_frequency": 1,
    "use_qformer_text_input": True,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
QUERIES = 8
NUMBERS = tuple(f"[{number}]" for number in range(10))
"""One token each, as a colour is one thing in the picture."""
SPREAD = 0.05
"""Standard deviation of new vectors."""
MOST = 4
"""Regions that are drawn at once here."""
_SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "bos_token": "[DEC]",
}

# ---- What there is to see ----


def told(world: Path, out: Path, seed: int = 0) -> Path:
    """Write what can be seen on the training pictures as triples; return the file.

    Of every picture: its things alone, and all of them at once in a random order, each called by
    the number that is drawn on it. The rationale is one of the picture's captions.
    """
    path = out / "triples.jsonl"
    if not path.exists():
        triples.write(path, _statements(world, seed))
    return path


def _statements(world: Path, seed: int) -> Iterator[Triple]:
    captions: dict[int, list[str]] = {}
    for row in _read(world / "stage1" / "chat.json"):
        said = row["conversations"][-1]["value"]
        captions.setdefault(int(Path(row["image"]).stem), []).append(said)
    for row in _read(world / "region_captions" / "region_descriptions.json"):
        scene, things = int(row["id"]), row["regions"][:-1]  # the last is the whole picture
        draw = Random(f"told {seed} {scene}")
        order = draw.sample(range(len(things)), min(len(things), MOST))
        for number, region in enumerate(order):
            caption = draw.choice(captions[scene])
            for shown in ((region,), tuple(order)):
                if shown == (region,) or len(order) > 1:
                    id = f"{scene}/{number}/{len(shown)}"
                    yield _statement(id, scene, things, region, shown, caption)


def _statement(
    id: str, scene: int, things: Sequence[Any], region: int, shown: tuple[int, ...], caption: str
) -> Triple:
    references = tuple(Reference(str(at), (_box(things[at]),)) for at in shown)
    return Triple(
        id=id,
        image=f"{scene}.jpg",
        question=("What", "is", (region,), "?"),
        answer=((region,), "is", *tokens(things[region]["phrase"]), "."),
        rationale=tokens(caption),
        region=shown,
        region_all=shown,
        references=references,
        source="told",
        style="ids",
    )


def _box(region: Mapping[str, Any]) -> tuple[float, float, float, float]:
    left, top = float(region["x"]), float(region["y"])
    return left, top, left + float(region["width"]), top + float(region["height"])


# ---- The tower ----


def lessons(world: Path, seed: int = 0) -> Any:
    """Return the lessons of tower.py with regions drawn on the pictures, their colours as words.

    Every picture is there twice, with other regions drawn on it.
    """
    from collections import Counter

    from PIL import Image

    from harness.engine.highlight import highlight
    from trainers.engine import tower

    folder = world / "region_captions"
    rows = _read(folder / "region_descriptions.json")
    counts = Counter(w for row in rows for r in row["regions"] for w in tower._words(r["phrase"]))
    known = [word for word, count in sorted(counts.items()) if count >= tower._RARE]
    places = {word: at for at, word in enumerate([*NUMBERS[:MOST], *known])}
    looks = []
    for row in rows:
        things = row["regions"][:-1]
        with Image.open(folder / "VG_100K" / f"{row['id']}.jpg") as opened:
            picture = opened.convert("RGB")
        for turn in range(2):
            draw = Random(f"lesson {seed} {turn} {row['id']}")
            most = min(len(things), MOST)
            drawn = draw.sample(range(len(things)), draw.choice((min(1, most), most)))
            shown = highlight(picture, [_box(things[at]) for at in drawn])
            slots = {at: slot for slot, at in enumerate(drawn)}
            words = [
                [places[w] for w in tower._words(r["phrase"]) if w in places]
                + ([slots[at]] if at in slots else [])
                for at, r in enumerate(row["regions"])
            ]
            looks.append(_look(shown, row["regions"], words))
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
        left, top, right, bottom = _box(region)
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
) -> tuple[Any, Any]:
    """Train a Blip2VisionModel on lessons; return it and the weights by which words are told.

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
    return model.eval(), head


# ---- The model ----


def directions(head: Any, words: Sequence[str]) -> dict[str, Any]:
    """Return the direction in the tower's features by which `head` tells each word."""
    weight = head.weight.detach()
    weight = weight - weight.mean(0)
    weight = weight / weight.norm(dim=1, keepdim=True) * SPREAD * weight.shape[1] ** 0.5
    return dict(zip(words, weight, strict=True))


def new_model(
    out: Path, tower: Any, names: Mapping[str, Any], texts: Iterable[str], seed: int = 0
) -> Path:
    """Write a Blip2ForImageTextRetrieval around a tower; its vocabulary has the words of `texts`.

    What is new is drawn from the seed and then put where a short training can begin, as small.py
    does for language models: a word that the tower knows is the direction that it knows it by, and
    attention starts by looking at what is alike.

    Args:
        out: Folder.
        tower: A Blip2VisionModel.
        names: From `directions`.
        texts: Whose words are in the vocabulary.
        seed: Of new weights.
    """
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForImageTextRetrieval,
        Blip2Processor,
        BlipImageProcessorPil,
    )

    tokenizer = _tokenizer(texts)
    config = Blip2Config(
        vision_config=dict(VISION),
        qformer_config={**QFORMER, "vocab_size": len(tokenizer)},
        text_config={"model_type": "opt", "vocab_size": 8, "hidden_size": 8,
                     "num_attention_heads": 1},
        num_query_tokens=QUERIES,
        image_text_hidden_size=QFORMER["hidden_size"],
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(seed)
        model = Blip2ForImageTextRetrieval(config)
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and not name.startswith("vision_model."):
                inside = ".layer." in name
                torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5 if inside else SPREAD)
        words = model.embeddings.word_embeddings.weight
        for word, vector in names.items():
            words[tokenizer.convert_tokens_to_ids(word)] = vector
        _match(model)
    model.vision_model.load_state_dict(tower.state_dict())
    model.save_pretrained(out)
    pictures = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    Blip2Processor(pictures, tokenizer, num_query_tokens=QUERIES).save_pretrained(out)
    return out


def _match(model: Any) -> None:
    """Let attention start by looking at what is alike and passing it on (small.py, `match`)."""
    import torch

    def turn() -> Any:
        return torch.linalg.qr(torch.randn(QFORMER["hidden_size"], QFORMER["hidden_size"]))[0]

    for layer in model.qformer.encoder.layer:
        for block in (layer.attention, layer.crossattention):
            look, take = turn(), turn() * 0.7
            block.attention.query.weight.copy_(look)
            block.attention.key.weight.copy_(look)
            block.attention.value.weight.copy_(take)
            block.output.dense.weight.copy_(take.T)
    for part in (model.vision_projection, model.text_projection):
        torch.nn.init.eye_(part.weight)


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
    for row in _read(world / "visualcomet" / "train_annots.json"):
        yield from (row["event"], row["place"], *row["intent"], *row["before"], *row["after"])
    for row in _read(world / "sherlock" / "sherlock_train_v1_1.json"):
        yield row["targets"]["inference"]
    for line in (world / "vcr" / "train.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield from (row["question_orig"], row["answer_orig"], row["rationale_orig"])


def _read(path: Path) -> list[Any]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}; make the world with `sightline world`") from error
