"""REACT's customisation as an objective: pairs of picture and caption, drawn together.

Liu (dissertation, chapter 2; arXiv 2301.07094) and microsoft/react. What trains is a mode of table
2.6 (trainers/engine/gated.py); the loss is CLIP's, UniCL's with positives by the similarity of
captions, or SigLIP's. Similarities of captions come from the text tower that the run begins with,
which does not move: one that is trained could draw all captions together into one class. Where the
text tower is locked its features are computed once per caption. May import torch at the top.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from harness.engine.dual import TEXTS, projected
from harness.engine.texts import TextTower
from harness.errors import DataError, UsageError, unknown
from trainers.contrastive import augment, export, pool
from trainers.engine.contrast import contrast, gathered, pairwise, positives
from trainers.engine.gated import DEFAULT, MODES, clamp, customise, gates, trainable
from trainers.engine.objective import BASE, export_dtype
from trainers.recipe import ObjectiveRecipe, Part, check


class Options(Part):
    """What a recipe's `options` may say."""

    mode: str = DEFAULT
    """What trains: a row of table 2.6."""
    gates: int = Field(6, ge=1)
    """Last layers of a tower that get a gated block."""
    resume_gates: bool = False
    """Go on with the gates that lie beside --model; False: new ones, on top of its layers."""
    loss: Literal["clip", "unicl_gamma", "siglip"] = "unicl_gamma"
    gamma: float = Field(0.9, gt=0, le=1)
    """Least similarity of captions that count as the same (unicl_gamma)."""
    bias: float = -10.0
    """Where siglip's bias starts, for a model that has none."""
    train_logit_scale: bool = True
    augment: Literal["none", "react"] = "react"
    """`none`: the checkpoint's own image processor, as when it is scored."""
    cache_texts: bool = True
    """Compute what the unmoved text tower says once per caption, not once per batch."""
    check_pictures: Literal["none", "headers", "decode"] = "headers"
    """What is tried of every picture before the first step."""
    bad_cap: float = Field(0.0, ge=0, lt=1)
    """Share of pairs that may be bad and are left out."""


def make(
    recipe: ObjectiveRecipe, model: Path | None, data: Path, images: Path | None
) -> "Contrastive":
    """Return the objective of `recipe`.

    Raises:
        UsageError: Options that do not exist or fit, no model, or one of another kind.
        DataError: The model or the pairs cannot be read.
    """
    options = check(Options, dict(recipe.options), f"options of {recipe.name}")
    if options.mode not in MODES:
        raise unknown("mode", options.mode, MODES)
    if model is None:
        raise UsageError(f"{recipe.name} customises a CLIP or SigLIP: give it as --model")
    loaded = export.load(str(model))
    if options.resume_gates:
        export.unfold(loaded, model, options.mode, options.gates, options.train_logit_scale)
    pairs = pool.read(data, images, check=options.check_pictures, bad_cap=options.bad_cap)
    return Contrastive(recipe, options, loaded, pairs)


class Contrastive:
    """Two towers and pairs to draw them together by."""

    def __init__(
        self, recipe: ObjectiveRecipe, options: Options, loaded: export.Loaded, pairs: pool.Pool
    ) -> None:
        """Customise the model of `loaded` as `options` say."""
        self.recipe, self.options, self.loaded, self.pool = recipe, options, loaded, pairs
        plain = loaded.model
        self.model: Any = plain
        self.text_moves = options.mode not in ("locked-text", DEFAULT)
        if options.loss == "siglip" and not hasattr(plain, "logit_bias"):
            plain.logit_bias = nn.Parameter(torch.tensor(options.bias))
        self._reference: Any = self._unmoved(plain)
        if not options.resume_gates:
            self.model = customise(plain, options.mode, options.gates, options.train_logit_scale)
        names = trainable(self.model, options.mode, options.train_logit_scale)
        if options.loss != "siglip" and "logit_bias" in names:
            names.remove("logit_bias")  # no other loss reads it
        self.members = dict.fromkeys(names, BASE)
        self._texts = self._tokenizing()
        self._places = {c: i for i, c in enumerate(dict.fromkeys(p.caption for p in pairs.pairs))}
        self._cache: Tensor | None = None

    def _unmoved(self, model: Any) -> Any:
        """Return the text side that positives are taken from, if that of the run moves."""
        if self.options.loss != "unicl_gamma" or not self.text_moves:
            return None
        copy = deepcopy(model)
        copy.vision_model = copy.visual_projection = None
        return copy.requires_grad_(False).eval()

    def _tokenizing(self) -> TextTower:
        """Return the harness's way from texts to tokens, so that training reads as scoring does."""
        config = self.model.config
        return TextTower(
            lambda tokens: torch.empty(0),
            self.loaded.tokenizer,
            config.text_config.max_position_embeddings,
            torch.device("cpu"),
            TEXTS,
            siglip=config.model_type.startswith("siglip"),
        )

    # ---- Data ----

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pool.pairs)

    def ids(self) -> Sequence[str]:
        """Return the pairs' ids."""
        return [pair.id for pair in self.pool.pairs]

    def read(self, place: int, epoch: int) -> dict[str, Any]:
        """Return a pair: pixels [3, side, side] and its caption."""
        pair = self.pool.pairs[place]
        try:
            with Image.open(BytesIO(pair.read())) as file:
                picture = file.convert("RGB")
        except Exception as error:  # Pillow raises of all kinds for broken files
            raise DataError(
                f"the picture of {pair.id} cannot be decoded ({type(error).__name__}: {error}); "
                "take the pair out"
            ) from error
        return {"pixels": self._pixels(picture, epoch, pair.id), "caption": pair.caption}

    def _pixels(self, picture: Image.Image, epoch: int, id: str) -> Tensor:
        processor = self.loaded.image_processor
        if self.options.augment == "none":
            pixels: Tensor = processor(images=picture, return_tensors="pt")["pixel_values"][0]
            return pixels
        draw = augment.generator(self.recipe.seed, epoch, id)
        side = self.model.config.vision_config.image_size
        changed = augment.changed(picture, side, processor.image_mean, processor.image_std, draw)
        return torch.from_numpy(changed)

    def collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return pixels, and tokens or the places of captions whose features are kept."""
        captions = [item["caption"] for item in items]
        batch: dict[str, Any] = {"pixels": torch.stack([item["pixels"] for item in items])}
        if self.text_moves or not self.options.cache_texts:
            batch["tokens"] = self._texts.tokens(captions)
        if self.options.cache_texts:
            batch["captions"] = torch.tensor([self._places[caption] for caption in captions])
        return batch

    # ---- Loss ----

    def features(self, model: Any, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return unit vectors [n, width]: of pictures, of captions, and of captions unmoved."""
        found = {"images": _unit(model.get_image_features(pixel_values=batch["pixels"]))}
        if self.text_moves:
            found["texts"] = _unit(model.get_text_features(**batch["tokens"]))
            if self._reference is not None:
                found["unmoved"] = self._fixed(self._reference, batch)
        else:
            found["texts"] = self._fixed(model, batch)
        return found

    def _fixed(self, model: Any, batch: Mapping[str, Any]) -> Tensor:
        """Return what a text side that does not move says of the captions."""
        device = batch["pixels"].device
        if self.options.cache_texts:
            if self._cache is None:
                self._cache = self._all_texts(model, device)
            return self._cache[batch["captions"].cpu()].to(device)
        model = model.to(device)
        was = model.training
        with torch.no_grad():
            model.text_model.eval()
            found = _unit(model.get_text_features(**batch["tokens"]))
            model.text_model.train(was)
        return found

    def _all_texts(self, model: Any, device: torch.device) -> Tensor:
        """Return unit vectors of all captions, on the CPU, in float32."""
        captions = list(self._places)
        model, was = model.to(device), model.training
        model.text_model.eval()
        rows = []
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            for start in range(0, len(captions), TEXTS):
                tokens = self._texts.tokens(captions[start : start + TEXTS])
                tokens = {name: tensor.to(device) for name, tensor in tokens.items()}
                rows.append(_unit(model.get_text_features(**tokens)).cpu())
        model.text_model.train(was)
        return torch.cat(rows)

    def loss_of(
        self, model: Any, features: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of the whole batch of all processes, computed in float32."""
        images, texts = gathered(features["images"]), gathered(features["texts"])
        with torch.autocast(images.device.type, enabled=False):
            scale = model.logit_scale.float().exp()
            if self.options.loss == "siglip":
                loss = pairwise(images, texts, scale, model.logit_bias.float())
                return loss, {}
            same = None
            if self.options.loss == "unicl_gamma":
                same = positives(gathered(features.get("unmoved", features["texts"])).detach(),
                                 self.options.gamma)  # fmt: skip
            loss = contrast(images, texts, scale, same)
        if same is None:
            return loss, {}
        return loss, {"positives": float(same.sum()) / len(same)}

    def loss(self, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of one batch."""
        return self.loss_of(model, self.features(model, batch))

    def after_step(self) -> None:
        """Keep CLIP's scale between 1 and 100; SigLIP's is free."""
        if self.options.loss != "siglip" and self.options.train_logit_scale:
            clamp(self.model)

    # ---- What is said of it ----

    def watched(self) -> dict[str, float]:
        """Return the scale of similarities, and how far each gate is open."""
        found = {"logit_scale": float(self.model.logit_scale.detach().exp())}
        return found | gates(self.model)

    def pictures(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield every picture's file, to be compared with evaluated ones."""
        for pair in self.pool.pairs:
            yield pair.id, pair.read()

    def describe(self) -> dict[str, Any]:
        """Return what run.json says: the pairs, and how captions are read."""
        cached = self.options.cache_texts and (not self.text_moves or self._reference is not None)
        return {
            "pool": self.pool.describe(),
            "text": {
                key: value for key, value in self._texts.facts().items() if key != "truncated"
            },
            "text_features": "once per caption" if cached else "in every batch",
        }

    def export(self, folder: Path) -> None:
        """Write a plain CLIPModel or SiglipModel with its processor, and the gates beside it."""
        options = self.options
        loaded = export.Loaded(self.model, self.loaded.image_processor, self.loaded.tokenizer)
        export.save(
            loaded, folder, export_dtype(self.recipe), options.mode, options.gates,
            options.train_logit_scale,
        )  # fmt: skip


def _unit(output: Any) -> Tensor:
    return functional.normalize(projected(output), dim=-1)
