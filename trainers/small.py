"""Small models from nothing: a tower that has seen phrases, a language model that has read.

The demo and `make wind-tunnel` start from such a base, so that they run on a machine without any
downloaded weights. In the order of what happens:

    OUT/tower/       learned to name what region phrases say (trainers/engine/tower.py)
    OUT/start/       tower, linear connector and language model put together; the embeddings of
                     words that the tower knows are the directions that it knows them by, and
                     attention can look things up (small_start.py)
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
from trainers import small_lessons
from trainers.recipe import Recipe, find
from trainers.small_start import align, look_back, match, set_connector

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
    told = small_lessons.lessons(world, made.size.caption_steps * made.size.batch, seed)
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
    """Return a recipe for a small model: as `tuning` has it, plus `changes`."""
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
        for record in small_lessons.read(world / path)
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
            set_connector(own, first.weight + jitter, first.bias)
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
