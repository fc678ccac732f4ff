"""Videos for LLaVA checkpoints: frames pooled over space and over time, as Video-ChatGPT does.

Maaz et al. 2023 (arXiv 2306.05424), which LocVLM follows (Ranasinghe et al. 2024, section 3.5):
every frame goes through the vision tower alone; the mean over a frame's patches gives one token
per moment, zeros fill these up to a fixed count, the mean over the frames gives one token per
patch, and both, moments first, go through the connector. The checkpoint stays an ordinary LLaVA:
only its `get_image_features` is another one while it is used so. Shared by the engine (option
`video_pool`) and by training (trainers/engine/video.py). May import torch; transformers inside.
"""

from collections.abc import Sequence
from typing import Any

import torch

from harness.engine.inputs import Reader
from harness.errors import DataError, UsageError
from harness.types import Image, Prompt

FRAMES = 100
"""Most frames of a video, and how many tokens stand for moments."""


def pick(count: int, most: int = FRAMES) -> list[int]:
    """Return which of `count` frames are shown: all, or the middles of `most` equal segments.

    The middles are those of Video-ChatGPT's `get_seq_frames`; with fewer frames than segments it
    shows some twice and others never, which is not followed.
    """
    if count <= most:
        return list(range(count))
    edges = [round((count - 1) / most * i) for i in range(most + 1)]
    return [(edges[i] + edges[i + 1]) // 2 for i in range(most)]


def pool(features: torch.Tensor, moments: int) -> torch.Tensor:
    """Return [moments + patches, width] of a video's `features` [frames, patches, width].

    Raises ValueError where there are more frames than room for moments.
    """
    if len(features) > moments:
        raise ValueError(f"{len(features)} frames do not fit into {moments} tokens for moments")
    times = features.new_zeros(moments, features.shape[2])
    times[: len(features)] = features.mean(1)
    return torch.cat([times, features.mean(0)])


def stack(frames: torch.Tensor, moments: int) -> dict[str, torch.Tensor]:
    """Return the tensors of one video of `frames` [frames, 3, height, width].

    They join along their first axis with those of others; `moments` 0 marks a still picture. Both
    counts travel in `image_sizes`, which LLaVA hands to `get_image_features` unread.
    """
    sizes = torch.tensor([[len(frames), moments]], dtype=torch.long)
    return {"pixel_values": frames[None], "image_sizes": sizes}


def watch(model: Any) -> None:
    """Let a LLaVA `model` read what `stack` makes, beside ordinary pictures. Changes no weights.

    Raises UsageError for other architectures.
    """
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    config = model.config
    if config.model_type != "llava" or not isinstance(config.vision_feature_layer, int):
        raise UsageError(
            f"videos are pooled for LLaVA with one feature layer, and this is a "
            f"{config.model_type} of layer {config.vision_feature_layer}"
        )
    inner = model.model
    plain = inner.get_image_features

    def get_image_features(
        pixel_values: torch.Tensor, image_sizes: torch.Tensor | None = None, **options: Any
    ) -> Any:
        if pixel_values.ndim != 5:
            return plain(pixel_values=pixel_values, image_sizes=image_sizes, **options)
        if image_sizes is None:
            raise ValueError("frames without image_sizes: their counts are not known")
        counts = [(int(frames), int(moments)) for frames, moments in image_sizes]
        shown = [line[:frames] for line, (frames, _) in zip(pixel_values, counts, strict=True)]
        features = _features(inner, torch.cat(shown)).split([frames for frames, _ in counts])
        tokens = [
            pool(one, moments) if moments else one.flatten(0, 1)
            for one, (_, moments) in zip(features, counts, strict=True)
        ]
        projected = inner.multi_modal_projector(torch.cat(tokens))
        return BaseModelOutputWithPooling(pooler_output=projected.split([len(t) for t in tokens]))

    inner.get_image_features = get_image_features


def _features(inner: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Return what the connector is shown of each picture, [pictures, patches, width]."""
    config = inner.config
    shown = inner.vision_tower(pixels, output_hidden_states=True, return_dict=True)
    features: torch.Tensor = shown.hidden_states[config.vision_feature_layer]
    return features[:, 1:] if config.vision_feature_select_strategy == "default" else features


class VideoReader(Reader):
    """Reads all pictures of a prompt as the frames of one video, where the first of them stands."""

    def __init__(
        self, processor: Any, image_token: int | None, chat: bool | str, system: str | None,
        moments: int, most: int = 0,
    ) -> None:  # fmt: skip
        """Take LLaVA's processor, else UsageError; show `most` frames, 0: as many as `moments`."""
        super().__init__(processor, image_token, chat, system)
        if type(processor).__name__ != "LlavaProcessor":
            raise UsageError(
                f"video_pool pools frames for LLaVA's processor, not {type(processor).__name__}"
            )
        self.moments, self.most = moments, most or moments

    def describe(self) -> dict[str, Any]:
        """Return how prompts are made, for the record."""
        told = f"all pictures of a prompt pooled: {self.moments} tokens for moments, then patches"
        return {**super().describe(), "video": f"{told}; at most {self.most} frames"}

    def text(self, prompt: Prompt, system: str = "") -> str:
        """Return the text of `prompt` with one mark for all of its pictures."""
        first = next((i for i, part in enumerate(prompt) if isinstance(part, Image)), 0)
        kept = [p for i, p in enumerate(prompt) if i == first or not isinstance(p, Image)]
        return super().text(tuple(kept), system)

    def _encode(
        self, processor: Any, text: str, pictures: Sequence[Any]
    ) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]], dict[str, torch.Tensor]]:
        if not pictures:
            return super()._encode(processor, text, pictures)
        chosen = [pictures[i] for i in pick(len(pictures), self.most)]
        made = processor.image_processor(images=chosen, return_tensors="pt")["pixel_values"]
        frames = torch.as_tensor(made)
        patches = processor._get_num_multimodal_tokens(image_sizes=[list(frames.shape[-2:])])
        count = int(patches["num_image_tokens"][0]) + self.moments
        mark = processor.image_token
        if text.count(mark) != 1:
            raise DataError(f"the words of the prompt hold the image token {mark}")
        bos = self.tokenizer.bos_token
        written = bool(self.chat and bos and text.startswith(bos))
        whole = text.replace(mark, mark * count)
        ids = processor.tokenizer([whole], add_special_tokens=not written)["input_ids"][0]
        return tuple(ids), {}, stack(frames, self.moments)
