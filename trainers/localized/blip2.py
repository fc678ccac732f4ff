"""BLIP-2's first stage as training sees it: loading, single passes, keeping features, saving.

`Blip2ForImageTextRetrieval` of transformers has no loss and takes one resolution. Here are the
passes that the critic (critic.py) and the student (student.py) are made of: the vision tower up to
the norm after it, that norm (LAVIS's `ln_vision`, `vision_model.post_layernorm` here), image and
text together through the Q-Former, and the matching head. They compute what the model's own forward
pass computes. What is saved loads with `from_pretrained` and no code of ours. May import torch at
the top; transformers inside functions.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.engine.highlight import Palette
from harness.engine.images import Recent
from harness.errors import DataError, UsageError
from trainers.engine import groups
from trainers.localized.drawing import MOST
from trainers.localized.words import CRITIC_PREFIX, PIECES, WORDS
from trainers.recipe import Common

KIND = "Blip2ForImageTextRetrieval"
CARD = "regions.json"
"""File beside the weights that says how pictures and texts are made ready."""
GIB = 2**30


@dataclass(frozen=True)
class Asked:
    """How a model is asked: saved beside it, so that a score later means what it meant here."""

    palette: Palette = "lskd"
    most: int = MOST
    """Regions drawn at most; 0: any number."""
    draw: bool = True
    """Whether regions are drawn at all (the ablation `no_regions` does not)."""
    prefix: str = CRITIC_PREFIX
    words: int = WORDS
    pieces: int = PIECES


def load(address: str | Path, image_size: int | None = None) -> tuple[Any, Any]:
    """Load a checkpoint in float32 on the CPU: the model in evaluation mode, and its processor.

    Args:
        address: Directory or hub name of a Blip2ForImageTextRetrieval.
        image_size: Pixels of a side to go on with (480 in the paper); None: the checkpoint's.

    Raises:
        DataError: It is no such model, lacks weights, or its Q-Former reads no text.
    """
    import transformers

    from harness.engine.load import Settings, load_model, read_config, read_processor

    settings = Settings(device="cpu", dtype="float32")
    config = read_config(str(address), settings)
    if config.model_type != "blip-2":
        raise DataError(f"{address} is a {config.model_type}, not a BLIP-2 for image-text matching")
    if not config.qformer_config.use_qformer_text_input:
        raise DataError(f"{address}: its Q-Former reads no text (use_qformer_text_input is off)")
    model, _ = load_model(getattr(transformers, KIND), str(address), settings)
    processor = read_processor(str(address), config, settings)
    if image_size is not None:
        set_image_size(model, processor, image_size)
    return model, processor


def set_image_size(model: Any, processor: Any, size: int) -> None:
    """Make a model and its processor take pictures of `size` pixels a side.

    The table of positions is stretched once, bicubic (16 to 34 a side for 224 to 480 pixels of 14),
    and the configuration says the new size, so that the saved model loads as any other.
    """
    tower = model.vision_model
    table = tower.embeddings
    before = int((table.position_embedding.shape[1] - 1) ** 0.5)
    after = size // table.patch_size
    if after < 1:
        raise UsageError(f"pictures of {size} pixels are smaller than a patch ({table.patch_size})")
    if after != before:
        old = table.position_embedding.data
        trains = table.position_embedding.requires_grad
        grid = old[:, 1:].float().reshape(1, before, before, -1).permute(0, 3, 1, 2)
        grid = torch.nn.functional.interpolate(
            grid, size=(after, after), mode="bicubic", align_corners=False
        )
        grid = grid.permute(0, 2, 3, 1).reshape(1, after * after, -1).to(old.dtype)
        new = torch.nn.Parameter(torch.cat([old[:, :1], grid], dim=1), requires_grad=trains)
        table.position_embedding = new
    table.image_size = size
    table.num_patches = after * after
    table.num_positions = table.num_patches + 1
    for config in (table.config, tower.config, model.config.vision_config):
        config.image_size = size
    processor.image_processor.size = {"height": size, "width": size}


def pixels(processor: Any, picture: Any) -> Tensor:
    """Return the model's input (3, side, side) for a picture (PIL, RGB)."""
    out = processor.image_processor(images=[picture], return_tensors="pt")["pixel_values"]
    return torch.as_tensor(out)[0]


def tokens(model: Any, processor: Any, texts: Sequence[str], pieces: int = PIECES) -> Any:
    """Return `input_ids` and `attention_mask` (n, longest) of texts, cut at `pieces` word pieces.

    The image tokens of newer processors are left out: the Q-Former never reads them.
    """
    table = int(model.config.qformer_config.max_position_embeddings)
    limit = min(pieces, table, processor.tokenizer.model_max_length)
    found = processor.tokenizer(
        list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt"
    )
    return {name: found[name] for name in ("input_ids", "attention_mask")}


def before_norm(model: Any, pictures: Tensor) -> Tensor:
    """Return the vision tower's last layer (n, patches + 1, width) of (n, 3, side, side)."""
    tower = model.vision_model
    hidden: Tensor = tower.encoder(inputs_embeds=tower.embeddings(pictures)).last_hidden_state
    return hidden


def normed(model: Any, hidden: Tensor) -> Tensor:
    """Return what the Q-Former sees of `before_norm`: the norm after the tower, which may train."""
    norm = model.vision_model.post_layernorm
    out: Tensor = norm(hidden.to(norm.weight.dtype))
    return out


def together(model: Any, image: Tensor, ids: Tensor, mask: Tensor, *, exact: bool = True) -> Tensor:
    """Return the Q-Former's output (n, queries + t, width) of images and texts read together.

    Args:
        model: A Blip2ForImageTextRetrieval.
        image: From `normed`, (n, patches + 1, width).
        ids: Text tokens (n, t).
        mask: (n, t) with 1 for tokens that are no padding (every query and every such token sees
            all of them); or (n, 1, queries + t, queries + t), of booleans for the attention `sdpa`.
        exact: Compute in float32 under autocast too, as the class keeps its weights.
    """
    queries = model.query_tokens.expand(len(image), -1, -1)
    if mask.ndim == 2:
        seen = torch.ones(queries.shape[:2], dtype=mask.dtype, device=mask.device)
        mask = torch.cat([seen, mask], dim=1)
    with torch.autocast(image.device.type, enabled=False) if exact else nullcontext():
        out: Tensor = model.qformer(
            query_embeds=model.embeddings(input_ids=ids, query_embeds=queries),
            query_length=queries.shape[1],
            attention_mask=mask,
            encoder_hidden_states=image.float() if exact else image,
            encoder_attention_mask=_all_seen(image),
        ).last_hidden_state
    return out


def queries_of(model: Any, image: Tensor, *, exact: bool = True) -> Tensor:
    """Return the Q-Former's output (n, queries, width) of images alone; see `together`."""
    with torch.autocast(image.device.type, enabled=False) if exact else nullcontext():
        out: Tensor = model.qformer(
            query_embeds=model.query_tokens.expand(len(image), -1, -1),
            encoder_hidden_states=image.float() if exact else image,
            encoder_attention_mask=_all_seen(image),
        ).last_hidden_state
    return out


def matching(model: Any, output: Tensor) -> Tensor:
    """Return logits (n, 2) of `together`'s output: mean over the queries; 1 means a match."""
    count = model.query_tokens.shape[1]
    logits: Tensor = model.itm_head(output[:, :count].to(model.itm_head.weight.dtype))
    return logits.mean(dim=1)


def unreached(model: Any) -> set[str]:
    """Return names of parameters that no matching score depends on, so that no gradient comes.

    The projections of the contrastive scores, and the text's feed-forward block of the last layer:
    scores are read at the queries.
    """
    last = model.config.qformer_config.num_hidden_layers - 1
    layer = f"qformer.encoder.layer.{last}"
    heads = ("vision_projection.", "text_projection.", f"{layer}.intermediate.", f"{layer}.output.")
    return {name for name, _ in model.named_parameters() if name.startswith(heads)}


def members(model: torch.nn.Module, recipe: Common, never: Iterable[str] = ()) -> dict[str, str]:
    """Return the parameters of `model` that may train, to the group of each.

    `never` names those that do not, whatever the recipe says: no gradient reaches them, or the
    method keeps them. The recipe's own `trainable` and `frozen` are the engine's business; see
    `trained`.
    """
    out = set(never)
    return {
        name: next((g.name for g in recipe.groups if re.search(g.pattern, name)), groups.BASE)
        for name, _ in model.named_parameters()
        if name not in out
    }


def trained(names: Iterable[str], recipe: Common) -> set[str]:
    """Return which of `names` (of `members`) the recipe trains, as the engine will find.

    Raises:
        DataError: A pattern of the recipe matches nothing.
    """
    found = list(names)
    chosen = groups._matching(found, recipe.trainable, "trainable")
    return chosen - groups._matching(found, recipe.frozen, "frozen")


class Features:
    """The frozen tower's outputs by picture, computed when first asked for and kept in memory.

    For training with pictures that are not varied (other than which regions are drawn, which is
    part of the key). Each picture is computed alone, so that what is kept does not depend on what
    else is in a batch, and a resumed run computes the same numbers. Of one process only: a data
    loader's workers would each keep their own.
    """

    def __init__(self, model: Any, limit: int = 8 * GIB, dtype: torch.dtype | None = None) -> None:
        """Keep at most `limit` bytes of the outputs of `model`.

        Args:
            model: A Blip2ForImageTextRetrieval whose tower does not train.
            limit: Bytes; the outputs that were not used for longest go.
            dtype: Arithmetic of the tower (autocast); None: that of its weights.
        """
        self._model, self._dtype = model, dtype
        self._kept: Recent[str] = Recent(limit)
        self.computed = 0
        """Passes of the tower so far."""

    def get(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """Return `before_norm` (patches + 1, width) on the CPU of the picture called `key`.

        `make` returns its pixels (3, side, side); called only when they are needed.
        """
        found = self._kept.get(key)
        if found is None:
            found = self._compute(make())
            self._kept.put(key, found)
        return found

    def _compute(self, picture: Tensor) -> Tensor:
        tower = self._model.vision_model
        trains = tower.training
        device = tower.embeddings.position_embedding.device
        kind = self._dtype or torch.bfloat16
        tower.eval()
        try:
            with torch.no_grad(), torch.autocast(device.type, kind, enabled=bool(self._dtype)):
                out = before_norm(self._model, picture[None].to(device))[0]
        finally:
            tower.train(trains)
        self.computed += 1
        return out.cpu().clone()


def save(
    model: Any,
    processor: Any,
    folder: Path,
    asked: Asked | Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model that `Blip2ForImageTextRetrieval.from_pretrained` loads, and how it is asked.

    The Q-Former and the queries are written in float32 whatever `dtype` is, so that a model loaded
    in float32 has them exactly; loaded as bfloat16 (`auto`), transformers rounds them too.
    """
    exact = tuple(getattr(model, "_keep_in_fp32_modules", None) or ())
    tensors = {
        name: tensor.to(dtype)
        if tensor.is_floating_point() and not name.startswith(exact)
        else tensor
        for name, tensor in model.state_dict().items()
    }
    model._weight_conversions = None  # names do not depend on what the model was loaded from
    model.save_pretrained(folder, state_dict=tensors)
    _state_dtype(folder / "config.json", str(dtype).removeprefix("torch."))
    processor.save_pretrained(folder)
    facts = asdict(asked) if isinstance(asked, Asked) else dict(asked)
    size = model.config.vision_config.image_size
    text = json.dumps({"schema": 1, **facts, "image_size": size}, indent=1)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def _state_dtype(path: Path, dtype: str) -> None:
    """Make a configuration say in which type the weights are; it says that of the live model."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for part in (config, *(one for one in config.values() if isinstance(one, dict))):
        if "dtype" in part:
            part["dtype"] = dtype
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def how_asked(folder: Path) -> Asked:
    """Return how the model in `folder` wants to be asked. Raises DataError without its card."""
    path = folder / CARD
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        known = {name: facts[name] for name in Asked.__dataclass_fields__}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: does not say how regions and texts are made ready for this model "
            f"({type(error).__name__}: {error}); it is written where training ends"
        ) from error
    return Asked(**known)


def _all_seen(image: Tensor) -> Tensor:
    return torch.ones(image.shape[:2], dtype=torch.long, device=image.device)
