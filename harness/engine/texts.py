"""The text side of the image-text scorers: which text is scored, how it is cut, encoded once.

A choice is one text, or the mean of several where a task gives prompts (`Ensembles`).

May import torch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from harness.engine.images import Batch, Recent
from harness.types import Answer, Failure, Image, Sample

Forward = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
Prompts = Mapping[str, Sequence[str]]
"""The prompts of each choice."""


class TextTower:
    """The text side of a scorer: texts in, one feature vector each."""

    def __init__(
        self,
        forward: Forward,
        tokenizer: Any,
        limit: int,
        device: torch.device,
        batch: int,
        siglip: bool = False,
    ) -> None:
        """Encode texts of at most `limit` tokens, or fewer if the tokenizer knows a lower limit.

        Args:
            forward: makes features (n, d) of n tokenized texts.
            tokenizer: of the checkpoint.
            limit: rows of the model's position table.
            device: where the model is.
            batch: texts per forward pass.
            siglip: lower-case the text and pad it to the limit. SigLIP models were trained so, and
                the published SigLIP 2 files name a tokenizer that does neither by itself.
        """
        self.batch = Batch(batch)
        self.kept: Recent[str] = Recent()
        self._forward, self._tokenizer, self._device = forward, tokenizer, device
        self._limit = min(limit, tokenizer.model_max_length)
        self._siglip = siglip
        self._cut: set[int] = set()

    def facts(self) -> dict[str, Any]:
        """Return how texts are tokenized and how many distinct ones were cut so far."""
        return {
            "tokenizer": type(self._tokenizer).__name__,
            "max_tokens": self._limit,
            "padding": "max_length" if self._siglip else "longest",
            "lower": self._siglip,
            "truncated": len(self._cut),
        }

    def features(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the features (n, d) of n distinct texts; those still kept are not redone."""
        rows = {text: self.kept.get(text) for text in texts}
        fresh = [text for text, row in rows.items() if row is None]
        for text, row in zip(fresh, self.batch.run(self.encode, fresh), strict=True):
            rows[text] = row
            self.kept.put(text, row)
        return torch.stack([row for row in rows.values() if row is not None])

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the features of `texts`, encoded in one pass."""
        return self._forward(self.tokens(texts))

    def tokens(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the model's inputs for `texts` on its device; texts over the limit are cut."""
        texts = [text.lower() for text in texts] if self._siglip else list(texts)
        lengths = map(len, self._tokenizer(texts, verbose=False)["input_ids"])
        self._cut.update(hash(t) for t, n in zip(texts, lengths, strict=True) if n > self._limit)
        inputs = self._tokenizer(
            texts,
            padding="max_length" if self._siglip else True,
            truncation=True,
            max_length=self._limit,
            return_tensors="pt",
        )
        return {key: value.to(self._device) for key, value in inputs.items()}


def only_image(sample: Sample) -> Image | Failure:
    """Return the one image of a sample's prompt, or why it has not exactly one."""
    images = [part for part in sample.prompt if isinstance(part, Image)]
    if len(images) == 1:
        return images[0]
    return Failure(f"the prompt has {len(images)} images; this model scores texts for one image")


def texts_of(sample: Sample) -> tuple[str, ...]:
    """Return what the text side reads for each choice: the prompt's text, if any, then the choice.

    Text parts and choice are joined by single spaces; parts without a visible character are left
    out. A task that wants bare captions scored has no text in its prompt.
    """
    words = [part.strip() for part in sample.prompt if isinstance(part, str) and part.strip()]
    return tuple(" ".join([*words, choice]) for choice in sample.choices)


def ranked(scores: Sequence[float]) -> Answer | Failure:
    """Make the answer of one score per choice; the first of equal ones is taken."""
    if not all(math.isfinite(score) for score in scores):
        return Failure("the model gave a score that is not a finite number; try dtype=float32")
    best = max(range(len(scores)), key=scores.__getitem__)
    return Answer(scores=tuple(scores), choice=best)


def unit(features: torch.Tensor) -> torch.Tensor:
    """Return the rows scaled to length 1."""
    return features / features.norm(dim=-1, keepdim=True)


def scored(
    features: torch.Tensor, rows: torch.Tensor, scale: float, bias: float
) -> Answer | Failure:
    """Score the texts whose unit vectors are `rows` (n, d) for an image with `features`."""
    cosines = torch.nn.functional.linear(unit(features), rows)
    cosines = cosines.max(dim=0).values if cosines.dim() > 1 else cosines
    return ranked((cosines * scale + bias).tolist())


class Ensembles:
    """Choices that stand for several prompts each, as CLIP's zero-shot classifiers do.

    A sample with `facts["prompts"]`, a mapping from each choice to its prompts, has the choice's
    vector made of them: each prompt's features scaled to length 1, their mean, that again scaled to
    length 1 (Radford et al. 2021, section 3.1.4). `facts["scale"]`, where it is given, takes the
    place of the model's own scale and bias. All samples of one data set share the mapping, so its
    vectors are made once.
    """

    def __init__(self, texts: TextTower) -> None:
        """Make vectors with the text tower `texts`."""
        self._texts = texts
        self._made: dict[tuple[int, tuple[str, ...]], tuple[Prompts, torch.Tensor]] = {}

    def ranked(
        self, sample: Sample, features: torch.Tensor, scale: float, bias: float
    ) -> Answer | Failure:
        """Score the choices of `sample` for an image with `features` (d) or (queries, d)."""
        prompts: Prompts = sample.facts["prompts"]
        if missing := next((c for c in sample.choices if not prompts.get(c)), None):
            return Failure(f"the task gives no prompt for the choice {missing!r}")
        if "scale" in sample.facts:
            scale, bias = sample.facts["scale"], 0.0
        return scored(features, self.vectors(prompts, sample.choices), scale, bias)

    def vectors(self, prompts: Prompts, choices: tuple[str, ...]) -> torch.Tensor:
        """Return one row (d) per choice. The mapping is kept, so that its id stays its own."""
        key = id(prompts), choices
        if key not in self._made:
            every = [text for choice in choices for text in prompts[choice]]
            rows = iter(self._texts.batch.run(self._texts.encode, every))
            means = [
                unit(torch.stack([next(rows) for _ in prompts[choice]])).mean(dim=0)
                for choice in choices
            ]
            self._made[key] = prompts, unit(torch.stack(means))
        return self._made[key][1]
