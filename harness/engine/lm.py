"""A loaded decoder-only model with what every way of running it needs to know about it.

May import torch.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from harness.engine.plan import Path, Vision


class LM:
    """A model in evaluation mode, its special tokens, and how its inputs are put together."""

    def __init__(self, model: Any, tokenizer: Any, image_token: int | None = None) -> None:
        """Wrap `model` (on its device, in its dtype) and `tokenizer`."""
        self.model, self.tokenizer, self.image_token = model, tokenizer, image_token
        self.device = torch.device(model.device)
        self.dtype = model.dtype
        fast = self.device.type != "cpu"
        self.align = 8 if fast else 1
        """Widths are multiples of this: attention kernels want mask rows of whole 16 bytes."""
        self.stretch = 8 if fast else 1
        """Decode steps between two looks at which branches have ended: each look waits for the
        device."""
        self._parameters = inspect.signature(model.forward).parameters
        self.eos = frozenset(_eos(model, tokenizer))
        self.pad = self._pad()
        text = model.config.get_text_config()
        self.window = _window(text)
        self.longest: int | None = getattr(text, "max_position_embeddings", None)

    def _pad(self) -> int:
        """Return a token for padding; never read, but it must not count as an image."""
        known = [self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, *sorted(self.eos), 0, 1]
        return next(int(t) for t in known if t is not None and t != self.image_token)

    def takes(self, name: str) -> bool:
        """Return whether the model's forward pass has this parameter."""
        return name in self._parameters

    def keep(self, count: int) -> dict[str, int]:
        """Return the argument that asks for the logits of the last `count` tokens only."""
        return {"logits_to_keep": count} if self.takes("logits_to_keep") else {}

    def put(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return `tensor` on the model's device."""
        return tensor.to(self.device, non_blocking=True)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of generated tokens, special ones left out."""
        return str(
            self.tokenizer.decode(
                tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def additive(self, mask: torch.Tensor) -> torch.Tensor:
        """Return a boolean (rows, queries, keys) mask as (rows, 1, queries, keys) to be added."""
        out = torch.zeros(mask.shape, dtype=self.dtype, device=mask.device)
        return out.masked_fill_(~mask, torch.finfo(self.dtype).min)[:, None]

    def squeeze(self, positions: torch.Tensor) -> torch.Tensor:
        """Return (axes, rows, tokens) positions as the model takes them: one axis has no name."""
        return positions[0] if positions.shape[0] == 1 else positions

    def positions(self, path: Path, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions (axes, count) of the first tokens of `path`, and the next one's (axes).

        The model's own rule is asked: image tokens of some families (Qwen2-VL and its heirs) have
        a position in time, height and width, and the text goes on behind the largest of them.
        """
        ids = torch.tensor([path.tokens[: count + 1]])
        rule = getattr(self.model, "_prepare_position_ids_for_generation", None)
        if rule is None:
            found = torch.arange(count + 1)[None]
        else:
            tensors = path.vision.tensors if path.vision else {}
            grids = {k: v for k, v in tensors.items() if not v.is_floating_point()}
            types = {k: torch.tensor([v[: count + 1]]) for k, v in path.extras.items()}
            found = rule(ids, {"attention_mask": torch.ones_like(ids), **types, **grids})
        found = found.reshape(-1, count + 1)
        # Four axes: the first is the plain text position, which a tree mask makes unnecessary.
        found = found[1:] if len(found) == 4 else found
        return found[:, :count], found[:, count]

    def merge(self, visions: Sequence[Vision | None]) -> dict[str, torch.Tensor]:
        """Join the image tensors of several rows on the device, in the order of the rows.

        Along the first axis they are concatenated; along the others (number of tiles, height,
        width) the smaller ones are filled with zeros, as the processors do for a batch.
        """
        parts = [vision.tensors for vision in visions if vision is not None]
        return {key: self._join([part[key] for part in parts]) for key in (parts or [{}])[0]}

    def _join(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        shape = [max(sizes) for sizes in zip(*(t.shape[1:] for t in tensors), strict=True)]
        if any(list(t.shape[1:]) != shape for t in tensors):
            filled = [t.new_zeros(t.shape[0], *shape) for t in tensors]
            for new, old in zip(filled, tensors, strict=True):
                new[tuple(slice(n) for n in old.shape)] = old
            tensors = filled
        joined = torch.cat(tensors)
        there = self.put(joined)
        return there.to(self.dtype) if there.is_floating_point() else there

    def inputs(
        self,
        paths: Sequence[Path],
        left: bool = False,
    ) -> dict[str, torch.Tensor]:
        """Return the model's inputs for `paths`, padded to one length.

        For one path these are the processor's own tensors.
        """
        lines = [path.tokens for path in paths]
        width = max(map(len, lines))

        def fill(values: Sequence[Sequence[int]], pad: int) -> torch.Tensor:
            rest = [[pad] * (width - len(v)) for v in values]
            both = zip(values, rest, strict=True)
            full = [[*r, *v] if left else [*v, *r] for v, r in both]
            return torch.tensor(full, dtype=torch.long, device=self.device)

        extras = {
            key: fill([path.extras[key] for path in paths], 0)
            for key in paths[0].extras
            if self.takes(key)
        }
        return {
            "input_ids": fill(lines, self.pad),
            "attention_mask": fill([[1] * len(line) for line in lines], 0),
            **extras,
            **self.merge([path.vision for path in paths]),
        }


def _eos(model: Any, tokenizer: Any) -> set[int]:
    """Collect every end token that the checkpoint names."""
    found: set[int] = set()
    for owner in (model.generation_config, tokenizer):
        ids = getattr(owner, "eos_token_id", None)
        found.update([ids] if isinstance(ids, int) else ids or [])
    return found


def _window(config: Any) -> int | None:
    """Return the attention window of the narrowest layer; None: every layer sees everything."""
    kinds: Sequence[str] = getattr(config, "layer_types", None) or ()
    if kinds and all(kind == "full_attention" for kind in kinds):
        return None
    sizes = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    used = getattr(config, "use_sliding_window", True)
    return min((size for size in sizes if size and used), default=None)


def clean_generation(model: Any, tokenizer: Any) -> Mapping[str, Any]:
    """Make the model's generation settings plain, and return those that were put aside.

    A task states how answers are decoded, so a checkpoint's own sampling settings, repetition
    penalties and the like have no say; only its special tokens are kept.
    """
    from transformers import GenerationConfig

    ids = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    old = model.generation_config.to_diff_dict()
    kept = {name: getattr(model.generation_config, name, None) for name in ids}
    if kept["pad_token_id"] is None:
        kept["pad_token_id"] = tokenizer.pad_token_id
    if kept["eos_token_id"] is None:
        kept["eos_token_id"] = tokenizer.eos_token_id
    model.generation_config = GenerationConfig(**kept)
    silent = {*ids, "transformers_version", "_from_model_config", "use_cache"}
    return {
        name: value
        for name, value in sorted(old.items())
        if name not in silent and not name.startswith(("output_", "return_", "cache_"))
    }
