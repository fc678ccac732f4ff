"""LLaVA, LLaVA-1.5, LLaVA-1.5-HD and LLaVA-NeXT, put together from a tower and a language model.

The connector of LLaVA-1 is one linear map (dissertation, eq. 3.1). transformers has a two-layer
class only, so the second layer is the identity, without activation, and never trained: the same
function, bit for bit. That of LLaVA-1.5 is two layers with GELU between them (section 4.3).
Parts are used as they are, not copied: a 34-billion model is held in memory once.
Imports torch and transformers inside the functions.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from harness.errors import DataError, UsageError, unknown
from trainers._llava_common import REQUIRED
from trainers.anyres import RELEASED
from trainers.builders import parts, shapes, tokens
from trainers.recipe import ImageSettings, Recipe

Kind = Literal["llava", "llava_hd", "llava_next"]
KINDS = ("llava", "llava_hd", "llava_next")
CONNECTORS = {"linear": "linear", "mlp": "gelu"}
"""Connector to the activation between its two layers."""


def build(recipe: Recipe, *, texts: str = "", **options: Any) -> tuple[Any, Any]:
    """Make the model that `recipe` starts from.

    Args:
        recipe: what is to be trained.
        texts: file of records, or the folder of the recipe's, that a tokenizer is trained on, for
            random weights.
        options: the others of `assemble`.

    Raises:
        UsageError, DataError: as `assemble`.
    """
    if texts:
        from trainers.engine import records, samples

        found = Path(texts)
        only = recipe if found.is_dir() else Recipe.model_validate({"name": recipe.name})
        options["texts"] = samples.words(records.read(only, found))
    return assemble(images=recipe.images, **options)


def sketch(recipe: Recipe, data: Path) -> Callable[[Recipe], tuple[Any, Any]] | None:
    """Return a maker of the recipe's model without weights, for forecasts; None: load real parts.

    Only where both parts are named by sizes. A tokenizer is trained on `data` where none is named;
    token counts are then those of a smaller vocabulary.
    """
    options = dict(recipe.builder_options)
    if not all(shapes.is_shape(str(options.get(part, ""))) for part in ("vision", "language")):
        return None
    options["connector_weights"] = "none"
    if not options.get("tokenizer"):
        options.setdefault("texts", str(data))

    def make(recipe: Recipe) -> tuple[Any, Any]:
        import torch

        with torch.device("meta"):
            return build(recipe, **options)

    return make


def assemble(
    *,
    vision: str,
    language: str,
    connector: str = "mlp",
    kind: str = "llava",
    images: ImageSettings | None = None,
    feature_layer: int = -2,
    tokenizer: str = "",
    texts: Iterable[str] = (),
    vocabulary: int = 4096,
    template: str | None = None,
    global_view: bool = True,
    connector_weights: str = "none",
    seed: int = 0,
    dtype: str = "float32",
) -> tuple[Any, Any]:
    """Return the model and its processor.

    Args:
        vision: directory of a tower, or `scratch:SIZE`, `shapes:NAME`.
        language: directory of a causal language model, or the same.
        connector: linear or mlp.
        kind: llava, llava_hd or llava_next.
        images: how pictures become pixels; None: squares cut from the centre, NeXT its own way.
        feature_layer: which hidden state of the tower is shown to the language model.
        tokenizer: directory of another tokenizer than the language model's own.
        texts: what a tokenizer is trained on for random weights.
        vocabulary: most tokens of a trained tokenizer.
        template: chat template to keep.
        global_view: llava_hd only; False leaves out the small whole picture (an ablation).
        connector_weights: a checkpoint whose connector is taken over, as of stage 1; "none" for
            one drawn from the seed.
        seed: of everything that is drawn.
        dtype: of all weights: float32, bfloat16 or float16.

    Raises:
        UsageError: an unknown name.
        DataError: a part that cannot be read or does not fit.
    """
    if kind not in KINDS:
        raise unknown("kind of model", kind, KINDS)
    if connector not in CONNECTORS:
        raise unknown("connector", connector, CONNECTORS)
    if connector_weights == REQUIRED:
        raise UsageError(
            "this recipe goes on from a trained connector: give the whole stage-1 checkpoint as "
            "--model, or take its connector alone with builder_options.connector_weights=DIR "
            "(none starts from a random one)"
        )
    from harness.engine.load import DTYPES

    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    lm, words = parts.read_language(
        language,
        tokenizer=tokenizer,
        texts=texts,
        vocabulary=vocabulary,
        template=template,
        seed=seed + 1,
        dtype=DTYPES[dtype],
    )
    tower = parts.read_tower(vision, seed=seed, dtype=DTYPES[dtype])
    settings = images or ImageSettings.model_validate({})
    size = _size(tower, settings)
    grid = _grid(kind, size, settings)
    model = _model(kind, tower, lm, words, CONNECTORS[connector], feature_layer, grid, global_view)
    _connect(model, connector, seed)
    if connector_weights != "none":
        take_connector(model, Path(connector_weights))
    model.generation_config = lm.generation_config
    model.generation_config.pad_token_id = words.pad_token_id
    return model, _processor(kind, tower, words, size, grid, settings, global_view)


def linear_connector(projector: Any) -> None:
    """Make the second layer of `projector` the identity, so that the whole is its first layer."""
    import torch

    with torch.no_grad():
        torch.nn.init.eye_(projector.linear_2.weight)
        projector.linear_2.bias.zero_()
    projector.linear_2.requires_grad_(False)


def take_connector(model: Any, folder: Path) -> None:
    """Give `model` the connector of the checkpoint in `folder`.

    Raises:
        DataError: no safetensors there, no connector in them, or one of another size or kind.
    """
    import torch
    from safetensors import safe_open

    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118  # not a mapping
                if "multi_modal_projector." in key:
                    found[key.partition("multi_modal_projector.")[2]] = file.get_tensor(key)
    projector = model.model.multi_modal_projector
    wanted = {name: tuple(weight.shape) for name, weight in projector.state_dict().items()}
    if {name: tuple(weight.shape) for name, weight in found.items()} != wanted:
        there = ", ".join(f"{n} {tuple(w.shape)}" for n, w in sorted(found.items())) or "none"
        raise DataError(f"{folder}: the connector there is {there}; this model needs {wanted}")
    act = json.loads((folder / "config.json").read_text(encoding="utf-8")).get(
        "projector_hidden_act", "gelu"
    )
    if act != model.config.projector_hidden_act:
        raise DataError(
            f"{folder}: its connector has '{act}' between its layers, this model "
            f"'{model.config.projector_hidden_act}'"
        )
    with torch.no_grad():
        projector.load_state_dict(found)


def without_gradient(model: Any) -> list[str]:
    """Return the names of the tower's weights that the features shown do not depend on.

    With features of the layer before the last these are the last layer, the norm after it and
    any pooling head; they must not be handed to an optimizer, which would wait for gradients.
    """
    import torch

    config = model.config
    tower = model.model.vision_tower
    size = config.vision_config.image_size
    device = next(tower.parameters()).device
    pixels = torch.zeros(1, 3, size, size, device=device, dtype=tower.dtype)
    wanted = {name: weight.requires_grad for name, weight in tower.named_parameters()}
    tower.requires_grad_(True)
    try:
        with torch.enable_grad():
            shown = tower(pixels, output_hidden_states=True, return_dict=True)
            loss = shown.hidden_states[config.vision_feature_layer].float().sum()
            names = [name for name, _ in tower.named_parameters()]
            found = torch.autograd.grad(loss, list(tower.parameters()), allow_unused=True)
    finally:
        for name, weight in tower.named_parameters():
            weight.requires_grad_(wanted[name])
    return [
        f"model.vision_tower.{name}"
        for name, gradient in zip(names, found, strict=True)
        if gradient is None
    ]


def _model(
    kind: str,
    tower: parts.Tower,
    lm: Any,
    words: Any,
    activation: str,
    feature_layer: int,
    grid: list[list[int]],
    global_view: bool,
) -> Any:
    import torch
    import transformers

    config_kind, model_kind = {
        "llava": (transformers.LlavaConfig, transformers.LlavaForConditionalGeneration),
        "llava_next": (
            transformers.LlavaNextConfig,
            transformers.LlavaNextForConditionalGeneration,
        ),
        "llava_hd": _hd(),
    }[kind]
    side = tower.model.config.image_size // tower.model.config.patch_size
    extra: dict[str, Any] = {} if kind == "llava" else {"image_grid_pinpoints": grid}
    if kind == "llava_hd":
        extra["global_view"] = global_view
    config = config_kind(
        vision_config=tower.model.config,
        text_config=lm.config,
        image_token_index=words.convert_tokens_to_ids(tokens.IMAGE_TOKEN),
        image_seq_length=side * side,
        projector_hidden_act=activation,
        vision_feature_select_strategy=tower.strategy,
        vision_feature_layer=feature_layer,
        tie_word_embeddings=lm.config.tie_word_embeddings,
        **extra,
    )
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = model_kind._from_config(config, dtype=lm.dtype)
    if type(model.model.language_model) is not type(lm.base_model):
        raise DataError(
            f"a {type(lm).__name__} cannot be the language model of a {model_kind.__name__}: its "
            f"inner model is a {type(lm.base_model).__name__}"
        )
    model.model.vision_tower = tower.model
    model.model.language_model = lm.base_model
    model.lm_head = lm.get_output_embeddings()
    model.config.pad_token_id = words.pad_token_id
    return model.eval()


def _hd() -> tuple[Any, Any]:
    from trainers.engine import llava_hd

    llava_hd.register()
    return llava_hd.LlavaHDConfig, llava_hd.LlavaHDForConditionalGeneration


def _connect(model: Any, connector: str, seed: int) -> None:
    """Draw the connector as torch draws linear layers, and the newline vector, from `seed`."""
    import torch

    device = model.lm_head.weight.device
    projector = model.model.multi_modal_projector
    projector.to_empty(device=device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed + 2)
        projector.linear_1.reset_parameters()
        projector.linear_2.reset_parameters()
        newline = getattr(model.model, "image_newline", None)
        if newline is not None:
            drawn = torch.randn(newline.shape[0], device=device) / newline.shape[0] ** 0.5
            model.model.image_newline = torch.nn.Parameter(drawn.to(newline.dtype))
    if connector == "linear":
        linear_connector(projector)


def _size(tower: parts.Tower, settings: ImageSettings) -> int:
    """Return the side of the tower's input in pixels."""
    native: int = tower.model.config.image_size
    if settings.size not in (None, native) and tower.model.config.model_type != "dinov2":
        raise UsageError(
            f"this tower sees {native} x {native} pixels, not {settings.size}: take a tower of "
            "that size (its position embeddings are not interpolated)"
        )
    return settings.size or native


def _grid(kind: str, size: int, settings: ImageSettings) -> list[list[int]]:
    """Return the canvases (height, width) that a picture may be cut from; all are whole tiles."""
    if kind == "llava":
        return []
    default = [(2 * size, 2 * size)] if kind == "llava_hd" else _scaled(size)
    grid = [list(canvas) for canvas in settings.grid or default]
    for canvas in grid:
        if len(canvas) != 2 or any(side % size or side <= 0 for side in canvas):
            raise UsageError(
                f"the canvas {tuple(canvas)} is not made of whole tiles of {size} x {size} pixels"
            )
    return grid


def _scaled(size: int) -> list[tuple[int, int]]:
    """Return the released canvases, which are of 336-pixel tiles, in tiles of `size` pixels."""
    return [(high // 336 * size, wide // 336 * size) for high, wide in RELEASED]


def _processor(
    kind: str,
    tower: parts.Tower,
    words: Any,
    size: int,
    grid: Sequence[Sequence[int]],
    settings: ImageSettings,
    global_view: bool,
) -> Any:
    from transformers import LlavaNextProcessor, LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
    from transformers.models.llava_next.image_processing_pil_llava_next import (
        LlavaNextImageProcessorPil,
    )

    pixels: dict[str, Any] = {
        "size": {"shortest_edge": size},
        "crop_size": {"height": size, "width": size},
        "image_mean": list(tower.mean),
        "image_std": list(tower.std),
    }
    common: dict[str, Any] = {
        "patch_size": tower.model.config.patch_size,
        "vision_feature_select_strategy": tower.strategy,
        "num_additional_image_tokens": tower.class_tokens,
        "chat_template": words.chat_template,
    }
    tiles = {"image_grid_pinpoints": [list(canvas) for canvas in grid]}
    if kind == "llava":
        image = LlavaImageProcessorPil(do_pad=settings.aspect == "pad", **pixels)
        return LlavaProcessor(image, words, **common)
    if kind == "llava_next":
        return LlavaNextProcessor(LlavaNextImageProcessorPil(**pixels, **tiles), words, **common)
    from trainers.engine import llava_hd

    image = llava_hd.LlavaHDImageProcessor(**pixels, **tiles)
    return llava_hd.LlavaHDProcessor(image, words, global_view=global_view, **common)
