"""BLIP-2 with an encoder-decoder language model (FlanT5): it writes, and ranks by likelihood.

Li et al. 2023, arXiv:2301.12597. The encoder reads the picture's queries and then the text of the
prompt, as `Blip2Processor` puts them together; the decoder writes the answer, greedily. A choice's
score is the log-likelihood of its tokens, the end token among them. The vision tower and the
Q-Former run once per image. May import torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from harness.engine.choose import Ending
from harness.engine.dual import Parts, identity, moved
from harness.engine.images import Batch, ImageTower, Pixels
from harness.engine.load import Settings
from harness.engine.texts import only_image, ranked
from harness.errors import DataError, UsageError
from harness.types import Answer, Ask, Decoding, Failure, Image, Reply, Sample

IMAGES = 16
"""Images in one pass of the tower unless the settings say otherwise."""
ROWS = 16
"""Samples that are written for, or choices that are ranked, in one pass."""

Waiting = tuple[int, torch.Tensor]
"""A sample's position and what its encoder reads of the image, (queries, width)."""


class ImageTextWriter:
    """A Blip2ForConditionalGeneration with an encoder-decoder as a model."""

    def __init__(self, address: str, settings: Settings) -> None:
        """Remember the checkpoint (a directory or a hub name); the first answer loads it."""
        self.name = f"transformers:{address}"
        self._address, self._settings = address, settings
        self._loaded: Writer | None = None

    def describe(self) -> Mapping[str, Any]:
        """Return what identifies the model; after the first answer also how it was run."""
        facts = self._loaded.facts() if self._loaded else {}
        return identity("blip2 encoder-decoder", self._address, self._settings) | facts

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Write, or rank the choices of, samples with exactly one image.

        Raises UsageError for `encode`, and for a temperature: it writes greedily.
        """
        if ask == "encode":
            raise UsageError(f"{self.name} writes text and gives no features; ask a dual encoder")
        if ask == "generate" and (decoding.temperature or decoding.max_tokens < 1):
            raise UsageError(
                f"{self.name} writes greedily, at least one token; the task wants temperature "
                f"{decoding.temperature:g} and {decoding.max_tokens} tokens"
            )
        if self._loaded is None:
            self._loaded = Writer(self._address, self._settings)
        return self._loaded.answers(samples, ask == "rank", decoding)


class Writer:
    """A loaded model."""

    def __init__(self, address: str, settings: Settings) -> None:
        """Load the checkpoint; see `harness.engine.dual.Parts` for what it raises."""
        self.parts = Parts("Blip2ForConditionalGeneration", address, settings)
        self.model, self.tokenizer = self.parts.model, self.parts.tokenizer
        config = self.model.config
        if config.image_token_index is None:
            raise DataError(f"{address} names no image token (image_token_index)")
        self.image = [int(config.image_token_index)] * int(config.num_query_tokens)
        self.towers = ImageTower(
            self.parts.pixels, self._queries, settings.batch or IMAGES, settings.workers
        )
        self.rows = Batch(settings.batch or ROWS)

    def facts(self) -> dict[str, Any]:
        """Return what the record says about the model and how it was run."""
        return {
            **self.parts.facts(),
            "prompt": "queries, then the text",
            "out_of_memory": self.towers.batch.halved + self.rows.halved,
            "batch": {"images": self.towers.batch.size, "rows": self.rows.size},
        }

    def answers(self, samples: Sequence[Sample], rank: bool, decoding: Decoding) -> Iterator[Reply]:
        """Answer all samples, those about one image one after the other."""
        groups: dict[Image, list[int]] = {}
        for position, sample in enumerate(samples):
            image = only_image(sample)
            if isinstance(image, Failure):
                yield position, image
            elif rank and not sample.choices:
                yield position, Failure("the sample has no choices to rank")
            else:
                groups.setdefault(image, []).append(position)
        waiting: list[Waiting] = []
        for image, seen in self.towers.features(groups):
            for position in groups[image]:
                if isinstance(seen, Failure):
                    yield position, seen
                elif rank:
                    yield position, self._ranked(samples[position], seen, decoding)
                else:
                    waiting.append((position, seen))
            if len(waiting) >= self.rows.size:
                yield from self._written(samples, waiting, decoding)
                waiting = []
        yield from self._written(samples, waiting, decoding)

    def _written(
        self, samples: Sequence[Sample], waiting: Sequence[Waiting], decoding: Decoding
    ) -> Iterator[Reply]:
        def write(items: Sequence[Waiting]) -> torch.Tensor:
            texts = [prompt_of(samples[position]) for position, _ in items]
            found = self._write(texts, torch.stack([seen for _, seen in items]), decoding)
            return torch.nn.functional.pad(
                found, (0, decoding.max_tokens - found.shape[1]), value=-1
            )

        ends = {int(self.model.config.text_config.eos_token_id)}
        ending = Ending(ends, decoding.stop, decoding.max_tokens, self._decode)
        for (position, _), row in zip(waiting, self.rows.run(write, waiting), strict=True):
            tokens = [int(token) for token in row if token >= 0]
            cut = ending.cut(tokens)
            if cut is None:
                reply: Answer | Failure = Failure("the model stopped without an end token")
            else:
                text, taken, stop = cut
                reply = Answer(text=text, stop=stop, tokens_out=taken)
            yield position, reply

    def _write(self, texts: Sequence[str], seen: torch.Tensor, decoding: Decoding) -> torch.Tensor:
        """Return the tokens written for n texts, (n, at most max_tokens), on the CPU."""
        from transformers import GenerationConfig

        text = self.model.config.text_config
        embeds, mask = self._read(texts, seen)
        settings = GenerationConfig(
            do_sample=False, num_beams=1, max_new_tokens=decoding.max_tokens,
            eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id,
            decoder_start_token_id=text.decoder_start_token_id,
        )  # fmt: skip
        found = self.model.language_model.generate(
            inputs_embeds=embeds, attention_mask=mask, generation_config=settings
        )
        tokens: torch.Tensor = found[:, 1:].cpu()  # without the start
        return tokens

    def _ranked(self, sample: Sample, seen: torch.Tensor, decoding: Decoding) -> Answer | Failure:
        """Return the log-likelihood of each choice, summed over its tokens or their mean."""

        def score(choices: Sequence[str]) -> torch.Tensor:
            text = self.model.config.text_config
            labels = self.tokenizer(list(choices), padding=True, return_tensors="pt")
            ids, counts = (labels[n].to(seen.device) for n in ("input_ids", "attention_mask"))
            start = ids.new_full((len(ids), 1), text.decoder_start_token_id)
            embeds, mask = self._read([prompt_of(sample)], seen[None])
            logits = self.model.language_model(
                inputs_embeds=embeds.expand(len(ids), -1, -1),
                attention_mask=mask.expand(len(ids), -1),
                decoder_input_ids=torch.cat([start, ids[:, :-1]], dim=1),
                use_cache=False,
            ).logits
            each = logits.float().log_softmax(-1).gather(2, ids[..., None])[..., 0] * counts
            total = each.double().sum(1)
            return (total / counts.sum(1) if decoding.rank_by == "mean" else total).cpu()

        return ranked([float(one) for one in self.rows.run(score, sample.choices)])

    def _read(self, texts: Sequence[str], seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the encoder reads (n, queries + length, width), and which of it counts."""
        words = self.tokenizer(list(texts), padding=True, padding_side="right", return_tensors="pt")
        ids, mask = (words[name].to(seen.device) for name in ("input_ids", "attention_mask"))
        front = mask.new_ones(len(ids), len(self.image))
        embeds = self.model.get_input_embeddings()(ids)
        return torch.cat([seen.to(embeds.dtype), embeds], dim=1), torch.cat([front, mask], dim=1)

    def _queries(self, pixels: Pixels) -> torch.Tensor:
        """Return the projected queries (n, queries, width), left on the device."""
        found = self.model.get_image_features(**moved(pixels, self.model), return_dict=True)
        features: torch.Tensor = found.pooler_output
        return features

    def _decode(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def prompt_of(sample: Sample) -> str:
    """Return the text of a prompt: its parts without white space around them, one space between."""
    parts = [part.strip() for part in sample.prompt if isinstance(part, str)]
    return " ".join(part for part in parts if part)
