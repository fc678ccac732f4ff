"""BLIP-2 retrieval models: does this text match this image?

Li et al. 2023, arXiv:2301.12597. By default a choice's score is the probability of a match by the
image-text matching head (ITM), as the model's own forward pass gives it; `use_itm=False` scores
with the contrastive features (ITC). The vision tower, nearly all of the work, runs once per image;
the small Q-Former then reads the kept embeddings once per candidate. A model that was trained on
drawn regions can be asked in the same way (`regions=draw`, harness/engine/shown.py). May import
torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from harness.engine.dual import Parts, by_image, encode, identity, moved, rank_by_cosine
from harness.engine.images import Batch, ImageTower, Pixels
from harness.engine.load import Settings
from harness.engine.shown import Shower, rules
from harness.engine.texts import TextTower, ranked, texts_of
from harness.errors import UsageError
from harness.types import Ask, Decoding, Failure, Reply, Sample

IMAGES = 32
"""Images in one pass of the vision tower unless the settings say otherwise."""
PAIRS = 128
"""Pairs of image and text in one pass of the Q-Former unless the settings say otherwise."""

Waiting = tuple[int, torch.Tensor, tuple[str, ...]]


class ImageTextMatcher:
    """A Blip2ForImageTextRetrieval as a model."""

    def __init__(self, address: str, settings: Settings, use_itm: bool = True) -> None:
        """Remember the checkpoint; the first answer loads it.

        Args:
            address: a directory or a hub name, such as Salesforce/blip2-itm-vit-g.
            settings: see `harness.engine.load`.
            use_itm: score with the matching head; False: with the contrastive features.

        Raises:
            DataError: `settings.regions` is draw and the model's regions.json cannot be read.
        """
        self.name = f"transformers:{address}"
        self._address, self._settings, self._use_itm = address, settings, use_itm
        self._matcher: Matcher | None = None
        self._show = Shower(rules(address)) if settings.regions == "draw" else None

    def describe(self) -> Mapping[str, Any]:
        """Return what identifies the model; after the first answer also how it was run."""
        score = {"score": "itm" if self._use_itm else "itc"}
        facts = self._matcher.facts() if self._matcher else {}
        found = identity("blip2", self._address, self._settings) | score | facts
        if self._show is not None:
            found["options"]["regions"] = "draw"
            found["regions"] = self._show.facts()
        return found

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Rank the choices of each sample, or return features; see `harness.types.Model`.

        `rank`: the sample has exactly one image; the text of a choice is `texts_of`. `encode`: the
        mean of the image's normalised contrastive query features, or the contrastive feature of
        the prompt's text where the prompt has no image. Raises UsageError for `generate`.
        """
        if ask == "generate":
            raise UsageError(
                f"{self.name} is an image-text matcher and cannot write text; it ranks choices and "
                "encodes (use a variant of the task that ranks)"
            )
        return self._answer(samples, ask)

    def _answer(self, samples: Sequence[Sample], ask: Ask) -> Iterator[Reply]:
        matcher = self.matcher()
        if self._show is not None and ask == "rank":
            samples = [self._show(sample) for sample in samples]
        if ask == "encode":
            yield from encode(samples, matcher.queries, matcher.texts)
        elif self._use_itm:
            yield from matcher.rank(samples)
        else:
            yield from rank_by_cosine(samples, matcher.queries, matcher.texts, 1.0, 0.0)

    def matcher(self) -> "Matcher":
        """Return the loaded model; see `harness.engine.dual.Parts` for what it raises."""
        if self._matcher is None:
            self._matcher = Matcher(self._address, self._settings)
        return self._matcher


class Matcher:
    """A loaded BLIP-2 retrieval model."""

    def __init__(self, address: str, settings: Settings) -> None:
        """Load the checkpoint."""
        self.parts = Parts("Blip2ForImageTextRetrieval", address, settings)
        self.model = self.parts.model
        images, pairs = settings.batch or IMAGES, settings.batch or PAIRS
        self.texts = TextTower(
            self._text_features,
            self.parts.tokenizer,
            self.model.config.qformer_config.max_position_embeddings,
            self.model.device,
            pairs,
        )
        self.vision = ImageTower(self.parts.pixels, self._embeddings, images, settings.workers)
        self.queries = ImageTower(self.parts.pixels, self._query_features, images, settings.workers)
        self.pairs = Batch(pairs)

    def facts(self) -> dict[str, Any]:
        """Return what the record says about the model and how it was run."""
        batches = (self.vision.batch, self.queries.batch, self.texts.batch, self.pairs)
        return {
            **self.parts.facts(),
            "text": self.texts.facts(),
            "out_of_memory": sum(batch.halved for batch in batches),
            "batch": {"images": self.vision.batch.size, "pairs": self.pairs.size},
        }

    def rank(self, samples: Sequence[Sample]) -> Iterator[Reply]:
        """Answer `rank` with the probability that image and text match."""
        groups, failures = by_image(samples)
        yield from failures
        waiting: list[Waiting] = []
        pairs = 0
        for image, embeddings in self.vision.features(groups):
            for position in groups[image]:
                if isinstance(embeddings, Failure):
                    yield position, embeddings
                    continue
                waiting.append((position, embeddings, texts_of(samples[position])))
                pairs += len(samples[position].choices)
                if pairs >= self.pairs.size:
                    yield from self._matched(waiting)
                    waiting, pairs = [], 0
        yield from self._matched(waiting)

    def _matched(self, waiting: Sequence[Waiting]) -> Iterator[Reply]:
        pairs = [(embeddings, text) for _, embeddings, texts in waiting for text in texts]
        scores = iter([float(row) for row in self.pairs.run(self._match, pairs)])
        for position, _, texts in waiting:
            yield position, ranked([next(scores) for _ in texts])

    def _match(self, pairs: Sequence[tuple[torch.Tensor, str]]) -> torch.Tensor:
        """Return the probability of a match (n,) of n (embeddings, text)."""
        model, tokens = self.model, self.texts.tokens([text for _, text in pairs])
        image = torch.stack([embeddings for embeddings, _ in pairs])
        queries = model.query_tokens.expand(len(pairs), -1, -1)
        seen = torch.ones(queries.shape[:2], dtype=torch.long, device=image.device)
        output = model.qformer(
            query_embeds=model.embeddings(input_ids=tokens["input_ids"], query_embeds=queries),
            query_length=queries.shape[1],
            attention_mask=torch.cat([seen, tokens["attention_mask"]], dim=1),
            encoder_hidden_states=image,
            encoder_attention_mask=_all_seen(image),
        ).last_hidden_state[:, : queries.shape[1]]
        logits = model.itm_head(output.to(model.itm_head.weight.dtype)).mean(dim=1)
        return logits.float().softmax(dim=1)[:, 1].cpu()

    def _embeddings(self, pixels: Pixels) -> torch.Tensor:
        """Return the vision tower's output (n, patches, d), left on the device for the Q-Former."""
        output: torch.Tensor = self.model.vision_model(**moved(pixels, self.model))[0]
        return output

    def _query_features(self, pixels: Pixels) -> torch.Tensor:
        """Return the contrastive features (n, queries, d) of n images, each of length 1."""
        model, image = self.model, self._embeddings(pixels)
        output = model.qformer(
            query_embeds=model.query_tokens.expand(len(image), -1, -1),
            encoder_hidden_states=image,
            encoder_attention_mask=_all_seen(image),
        ).last_hidden_state
        projected = model.vision_projection(output.to(model.vision_projection.weight.dtype))
        return torch.nn.functional.normalize(projected, dim=-1).float().cpu()

    def _text_features(self, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the contrastive features (n, d) of n texts, each of length 1."""
        model = self.model
        output = model.qformer(
            query_embeds=model.embeddings(input_ids=tokens["input_ids"]),
            query_length=0,
            attention_mask=tokens["attention_mask"],
        ).last_hidden_state[:, 0]
        projected = model.text_projection(output.to(model.text_projection.weight.dtype))
        return torch.nn.functional.normalize(projected, dim=-1).float().cpu()


def _all_seen(embeddings: torch.Tensor) -> torch.Tensor:
    return torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
