"""LLaVA-1.5-HD: a square picture in tiles, their features merged into one map, a global view.

Dissertation, section 4.3 "Scaling to Higher Resolutions" and figure 4.2; no code was released.
The picture is padded to a square and resized to the canvas, cut into tiles of the encoder's own
size, and the tiles' features are put back in their places (raster order of the whole picture),
after those of the picture at the size of one tile. transformers' LLaVA-NeXT does the rest; it
differs in two ways that this file undoes: it cuts padding away and ends each row with a newline.

This file is saved inside checkpoints, which then load without this package
(`trust_remote_code=True`); so it imports transformers, torch and numpy alone.
"""

from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextModel,
    LlavaNextPreTrainedModel,
    LlavaNextProcessor,
)
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)


class LlavaHDConfig(LlavaNextConfig):  # type: ignore[misc]  # transformers is untyped here
    """LLaVA-NeXT's configuration with one square canvas."""

    model_type = "llava_hd"

    global_view: bool = True
    """Whether the picture at the size of one tile precedes the merged map."""


class _WithoutNewline(LlavaNextPreTrainedModel):  # type: ignore[misc]
    config_class = LlavaHDConfig

    def _init_weights(self, module: Any) -> None:
        # LLaVA-NeXT's own draws the newline vector, which is not here.
        super(LlavaNextPreTrainedModel, self)._init_weights(module)


class LlavaHDModel(_WithoutNewline, LlavaNextModel):  # type: ignore[misc]
    """Tower, connector and language model without the head."""

    def __init__(self, config: Any) -> None:
        """Build it without LLaVA-NeXT's newline vector."""
        super().__init__(config)
        del self.image_newline
        self.register_parameter("image_newline", None)

    def pack_image_features(
        self, image_features: Any, image_sizes: Any, *args: Any, **kwargs: Any
    ) -> tuple[list[Any], Any]:
        """Return for each picture its tokens: the global view, then the merged map row by row.

        Args:
            image_features: per picture (1 + tiles, patches, width), the global view first.
            image_sizes: unused; the canvas is the same for all.
            args: unused.
            kwargs: unused.
        """
        tile = self.config.vision_config.image_size
        side = tile // self.config.vision_config.patch_size
        high, wide = (length // tile for length in self.config.image_grid_pinpoints[0])
        packed = []
        for feature in image_features:
            merged = merge_tiles(feature[1:], high, wide, side)
            packed.append(torch.cat((feature[0], merged)) if self.config.global_view else merged)
        lengths = [len(feature) for feature in packed]
        return packed, torch.tensor(lengths, device=image_features[0].device)


class LlavaHDForConditionalGeneration(_WithoutNewline, LlavaNextForConditionalGeneration):  # type: ignore[misc]
    """LLaVA-1.5-HD with its head; the file's docstring says what it computes."""

    def __init__(self, config: Any) -> None:
        """Build it around a `LlavaHDModel`."""
        super().__init__(config)
        self.model = LlavaHDModel(config)
        self.post_init()


class LlavaHDImageProcessor(LlavaNextImageProcessorPil):  # type: ignore[misc]
    """Pads to a square with the mean colour, then proceeds as LLaVA-NeXT does."""

    def _preprocess(self, images: list[Any], *args: Any, **kwargs: Any) -> Any:
        mean = kwargs.get("image_mean") or self.image_mean
        squares = [square(image, [int(value * 255) for value in mean]) for image in images]
        return super()._preprocess(squares, *args, **kwargs)


class LlavaHDProcessor(LlavaNextProcessor):  # type: ignore[misc]
    """Counts tokens as `LlavaHDModel` makes them."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        patch_size: Any = None,
        vision_feature_select_strategy: Any = None,
        chat_template: Any = None,
        image_token: str = "<image>",
        num_additional_image_tokens: int = 0,
        global_view: bool = True,
        **kwargs: Any,
    ) -> None:
        """Take LLaVA-NeXT's arguments and `global_view`, which must equal the model's."""
        self.global_view = global_view
        super().__init__(
            image_processor,
            tokenizer,
            patch_size=patch_size,
            vision_feature_select_strategy=vision_feature_select_strategy,
            chat_template=chat_template,
            image_token=image_token,
            num_additional_image_tokens=num_additional_image_tokens,
            **kwargs,
        )

    def _get_number_of_features(
        self, orig_height: int, orig_width: int, height: int, width: int
    ) -> int:
        high, wide = self.image_processor.image_grid_pinpoints[0]
        merged = (high // self.patch_size) * (wide // self.patch_size)
        base = (height // self.patch_size) * (width // self.patch_size)
        # The caller takes one away for the class token that this number is to include.
        whole: int = merged + (base if self.global_view else 0) + self.num_additional_image_tokens
        return whole


def merge_tiles(tiles: Any, high: int, wide: int, side: int) -> Any:
    """Return the features of `tiles` in raster order of the whole picture.

    Args:
        tiles: (high * wide, side * side, width), tiles and the patches in them in raster order.
        high: Rows of tiles.
        wide: Columns of tiles.
        side: Patches along a tile.

    Returns:
        (high * side * wide * side, width).
    """
    width = tiles.shape[-1]
    grid = tiles.reshape(high, wide, side, side, width)
    return grid.permute(0, 2, 1, 3, 4).reshape(high * side * wide * side, width)


def square(image: Any, colour: list[int]) -> Any:
    """Return `image` (channels, height, width) centred on a square of `colour`."""
    _, height, width = image.shape
    side = max(height, width)
    if height == width:
        return image
    result = np.empty((len(colour), side, side), dtype=image.dtype)
    result[:] = np.asarray(colour, dtype=image.dtype)[:, None, None]
    top, left = (side - height) // 2, (side - width) // 2
    result[:, top : top + height, left : left + width] = image
    return result


def register() -> None:
    """Make the auto classes know these, and the saved directories carry this file."""
    AutoConfig.register("llava_hd", LlavaHDConfig, exist_ok=True)
    AutoModelForImageTextToText.register(
        LlavaHDConfig, LlavaHDForConditionalGeneration, exist_ok=True
    )
    AutoProcessor.register(LlavaHDConfig, LlavaHDProcessor, exist_ok=True)
    AutoImageProcessor.register(
        LlavaHDConfig, slow_image_processor_class=LlavaHDImageProcessor, exist_ok=True
    )
    LlavaHDConfig.register_for_auto_class()
    LlavaHDForConditionalGeneration.register_for_auto_class("AutoModelForImageTextToText")
    LlavaHDImageProcessor.register_for_auto_class("AutoImageProcessor")
    LlavaHDProcessor.register_for_auto_class("AutoProcessor")
