"""Samples to tensors: padded rows, or one packed row without any padding.

Padding is on the right. A packed micro-batch is one row: positions begin anew with each sample,
and the boundaries travel as `cu_seq_lens_q`, which flash attention and our `packed` attention
read, while others make the block-diagonal mask of the positions. A batch without any picture gets
a black one behind its last text: nothing attends to it, so every gradient it gives is exactly
zero, yet all devices take part in the projector's backward pass (without it, data parallel runs
hang or stop). May import torch and numpy at the top.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.errors import DataError
from trainers.engine.images import Pixels, join
from trainers.engine.records import BadRecord
from trainers.engine.sampler import Row
from trainers.engine.samples import IGNORED, Dataset, Index, Sample


@dataclass(frozen=True, slots=True)
class Loaded:
    """A sample with its pictures, or why it is empty."""

    sample: Sample
    pixels: list[Pixels]
    error: str = ""
    live: bool = True


class Rows:
    """What the DataLoader reads: rows of samples with their pictures."""

    def __init__(self, dataset: Dataset, index: Index) -> None:
        """Read positions of `index` from `dataset`."""
        self.dataset, self.index = dataset, index

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return len(self.index.kept)

    def __getitem__(self, row: Row) -> list[Loaded]:
        """Return the samples of a row."""
        return [self._load(*entry) for entry in row]

    def _load(self, epoch: int, position: int, live: bool) -> Loaded:
        at = int(self.index.kept[position])
        sample = self.dataset.get(at, epoch)
        try:
            pixels, error = self.dataset.pixels(sample), ""
        except BadRecord as problem:
            error = f"{self.dataset.records.name(at)}: {problem}"
            if self.dataset.encoder.recipe.on_bad == "refuse":
                raise DataError(
                    f"{error}. Mend it, or leave such records out with `on_bad: skip`"
                ) from problem
            pixels = []
        if error or not live:  # the words stay, so that every device has something to do
            words = sample.tokens[sample.tokens != self.dataset.encoder.image_token]
            sample = Sample(sample.id, words, np.full(len(words), IGNORED, dtype=np.int64))
            return Loaded(sample, [], error, live)
        return Loaded(sample, pixels)


class Collator:
    """Makes a batch of rows."""

    def __init__(
        self,
        image_token: int,
        pad_token: int,
        packing: bool,
        blank: Callable[[], tuple[Pixels, int]] | None,
    ) -> None:
        """Take `blank` where parts of the model that only pictures reach are trained."""
        self.image_token, self.pad_token, self.packing = image_token, pad_token, packing
        self._blank = blank
        self._stand_in: tuple[Pixels, int] | None = None

    def __call__(self, rows: Sequence[Sequence[Loaded]]) -> dict[str, Any]:
        """Return the tensors of the model's forward pass, `labels`, and counts under `facts`."""
        found = [one for row in rows for one in row]
        tokens = [one.sample.tokens for one in found]
        labels = [_without_first(one.sample.labels) for one in found]
        pixels = [picture for one in found for picture in one.pixels]
        facts = {
            "samples": sum(one.live for one in found),
            "tokens": sum(len(one) for one in tokens),
            "squares": sum(len(one) ** 2 for one in tokens),
            "targets": sum(int((one != IGNORED).sum()) for one in labels),
            "pictures": sum(_tiles(one) for one in pixels),
            "dropped": [one.error for one in found if one.error],
        }
        if not pixels and self._blank is not None:
            self._stand_in = self._stand_in or self._blank()
            picture, count = self._stand_in
            pixels = [picture]
            at = min(range(len(tokens)), key=lambda i: len(tokens[i]))
            if self.packing:
                at = len(tokens) - 1
            tokens[at] = np.concatenate([tokens[at], np.full(count, self.image_token)])
            labels[at] = np.concatenate([labels[at], np.full(count, IGNORED)])
        make = _packed if self.packing else self._padded
        return {**make(tokens, labels), **join(pixels), "facts": facts}

    def _padded(self, tokens: Sequence[Any], labels: Sequence[Any]) -> dict[str, Any]:
        longest = max(len(one) for one in tokens)
        shape = (len(tokens), longest)
        ids, marks = torch.full(shape, self.pad_token), torch.full(shape, IGNORED)
        mask = torch.zeros(shape, dtype=torch.long)
        for i, (one, mark) in enumerate(zip(tokens, labels, strict=True)):
            ids[i, : len(one)] = torch.from_numpy(one)
            marks[i, : len(one)] = torch.from_numpy(mark)
            mask[i, : len(one)] = 1
        return {"input_ids": ids, "labels": marks, "attention_mask": mask}


def _packed(tokens: Sequence[Any], labels: Sequence[Any]) -> dict[str, Any]:
    lengths = [len(one) for one in tokens]
    edges = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
    return {
        "input_ids": torch.from_numpy(np.concatenate(tokens))[None],
        "labels": torch.from_numpy(np.concatenate(labels))[None],
        "position_ids": torch.cat([torch.arange(n) for n in lengths])[None],
        "cu_seq_lens_q": edges,
        "cu_seq_lens_k": edges,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }


def _without_first(labels: Any) -> Any:
    """Return labels whose first is no target: in a packed row it would follow another sample."""
    out = labels.copy()
    out[:1] = IGNORED
    return out


def _tiles(pixels: Pixels) -> int:
    found = pixels["pixel_values"]
    return found.shape[1] if found.ndim == 5 else 1
