"""What a dual encoder makes of parts of a picture: of given boxes, and of every place.

A task asks by `facts["dense"]`. "region": the choices are ranked for the sample's one region, by
the box alone (`regions=crop`) or by features pooled from the whole picture (`regions=pool`).
"map": the class of every place, as text (harness/classmap.py).

Features of places are MaskCLIP's (Zhou et al. 2022, arXiv 2112.01071, section 3.2): in the last
attention of the image tower each token keeps its own value instead of a mixture, and goes through
what follows as the class token does. SigLIP's last attention is its pooling head. May import torch.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from io import BytesIO
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import torch

from harness import classmap
from harness.engine.images import ImageTower, Pixels
from harness.engine.inputs import open_image
from harness.engine.load import Settings
from harness.engine.texts import Ensembles, unit
from harness.errors import DataError, UsageError
from harness.types import Answer, Failure, Image, Reply, Sample

if TYPE_CHECKING:
    from harness.engine.dual import Towers

SIDE = 512
"""Pixels of the shorter side of what the dense tower sees unless the settings say otherwise; as
in MaskCLIP's configuration for COCO-Stuff."""
LONGEST = 4
"""The longer side is at most so many times the shorter one; more is squeezed, as there."""
CELL = 4
"""Pixels of the picture that a place of a class map is wide and high."""
BINS = 14
"""Points in each direction at which a region is read: seven bins of two, as RoIAlign has them."""


def asked(samples: Sequence[Sample]) -> bool:
    """Whether any sample is about parts of its picture."""
    return any("dense" in sample.facts for sample in samples)


def answers(samples: Sequence[Sample], towers: "Towers", settings: Settings) -> Iterator[Reply]:
    """Answer samples with `facts["dense"]`, all of one kind.

    Raises UsageError where the model has no features of places and they are needed.
    """
    from harness.engine.dual import rank_by_cosine

    if samples[0].facts["dense"] == "map":
        yield from _maps(samples, towers, DenseTower(towers, settings))
    elif settings.regions == "pool":
        yield from _pooled(samples, towers, DenseTower(towers, settings))
    else:
        side = getattr(towers.model.config.vision_config, "image_size", None)
        cut = [cropped(sample, side if isinstance(side, int) else 0) for sample in samples]
        yield from rank_by_cosine(cut, towers.images, towers.texts, towers.scale, towers.bias)


def cropped(sample: Sample, side: int) -> Sample:
    """Return the sample with its region as its only picture.

    The box grows to whole pixels and is stretched to `side` x `side`, so that the processor cuts
    nothing off; 0 leaves it as it is.
    """
    image = next(part for part in sample.prompt if isinstance(part, Image))
    box = sample.regions[0].box
    source = partial(_cut, image, box, side)
    return replace(sample, prompt=(Image(f"{image.name} {box}", source),))


def class_map(features: torch.Tensor, rows: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return the best class (h, w) of each CELL x CELL pixels of a picture.

    Args:
        features: (d, a, b) of the places of the picture.
        rows: (classes, d) unit vectors of the classes.
        size: height and width of the picture. Cosines are interpolated linearly between places.
    """
    cosines = torch.einsum("dab,cd->cab", unit(features.permute(1, 2, 0)).permute(2, 0, 1), rows)
    cells = (max(1, round(size[0] / CELL)), max(1, round(size[1] / CELL)))
    grown = torch.nn.functional.interpolate(
        cosines[None], size=cells, mode="bilinear", align_corners=False
    )
    return grown[0].argmax(dim=0)


def pooled(
    features: torch.Tensor, box: tuple[float, float, float, float], size: tuple[float, float]
) -> torch.Tensor:
    """Return the mean feature (d) of a box: of BINS x BINS points, read between places.

    Args:
        features: (d, a, b) of the places of the picture.
        box: left, top, right, bottom in pixels of the picture.
        size: height and width of the picture.
    """
    left, top, right, bottom = box
    steps = (torch.arange(BINS) + 0.5) / BINS
    x = 2 * (left + (right - left) * steps) / size[1] - 1
    y = 2 * (top + (bottom - top) * steps) / size[0] - 1
    points = torch.stack([x.expand(BINS, BINS), y[:, None].expand(BINS, BINS)], dim=-1)
    read = torch.nn.functional.grid_sample(
        features[None], points[None], padding_mode="border", align_corners=False
    )
    return read[0].mean(dim=(1, 2))


class DenseTower:
    """The image tower of a dual encoder, for features of places instead of the whole picture."""

    def __init__(self, towers: "Towers", settings: Settings) -> None:
        """Raise UsageError where the architecture is not one that can be read so."""
        self._model = towers.model
        self._processor = towers.parts.image_processor
        vision = getattr(towers.model, "vision_model", None)
        self._project = self._of(towers.model, vision)
        if self._project is None:
            raise UsageError(
                f"{towers.parts.address}: a {type(towers.model).__name__} has no dense features "
                "that this engine can read (a CLIP or SigLIP with square patches has); "
                "regions=crop needs none"
            )
        self._patch = int(towers.model.config.vision_config.patch_size)
        self._side = settings.dense_side or SIDE
        self.images = ImageTower(self._pixels, self._features, 1, settings.workers)

    def _of(self, model: Any, vision: Any) -> Any:
        """Return the function from pixels to tokens (n, places, d) that fits the architecture."""
        if vision is None or "interpolate_pos_encoding" not in _arguments(vision.forward):
            return None
        if isinstance(getattr(getattr(vision, "head", None), "attention", None), _Attention):
            return self._siglip
        layers = getattr(getattr(vision, "encoder", None), "layers", None) or [None]
        parts = ("self_attn", "layer_norm1", "layer_norm2", "mlp")
        plain = all(hasattr(layers[-1], part) for part in parts)
        if plain and hasattr(vision, "post_layernorm") and hasattr(model, "visual_projection"):
            return self._clip
        return None

    def _pixels(self, picture: Any) -> Pixels:
        """Resize a picture to whole patches; its shape stays, but for rounding."""
        from PIL import Image as Pictures

        short = min(picture.size)
        scale = min(self._side / short, LONGEST * self._side / max(picture.size))
        width, height = (max(1, round(n * scale / self._patch)) * self._patch for n in picture.size)
        resized = picture.resize((width, height), Pictures.Resampling.BICUBIC)
        options: dict[str, Any] = {"do_resize": False}
        if hasattr(self._processor, "do_center_crop"):
            options["do_center_crop"] = False
        return dict(self._processor(images=resized, return_tensors="pt", **options))

    def _features(self, pixels: Pixels) -> torch.Tensor:
        """Return features (n, d, a, b) of pictures of one size."""
        from harness.engine.dual import moved

        assert self._project is not None
        height, width = pixels["pixel_values"].shape[-2:]
        tokens = self._project(moved(pixels, self._model)["pixel_values"])
        rows = tokens.float().unflatten(1, (height // self._patch, width // self._patch))
        return rows.permute(0, 3, 1, 2).cpu()

    def _clip(self, pixels: torch.Tensor) -> torch.Tensor:
        vision = self._model.vision_model
        last = vision.encoder.layers[-1]
        seen: list[torch.Tensor] = []
        hook = last.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]),
            with_kwargs=True,
        )
        try:
            vision(pixel_values=pixels, interpolate_pos_encoding=True)
        finally:
            hook.remove()
        hidden = seen[0]
        value = last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(hidden)))
        value = hidden + value
        value = value + last.mlp(last.layer_norm2(value))
        tokens: torch.Tensor = self._model.visual_projection(vision.post_layernorm(value[:, 1:]))
        return tokens

    def _siglip(self, pixels: torch.Tensor) -> torch.Tensor:
        vision = self._model.vision_model
        head = vision.head
        hidden = vision(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
        width = hidden.shape[-1]
        weight, bias = head.attention.in_proj_weight, head.attention.in_proj_bias
        value = torch.nn.functional.linear(hidden, weight[2 * width :], bias[2 * width :])
        value = head.attention.out_proj(value)
        tokens: torch.Tensor = value + head.mlp(head.layernorm(value))
        return tokens


_Attention = torch.nn.MultiheadAttention


def _arguments(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def _pooled(samples: Sequence[Sample], towers: "Towers", tower: DenseTower) -> Iterator[Reply]:
    from harness.engine.dual import by_image

    groups, failures = by_image(samples)
    yield from failures
    ensembles = Ensembles(towers.texts)
    for image, features in tower.images.features(groups):
        for position in groups[image]:
            if isinstance(features, Failure):
                yield position, features
                continue
            sample = samples[position]
            vector = pooled(features, sample.regions[0].box, sample.facts["size"])
            yield position, ensembles.ranked(sample, vector, towers.scale, towers.bias)


def _maps(samples: Sequence[Sample], towers: "Towers", tower: DenseTower) -> Iterator[Reply]:
    ensembles = Ensembles(towers.texts)
    places: dict[Image, list[int]] = {}
    for position, sample in enumerate(samples):
        image = next(part for part in sample.prompt if isinstance(part, Image))
        places.setdefault(image, []).append(position)
    for image, features in tower.images.features(places):
        for position in places[image]:
            yield position, _map(samples[position], features, ensembles)


def _map(
    sample: Sample, features: "torch.Tensor | Failure", ensembles: Ensembles
) -> Answer | Failure:
    if isinstance(features, Failure):
        return features
    if not features.isfinite().all():
        return Failure("the model gave a feature that is not a finite number; try dtype=float32")
    classes = tuple(sample.facts["classes"])
    rows = ensembles.vectors(sample.facts["prompts"], classes)
    found = class_map(features, rows, sample.facts["size"])
    return Answer(classmap.written(found.numpy(), len(classes)))


@lru_cache(maxsize=4)
def _opened(image: Image) -> Any:
    """Decode a picture once for the regions that follow each other on it."""
    return open_image(image)


def _cut(image: Image, box: tuple[float, float, float, float], side: int) -> bytes:
    """Return a region as the bytes of a picture. Raises DataError where it lies outside."""
    from PIL import Image as Pictures

    picture = _opened(image)
    left, top = max(0, floor(box[0])), max(0, floor(box[1]))
    right, bottom = min(picture.width, ceil(box[2])), min(picture.height, ceil(box[3]))
    right, bottom = (
        max(right, min(left + 1, picture.width)),
        max(bottom, min(top + 1, picture.height)),
    )
    if left >= right or top >= bottom:
        raise DataError(
            f"image {image.name}: the region {box} lies outside its {picture.width} x "
            f"{picture.height} pixels"
        )
    region = picture.crop((left, top, right, bottom))
    if side:
        region = region.resize((side, side), Pictures.Resampling.BICUBIC)
    out = BytesIO()
    region.save(out, "PPM")
    return out.getvalue()
