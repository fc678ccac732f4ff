"""Small models from nothing: a tower that has seen phrases, a language model that has read.

The demo and `make wind-tunnel` start from such a base, so that they run on a machine without any
downloaded weights. In the order of what happens:

    OUT/tower/       learned to name what region phrases say (trainers/engine/tower.py)
    OUT/start/       tower, linear connector and language model put together; the embeddings of
                     words that the tower knows are the directions that it knows them by
    OUT/captions/    the whole but the tower trained on captions of the world's pictures and, as
                     text alone, on conversations about told scenes (small_lessons.py)
    OUT/language/    the language model of it alone, which other connectors are put in front of

A part that is there is not made again. Imports torch, transformers and the engine inside functions.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import unknown
from trainers.recipe import Recipe, find
from trainers.small_lessons import lessons, read

Say = Callable[[str], None]


TUNING: dict[str, Any] = {
    "system": "",  # a small vocabulary would spend sixty tokens on it
    "precision": "fp32",
    "save_dtype": "float32",
    "activation_checkpointing": False,
    "images": {"aspect": "pad", "size": None, "cache": "ram"},
    "max_length": 768,
    "epochs": 1000,
    "warmup": 0.05,
    "optimizer": "muon",
    "lr": 1.5e-3,
    "on_bad": "refuse",
    "parallel": "ddp",
    "log_every": 20,
    "keep": 1,
}
"""What every recipe gets for a small model on a CPU; the number of steps ends it, not epochs."""


def tuning() -> dict[str, Any]:
    """Return TUNING with the precision that this processor is fastest at."""
    from trainers.engine.tower import half_is_fast

    # torch's attention for CPUs goes backward three times slower in bfloat16 than plain products
    return {**TUNING, **({"precision": "bf16", "attention": "eager"} if half_is_fast() else {})}


@dataclass(frozen=True)
class Size:
    """How large a small model is, and how long its base is trained."""

    pixels: int
    patch: int
    tower: str
    """Of shapes.TOWERS."""
    tower_steps: int
    """Of 16 pictures each."""
    language: str
    """Of shapes.LANGUAGES; as wide as the tower, so that words can share directions."""
    vocabulary: int
    caption_steps: int
    batch: int


SIZES = {
    "tiny": Size(64, 16, "scratch:small", 100, "scratch:tied", 1200, 60, 4),
    "demo": Size(128, 16, "scratch:small", 1500, "scratch:tied", 1200, 900, 12),
    "mini": Size(128, 16, "scratch:small", 2500, "scratch:tied", 1200, 2200, 12),
    "small": Size(128, 16, "scratch:small", 6000, "scratch:tied", 1200, 5000, 12),
}
"""`tiny` is for tests and learns nothing; `demo` for `make demo`;
`mini` for the smallest wind tunnel, `small` for the larger one."""
SHORT = "\nAnswer the question using a single word or phrase."
"""LLaVA-1.5's sentence for short answers (dissertation, section 4.3)."""


@dataclass(frozen=True)
class Base:
    """Where the parts of a base model are."""

    folder: Path
    size: Size
    real: bool = False
    """Parts are pretrained ones out of the package index (trainers/builders/real.py)."""

    @property
    def lr(self) -> float:
        """Learning rate of stage 2."""
        return 1e-4 if self.real else 1.5e-3

    @property
    def optimizer(self) -> str:
        """Of what is tuned from it: published parts have been trained with AdamW."""
        return "adamw_torch" if self.real else "muon"

    @property
    def tower(self) -> Path:
        """Directory of the vision tower."""
        return self.folder / "tower"

    @property
    def language(self) -> Path:
        """Directory of the language model that has read the captions."""
        return self.folder / "language"

    @property
    def captioner(self) -> Path:
        """Directory of the whole model after the captions."""
        return self.folder / "captions" / "model"

    def parts(self, connector: str) -> dict[str, Any]:
        """Return the builder options of a new model from these parts."""
        if self.real:
            return {
                "vision": "real:clip-b16",
                "language": "real:smollm2-135m",
                "connector": connector,
                "kind": "llava",
                "connector_weights": "none",
                "feature_layer": -2,
            }
        return {
            "vision": str(self.tower),
            "language": str(self.language),
            "connector": connector,
            "kind": "llava",
            "connector_weights": "none",
            "feature_layer": -1,
        }


def make_base(
    world: Path,
    out: Path,
    size: str,
    *,
    backbone: str = "scratch",
    seed: int = 0,
    say: Say = print,
    quiet: bool = True,
) -> Base:
    """Make the base model of a world at `out`, or go on with what is there.

    Args:
        world: Folder of `sightline world` with region_captions, stage1, reading and instruct.
        out: Where the parts go.
        size: One of SIZES.
        backbone: `scratch`, or `real`: CLIP ViT-B/16 and SmolLM2-135M, nothing trained here.
        seed: Of all weights and orders.
        say: Told what happens.
        quiet: No progress bars.

    Raises:
        UsageError: An unknown size.
        DataError: The world lacks a part.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    if backbone not in ("scratch", "real"):
        raise unknown("backbone", backbone, ("scratch", "real"))
    from harness.engine.load import quiet as no_bars

    made = Base(out, SIZES[size], backbone == "real")
    if made.real:
        return made
    with no_bars():
        if not (made.tower / "config.json").exists():
            _tower(world, made, seed, say)
        if not (made.captioner / "config.json").exists():
            say(f"base: captions, {made.size.caption_steps:,} steps of {made.size.batch}")
            _captions(world, made, seed, quiet)
        if not (made.language / "config.json").exists():
            take_language(made.captioner, made.language)
    return made


def _tower(world: Path, made: Base, seed: int, say: Say) -> None:
    from trainers.builders import shapes
    from trainers.engine import tower

    folder = world / "region_captions"
    lessons = tower.read(folder, folder, made.size.pixels, made.size.patch)
    sizes = shapes.tower(made.size.tower)
    tower.train(lessons, made.tower, sizes=sizes, steps=made.size.tower_steps, seed=seed, say=say)


def _captions(world: Path, made: Base, seed: int, quiet: bool) -> None:
    from trainers.engine.loop import train

    records = made.folder / "captions.json"
    records.parent.mkdir(parents=True, exist_ok=True)
    told = lessons(world, made.size.caption_steps * made.size.batch, seed)
    records.write_text(json.dumps(told), encoding="utf-8")
    start = made.folder / "start"
    if not (start / "config.json").exists():
        _assemble(world, made, seed, start)
    shutil.rmtree(made.folder / "captions", ignore_errors=True)
    recipe = tuned(
        "finetune/full",
        {"max_steps": made.size.caption_steps, "lr": 2e-3, "batch_size": made.size.batch},
        seed,
    )
    train(recipe, start, records, made.folder / "captions", images=world / "stage1", quiet=quiet)


def tuned(name: str, changes: Mapping[str, Any], seed: int) -> Recipe:
    """Return a recipe for a small model: float32, pictures kept in memory, plus `changes`."""
    recipe = find(name, {**tuning(), "needs": (), "seed": seed, **changes})
    assert isinstance(recipe, Recipe)
    return recipe.changed({"micro_batch": recipe.batch_size})


def once(record: Any) -> Any:
    """Keep the format sentence of a conversation's first question only, as a person would."""
    return turns(record, lambda place, text: text if place == 0 else text.replace(SHORT, ""))


def turns(record: Any, change: Callable[[int, str], str]) -> Any:
    """Return a record with the text of every turn changed; `change` gets its place too."""
    said = [
        {**turn, "value": change(place, turn["value"])}
        for place, turn in enumerate(record["conversations"])
    ]
    return {**record, "conversations": said}


def _assemble(world: Path, made: Base, seed: int, out: Path) -> None:
    from trainers.builders.llava import assemble
    from trainers.engine import tower
    from trainers.recipe import ImageSettings

    spoken = [
        f"USER: {turn['value'].replace('<image>', '')} ASSISTANT: "
        for path in ("stage1/chat.json", "instruct/mix.json", "reading/conversations.json")
        for record in read(world / path)
        for turn in record["conversations"]
    ]
    model, processor = assemble(
        vision=str(made.tower),
        language=made.size.language,
        connector="linear",
        kind="llava",
        images=ImageSettings.model_validate({"aspect": "pad"}),
        feature_layer=-1,
        texts=spoken,
        vocabulary=made.size.vocabulary,
        seed=seed,
    )
    folder = world / "region_captions"
    lessons = tower.read(folder, folder, made.size.pixels, made.size.patch, most=1000)
    match(model, seed)
    look_back(model)
    align(model, processor.tokenizer, lessons)
    model.save_pretrained(out)
    processor.save_pretrained(out)


def match(model: Any, seed: int, pull: float = 1.0, copy: float = 0.5) -> None:
    """Let attention start by looking at what is alike, and passing on what is there.

    Mimetic initialisation (Trockman and Kolter 2023, arXiv 2305.09828): of each layer, query and
    key are the same orthogonal map, and output is the transpose of value. A small model otherwise
    spends most of its training on finding that a word belongs to the patch that shows it.

    Args:
        model: A LLaVA with a Llama of as many key as query heads.
        seed: Of the maps.
        pull: Scale of queries and keys; 0: looks everywhere alike.
        copy: Scale of what is passed on.
    """
    import torch

    draw = torch.Generator().manual_seed(seed + 3)
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            part = layer.self_attn
            width = part.q_proj.weight.shape[0]
            for first, second, scale in (
                (part.q_proj, part.k_proj, pull),
                (part.v_proj, part.o_proj, copy**0.5),
            ):
                turn = torch.linalg.qr(torch.randn(width, width, generator=draw))[0] * scale
                first.weight.copy_(turn)
                second.weight.copy_(turn if second is part.k_proj else turn.T)


_BACK = ((0, 1.0, 6.0), (0, 2.0, 6.0), (0, 4.0, 2.0), (1, 4.0, 2.0), (1, 13.0, 2.0))
"""Layer, tokens back and sharpness of heads that start by looking there: at 6 they see that token
alone, at 2 a window of five around it. In their order the first heads of a layer. Thirteen tokens
before the place where an answer starts is the end of a question that SHORT comes after."""


def look_back(model: Any) -> None:
    """Let some heads start by looking a fixed way back, whatever is there.

    A word then begins with what was said just before it ("dog red"), and the place where an answer
    starts with the words of the question. Both are needed to look anything up, and small models
    find them late. Query and key of such a head are constants, turned against each other by the
    rotary angle of the distance, so that their product is highest there.

    Args:
        model: A LLaVA with a Llama of rotary positions and `attention_bias`; others are left alone.
    """
    import torch

    language = model.model.language_model
    if not getattr(language.config, "attention_bias", False):
        return
    angles = language.rotary_emb.inv_freq.double()
    taken: dict[int, int] = {}
    with torch.no_grad():
        for layer, back, sharp in _BACK:
            part, head = language.layers[layer].self_attn, taken.get(layer, 0)
            taken[layer] = head + 1
            rows = slice(head * part.head_dim, (head + 1) * part.head_dim)
            part.q_proj.weight[rows] = 0
            part.k_proj.weight[rows] = 0
            turned = torch.cat([torch.cos(back * angles), -torch.sin(back * angles)])
            part.q_proj.bias[rows] = (sharp * turned).float()
            still = torch.cat([torch.ones_like(angles), torch.zeros_like(angles)])
            part.k_proj.bias[rows] = (sharp * still).float()


def align(model: Any, tokenizer: Any, lessons: Any) -> int:
    """Start a connector where pictures and words share one space; return how many words.

    By ridge regression from the features of a region to the sum of the embeddings of the words
    that its phrase has. What a language model can do with a word that it reads it can then learn to
    do with a patch that shows the same, as after the contrastive training of published towers.

    Args:
        model: A LLaVA as wide as its tower.
        tokenizer: Its tokenizer; words of more than one token are left out.
        lessons: Regions with their words (trainers/engine/tower.py).
    """
    import torch

    from trainers.engine.tower import pooled

    table = model.get_input_embeddings().weight
    found = {}
    for place, word in enumerate(lessons.words):
        ids = tokenizer(f" {word}", add_special_tokens=False).input_ids
        if len(ids) == 1:
            found[place] = ids[0]
    with torch.no_grad():
        features, wanted = [], []
        for start in range(0, len(lessons.looks), 64):
            looks = lessons.looks[start : start + 64]
            features.append(pooled(model.model.vision_tower, looks))
            for look in looks:
                for words in look.words:
                    ids = [found[word] for word in words if word in found]
                    wanted.append(table[ids].sum(0))
        seen, goal = torch.cat(features).double(), torch.stack(wanted).double()
        centre, middle = seen.mean(0), goal.mean(0)
        seen = seen - centre
        ridge = 1e-2 * seen.pow(2).sum() / seen.shape[1] * torch.eye(seen.shape[1]).double()
        weight = torch.linalg.solve(seen.T @ seen + ridge, seen.T @ (goal - middle)).T
        _set_connector(model.model.multi_modal_projector, weight, middle - weight @ centre)
    return len(found)


_LIFT = 6.0
"""How far above zero the first layer's values are moved: GELU passes them on unchanged there."""


def _set_connector(projector: Any, weight: Any, bias: Any) -> None:
    """Make a connector this linear map: a linear one exactly, an MLP in GELU's straight part."""
    import torch

    first, second = projector.linear_1, projector.linear_2
    first.weight.copy_(weight)
    first.bias.copy_(bias)
    if type(projector.act).__name__ not in ("Identity", "LinearActivation"):
        first.bias.add_(_LIFT)
        torch.nn.init.eye_(second.weight)
        second.bias.fill_(-_LIFT)


def new_model(made: Base, connector: str, seed: int, out: Path) -> Path:
    """Put a new connector in front of the base's language model; return the model's directory.

    The language model has learned to read through the captioner's linear connector; the new one
    starts as that map, jittered by the seed. One for published parts is drawn from the seed.
    """
    import torch
    from transformers import LlavaForConditionalGeneration

    from harness.engine.load import quiet as no_bars
    from trainers.builders.llava import assemble
    from trainers.recipe import ImageSettings

    images = ImageSettings.model_validate({"aspect": "pad"})
    model, processor = assemble(**made.parts(connector), images=images, seed=seed)
    if not made.real:
        with no_bars():
            known = LlavaForConditionalGeneration.from_pretrained(made.captioner)
        first = known.model.multi_modal_projector.linear_1
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            jitter = torch.randn(first.weight.shape, generator=draw) * first.weight.std() * 0.1
            own = model.model.multi_modal_projector
            _set_connector(own, first.weight + jitter, first.bias)
    with no_bars():
        model.save_pretrained(out)
        processor.save_pretrained(out)
    return out


def take_language(model: Path, out: Path) -> None:
    """Save the language model inside a LLaVA checkpoint as a checkpoint of its own."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlavaForConditionalGeneration

    whole = LlavaForConditionalGeneration.from_pretrained(model)
    alone = AutoModelForCausalLM.from_config(whole.config.text_config)
    alone.base_model.load_state_dict(whole.model.language_model.state_dict())
    if not alone.config.tie_word_embeddings:
        alone.lm_head.load_state_dict(whole.lm_head.state_dict())
    alone.generation_config = whole.generation_config
    alone.save_pretrained(out)
    AutoTokenizer.from_pretrained(model).save_pretrained(out)
