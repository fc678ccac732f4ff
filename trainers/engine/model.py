"""The model of a run: loaded or built, checked against the recipe, made ready, saved.

A finished model is a directory that `from_pretrained` and `AutoProcessor` load with no code of
ours; its chat template and image settings are those it was trained with. May import torch at the
top.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from harness.engine.load import Settings, quiet, read_config, read_processor
from harness.errors import DataError, UsageError, unknown
from trainers.engine import attention, groups, images, llava_hd, templates
from trainers.recipe import Recipe

Builder = Callable[[Recipe], tuple[Any, Any]]
"""Makes (model, processor) of a recipe; the model in float32 on the CPU."""
BUILDERS = Path(__file__).resolve().parent.parent / "builders"


@dataclass
class Ready:
    """A model that can be trained, and what is declared about it."""

    model: Any
    processor: Any
    members: dict[str, groups.Member]
    base: str
    """Where it came from."""

    @property
    def plain(self) -> Any:
        """Return the transformers model inside adapters."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def image_token(self) -> int:
        """Return the id of the image token."""
        return int(self.processor.tokenizer.convert_tokens_to_ids(self.processor.image_token))

    @property
    def pad_token(self) -> int:
        """Return an id to fill rows with; it is masked everywhere."""
        found = self.processor.tokenizer.pad_token_id
        return int(found if found is not None else self.processor.tokenizer.eos_token_id or 0)


def prepare(recipe: Recipe, source: str | Path | Builder | None, *, adapt: bool = True) -> Ready:
    """Load or build the model of `recipe`, and make it ready for training.

    Args:
        recipe: What to train.
        source: Directory or hub name of a checkpoint, a builder, or None for the recipe's builder.
        adapt: Put the recipe's adapters on; False leaves that to who loads a checkpoint.

    Raises:
        DataError: The checkpoint does not match the recipe; all that does not is named.
        UsageError: There is neither a checkpoint nor a builder.
    """
    model, processor = _make(recipe, source)
    base = str(source) if isinstance(source, str | Path) else (recipe.builder or "a builder")
    _check(recipe, model, processor, base)
    images.configure(processor, recipe.images)
    if recipe.images.grid:  # the model puts together what the processor cut
        model.config.image_grid_pinpoints = [list(size) for size in recipe.images.grid]
    templates.install(processor, recipe)
    _set_generation(model, processor)
    model.config.use_cache = False
    if recipe.images.video:
        from harness.engine.video import watch

        watch(model)
    set_attention(model, recipe)
    if adapt and recipe.lora is not None:
        model = _with_lora(model, recipe)
    members = groups.declare(model, recipe)
    _cast(model, recipe)
    if recipe.compile:
        from harness.engine.load import compile_parts

        compile_parts(model)
    return Ready(model, processor, members, base)


def load(address: str, *, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """Load a checkpoint: its model on the CPU in `dtype`, and its processor."""
    from transformers import AutoModelForImageTextToText

    llava_hd.register()  # no class of transformers
    settings = Settings()
    config = read_config(address, settings)
    try:
        with quiet():
            model = AutoModelForImageTextToText.from_pretrained(address, dtype=dtype)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot load {address} as an image-text model: {error}") from error
    return model, read_processor(address, config, settings)


def set_attention(model: Any, recipe: Recipe) -> None:
    """Choose the attention of the language model; the vision tower keeps a dense one."""
    chosen = recipe.attention
    if recipe.packing and chosen == "sdpa":
        attention.register()
        chosen = attention.NAME
    language = getattr(model, "language_model", None) or model.model.language_model
    language.set_attn_implementation(chosen)


def export(ready: Ready, folder: Path, dtype: str, state: Mapping[str, Any] | None = None) -> None:
    """Save the finished model, adapters merged, with everything it is asked with.

    Args:
        ready: What was trained; its model is left as it is, but for adapters, which are merged.
        folder: Where to.
        dtype: float32 or bfloat16.
        state: Its tensors where the model itself holds only shards of them.
    """
    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    model = ready.model
    if hasattr(model, "peft_config"):  # merging rounds: in float32, then once to `dtype`
        model = model.float().merge_and_unload()
    language = getattr(model, "language_model", None) or model.model.language_model
    language.set_attn_implementation("sdpa")
    tensors = {
        groups.clean(name): tensor.to(kind) if tensor.is_floating_point() else tensor
        for name, tensor in (state or model.state_dict()).items()
    }
    before = model.config.dtype
    model.config.dtype = kind
    model.config.use_cache = True
    # Names that other tools know, the same whether a run went on from a checkpoint or not: by
    # default transformers writes those that the model happened to be loaded under.
    model._weight_conversions = None
    model.save_pretrained(folder, state_dict=tensors)
    model.config.use_cache = False
    model.config.dtype = before
    save_processor(ready.processor, folder)


def _set_generation(model: Any, processor: Any) -> None:
    """Keep the special tokens alone: how answers are decoded is the task's business."""
    from transformers import GenerationConfig

    tokenizer = processor.tokenizer
    ends = end_tokens(processor)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends if len(ends) != 1 else ends[0],
        pad_token_id=tokenizer.pad_token_id,
    )


def save_processor(processor: Any, folder: Path) -> None:
    """Save the processor; generation pads on the left, whatever training did."""
    processor.tokenizer.padding_side = "left"
    processor.save_pretrained(folder)


def end_tokens(processor: Any) -> list[int]:
    """Return the ids that end a reply: the tokenizer's, and the last target of the template."""
    tokenizer = processor.tokenizer
    found = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
    ]
    text, spans = templates.render(processor.chat_template, turns, tokenizer.special_tokens_map)
    end = text[slice(*spans[-1])].strip()[1:].strip() or "\n"  # what follows the reply "b"
    last = tokenizer(text[: spans[-1][1]], add_special_tokens=False)["input_ids"][-1]
    if last not in found and tokenizer.decode([last]).strip(" ") == end:
        found.append(last)
    return found


def _make(recipe: Recipe, source: str | Path | Builder | None) -> tuple[Any, Any]:
    if callable(source):
        return source(recipe)
    if source is not None:
        return load(str(source))
    if not recipe.builder:
        raise UsageError(f"the recipe {recipe.name} goes on from a checkpoint: give it as --model")
    known = [path.stem for path in BUILDERS.glob("[!_]*.py")]
    if recipe.builder not in known:
        raise unknown("builder", recipe.builder, known)
    module = import_module(f"trainers.builders.{recipe.builder}")
    try:
        model, processor = module.build(recipe, **recipe.builder_options)
    except TypeError as error:
        if "build()" not in str(error) and "assemble()" not in str(error):
            raise
        raise UsageError(f"builder_options of {recipe.builder}: {error}") from error
    return model, processor


def _check(recipe: Recipe, model: Any, processor: Any, base: str) -> None:
    faults = []
    config = model.config
    if recipe.model_types and config.model_type not in recipe.model_types:
        faults.append(f"it is a {config.model_type}, and that goes on from "
                      f"{' or '.join(recipe.model_types)}")  # fmt: skip
    for need in recipe.needs:
        path, _, wanted = need.partition("=")
        found: Any = config
        for step in path.split("."):
            found = getattr(found, step, None)
        if str(found) != wanted:
            faults.append(f"{path} is {found}, not {wanted}")
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or not hasattr(processor, "image_processor"):
        faults.append("its processor has no tokenizer and image processor")
    elif not hasattr(processor, "_get_num_multimodal_tokens") or not getattr(
        processor, "image_token", None
    ):
        faults.append(f"{type(processor).__name__} does not say how many tokens a picture takes")
    else:
        rows = model.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > rows:
            faults.append(
                f"its tokenizer has {len(tokenizer)} tokens and its embedding {rows} rows"
            )
        wanted_id = tokenizer.convert_tokens_to_ids(processor.image_token)
        own = getattr(config, "image_token_id", None)
        if own is None:
            own = getattr(config, "image_token_index", None)
        if own != wanted_id:
            faults.append(f"its image token is {own}, the tokenizer's {wanted_id}")
    if faults:
        raise DataError(f"{base} does not match the recipe {recipe.name}: {'; '.join(faults)}")


def _with_lora(model: Any, recipe: Recipe) -> Any:
    from harness.errors import MissingExtra

    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtra("peft", "lora", "pip install 'sightline[peft]'") from error
    assert recipe.lora is not None
    model.requires_grad_(False)
    config = LoraConfig(
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=recipe.lora.pattern,
        modules_to_save=_modules(model, recipe) or None,
        bias="none",
    )
    try:
        with warnings.catch_warnings():
            # peft asks transformers by a name that its next major release drops.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            return get_peft_model(model, config)
    except ValueError as error:
        raise DataError(f"lora.pattern {recipe.lora.pattern}: {error}") from error


def _modules(model: Any, recipe: Recipe) -> list[str]:
    """Return the modules that `trainable` names wholly: peft saves modules, not parameters."""
    names = [name for name, _ in model.named_parameters()]
    chosen = groups._matching(names, recipe.trainable, "trainable")
    chosen -= groups._matching(names, recipe.frozen, "frozen")
    found: list[str] = []
    covered: set[str] = set()
    for module, _ in model.named_modules():  # outer ones come first
        inside = {name for name in names if name.startswith(f"{module}.")}
        if module and inside and inside <= chosen and not inside <= covered:
            found.append(module)
            covered |= inside
    if chosen - covered:
        raise DataError(
            "with lora, `trainable` must name whole modules; these are only parts of one: "
            + ", ".join(sorted(chosen - covered)[:4])
        )
    return found


def _cast(model: Any, recipe: Recipe) -> None:
    """Give every parameter the type it is kept in. Shards need one type for all.

    What is frozen is rounded only where the export would round it too: it must leave as it came.
    """
    small = recipe.precision == "bf16" and recipe.save_dtype != "float32"
    if recipe.precision == "bf16_pure":
        model.to(torch.bfloat16)
    elif small and recipe.parallel == "ddp":
        for parameter in model.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
