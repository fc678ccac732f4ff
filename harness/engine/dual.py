"""Dual encoders as models: CLIP, SigLIP, SigLIP 2 and what transformers builds like them.

A choice's score is the model's own `logits_per_image`: cosine of image and text features times
exp(logit_scale), plus logit_bias where there is one (Radford et al. 2021, arXiv:2103.00020; Zhai
et al. 2023, arXiv:2303.15343). The formula is compared with the model's own forward pass when the
model is loaded. Each distinct image and text goes through its tower once. A task may give several
prompts for each choice (`facts["prompts"]`); see `Ensembles`. May import torch.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from harness.engine import dense
from harness.engine.identity import fingerprint, of_processor
from harness.engine.images import ImageTower, Pixels
from harness.engine.load import Settings, cannot_load, load_model, source
from harness.engine.texts import Ensembles, TextTower, only_image, scored, texts_of, unit
from harness.errors import MissingExtra, UsageError
from harness.types import Answer, Ask, Decoding, Failure, Image, Reply, Sample

IMAGES = 64
"""Images in one forward pass unless the settings say otherwise."""
TEXTS = 256
"""Texts in one forward pass; captions are short."""
WAITING = 256
"""Encoded samples that may wait for their texts to fill a batch before they are scored."""

Waiting = tuple[int, torch.Tensor, tuple[str, ...]]
"""A sample's position, the features of its image, the text of each choice."""


class DualEncoder:
    """A model with one tower for images and one for texts."""

    fits = True  # a copy of its image side can be trained
    dense = True  # its patches can be compared with texts (dense.py)

    def __init__(self, address: str, settings: Settings) -> None:
        """Remember the checkpoint (a directory or a hub name); the first answer loads it."""
        self.name = f"transformers:{address}"
        self._address, self._settings = address, settings
        self._towers: Towers | None = None

    def describe(self) -> Mapping[str, Any]:
        """Return what identifies the model; after the first answer also how it was run."""
        facts = self._towers.facts() if self._towers else {}
        found = identity("dual", self._address, self._settings)
        if self._settings.fit_grid != "full":  # the protocol's own leaves the model what it is
            found["options"]["fit_grid"] = self._settings.fit_grid
        if self._settings.regions == "pool":
            found["options"]["regions"] = "pool"
        if self._settings.dense_side:
            found["options"]["dense_side"] = self._settings.dense_side
        return found | facts

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Rank the choices of each sample, or return features; see `harness.types.Model`.

        `rank`: the sample has exactly one image; the text of a choice is `texts_of`, or there are
        several (`Ensembles`). Samples with `facts["fit"]` (harness/fit.py) are answered by a copy
        that is trained for them (harness/engine/finetune.py), those with `facts["dense"]` by parts
        of the picture (harness/engine/dense.py). `encode`: the projected image features, not
        normalised, or those of the prompt's text where the prompt has no image. Raises UsageError
        for `generate`, unless a map of classes is wanted.
        """
        if ask == "generate" and not dense.asked(samples):
            raise UsageError(
                f"{self.name} is a dual encoder and cannot write text; it ranks choices and "
                "encodes (use a variant of the task that ranks)"
            )
        return self._answer(samples, ask)

    def _answer(self, samples: Sequence[Sample], ask: Ask) -> Iterator[Reply]:
        towers = self.towers()
        if ask == "encode":
            yield from encode(samples, towers.images, towers.texts)
        elif any("fit" in sample.facts for sample in samples):
            from harness.engine.finetune import answers

            yield from answers(samples, towers, self._settings)
        elif dense.asked(samples):
            yield from dense.answers(samples, towers, self._settings)
        else:
            yield from rank_by_cosine(
                samples, towers.images, towers.texts, towers.scale, towers.bias
            )

    def towers(self) -> "Towers":
        """Return the loaded model; see `Towers` for what it raises."""
        if self._towers is None:
            self._towers = Towers(self._address, self._settings)
        return self._towers


class Towers:
    """A loaded dual encoder."""

    def __init__(self, address: str, settings: Settings) -> None:
        """Load the checkpoint.

        Raises:
            DataError: it cannot be read or lacks weights.
            MissingExtra: its tokenizer needs a package that is not here.
            UsageError: it is not a dual encoder that scores by scaled cosine.
        """
        self.parts = Parts("AutoModel", address, settings)
        self.model = self.parts.model
        needed = ("get_image_features", "get_text_features", "logit_scale")
        missing = [name for name in needed if not hasattr(self.model, name)]
        if missing:
            raise UsageError(
                f"{address} is a {type(self.model).__name__}, not a dual encoder that this engine "
                f"can score with: it has no {', '.join(missing)}"
            )
        self.scale = float(self.model.logit_scale.detach().float().exp())
        bias = getattr(self.model, "logit_bias", None)
        self.bias = 0.0 if bias is None else float(bias.detach().float())
        config = self.model.config
        self.texts = TextTower(
            self._text_features,
            self.parts.tokenizer,
            config.text_config.max_position_embeddings,
            self.model.device,
            settings.batch or TEXTS,
            siglip=config.model_type.startswith("siglip"),
        )
        self.images = ImageTower(
            self.parts.pixels, self._image_features, settings.batch or IMAGES, settings.workers
        )
        self.check()

    def facts(self) -> dict[str, Any]:
        """Return what the record says about the model and how it was run."""
        return {
            **self.parts.facts(),
            "score": "logits_per_image",
            "text": self.texts.facts(),
            "out_of_memory": self.images.batch.halved + self.texts.batch.halved,
            "batch": {"images": self.images.batch.size, "texts": self.texts.batch.size},
        }

    def check(self) -> None:
        """Compare our scores of a noise image and two texts with the model's own forward pass.

        Raises UsageError when they differ or when the model does not run on an image and texts:
        features with the right names are no promise that a model scores by scaled cosine.
        """
        import PIL.Image

        noise = PIL.Image.frombytes("RGB", (64, 64), random.Random(0).randbytes(64 * 64 * 3))
        pixels, texts = self.parts.pixels(noise), ["a", "a photo of a dog"]
        with torch.inference_mode():
            rows, image = unit(self.texts.encode(texts)), unit(self._image_features(pixels)[0])
        ours = (rows @ image) * self.scale + self.bias
        name = f"{self.parts.address}: {type(self.model).__name__}"
        try:
            with torch.inference_mode():
                output = self.model.forward(**moved(pixels, self.model), **self.texts.tokens(texts))
            theirs = output.logits_per_image[0].float().cpu()
        except (TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"{name} gives no logits_per_image for an image and two texts ({error}); "
                "this engine cannot score with it"
            ) from error
        # Half precision rounds each feature to 3 digits and the model also its products.
        slack = (1e-3 if self.model.dtype == torch.float32 else 0.05) * self.scale
        if not torch.allclose(ours, theirs, rtol=0.02, atol=slack):
            raise UsageError(
                f"{name} scores a test image {theirs.tolist()} and scaled cosine gives "
                f"{ours.tolist()}; this engine cannot score with it"
            )

    def _image_features(self, pixels: Pixels) -> torch.Tensor:
        return projected(self.model.get_image_features(**moved(pixels, self.model))).cpu()

    def _text_features(self, tokens: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return projected(self.model.get_text_features(**tokens)).cpu()


def by_image(samples: Sequence[Sample]) -> tuple[dict[Image, list[int]], list[Reply]]:
    """Return the positions of the samples by image, and replies for those that cannot be ranked."""
    groups: dict[Image, list[int]] = {}
    failures: list[Reply] = []
    for position, sample in enumerate(samples):
        image = only_image(sample)
        if isinstance(image, Failure):
            failures.append((position, image))
        elif not sample.choices:
            failures.append((position, Failure("the sample has no choices to rank")))
        else:
            groups.setdefault(image, []).append(position)
    return groups, failures


def rank_by_cosine(
    samples: Sequence[Sample], images: ImageTower, texts: TextTower, scale: float, bias: float
) -> Iterator[Reply]:
    """Answer `rank` with `cosine * scale + bias`.

    Where an image has several feature vectors (the queries of BLIP-2), the nearest one counts.
    The arithmetic is done in float32, so that half-precision towers make no ties.
    """
    groups, failures = by_image(samples)
    yield from failures
    waiting: list[Waiting] = []
    fresh: set[str] = set()
    ensembles = Ensembles(texts)
    for image, features in images.features(groups):
        for position in groups[image]:
            if isinstance(features, Failure):
                yield position, features
                continue
            if "prompts" in samples[position].facts:
                yield position, ensembles.ranked(samples[position], features, scale, bias)
                continue
            choices = texts_of(samples[position])
            waiting.append((position, features, choices))
            fresh.update(text for text in choices if text not in texts.kept)
            if len(waiting) >= WAITING or len(fresh) >= texts.batch.size:
                yield from _by_cosine(waiting, texts, scale, bias)
                waiting, fresh = [], set()
    yield from _by_cosine(waiting, texts, scale, bias)


def encode(samples: Sequence[Sample], images: ImageTower, texts: TextTower) -> Iterator[Reply]:
    """Answer `encode`: image features, or text features for a prompt without an image.

    Where an image has several feature vectors, their mean is returned.
    """
    groups: dict[Image, list[int]] = {}
    words: dict[str, list[int]] = {}
    for position, sample in enumerate(samples):
        text = " ".join(p.strip() for p in sample.prompt if isinstance(p, str) and p.strip())
        image = only_image(sample)
        if isinstance(image, Image):
            groups.setdefault(image, []).append(position)
        elif text and not any(isinstance(part, Image) for part in sample.prompt):
            words.setdefault(text, []).append(position)
        else:
            yield position, image
    for image, row in images.features(groups):
        reply = row if isinstance(row, Failure) else _features(row)
        yield from ((position, reply) for position in groups[image])
    distinct = list(words)
    for start in range(0, len(distinct), TEXTS):
        part = distinct[start : start + TEXTS]
        for text, row in zip(part, texts.features(part), strict=True):
            reply = _features(row)
            yield from ((position, reply) for position in words[text])


class Parts:
    """A loaded image-text checkpoint: model, image processor, tokenizer."""

    def __init__(self, kind: str, address: str, settings: Settings) -> None:
        """Load the model by the transformers class `kind`.

        The image processor is the PIL one even where torchvision is installed: the models were
        trained and published with PIL's resampling, and a score must not depend on a package.

        Raises:
            DataError: the checkpoint cannot be read or lacks weights.
            MissingExtra: the tokenizer or the adapter needs a package that is not here.
        """
        import transformers

        self.address, self._revision = address, settings.revision
        auto = getattr(transformers, kind)
        self.model, self._attention = load_model(auto, address, settings)
        options = source(settings)
        try:
            self.image_processor = transformers.AutoImageProcessor.from_pretrained(
                address, backend="pil", **options
            )
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(address, **options)
        except ImportError as error:
            what, command = f"the tokenizer of {address}", "pip install sentencepiece protobuf"
            raise MissingExtra("sentencepiece or protobuf", what, command) from error
        except (OSError, ValueError) as error:
            raise cannot_load(address, error) from error

    def pixels(self, picture: Any) -> Pixels:
        """Return the model's inputs for one picture (PIL)."""
        return dict(self.image_processor(images=picture, return_tensors="pt"))

    def facts(self) -> dict[str, Any]:
        """Return what every image-text scorer puts into a record once it is loaded."""
        dtypes = {str(p.dtype).removeprefix("torch.") for p in self.model.parameters()}
        return {
            "revision": self._revision or getattr(self.model.config, "_commit_hash", None),
            "architecture": type(self.model).__name__,
            # BLIP-2 keeps its Q-Former in float32 when the rest is float16.
            "dtype": "+".join(sorted(dtypes)),
            "device": str(self.model.device),
            "attention": self._attention,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            **{key: value for key, value in of_processor(self).items() if key != "processor"},
            "images": "RGB, EXIF orientation not applied",
        }


def identity(kind: str, address: str, settings: Settings) -> dict[str, Any]:
    """Return what is known of an image-text scorer before it is loaded."""
    adapter = settings.adapter
    return {
        "model": "transformers",
        "kind": kind,
        "address": address,
        "revision": settings.revision,
        "adapter": adapter,
        "weights": fingerprint(address),
        "adapter_weights": fingerprint(adapter or ""),
        "options": {
            "dtype": settings.dtype,
            "attention": settings.attention,
            "trust_remote_code": settings.trust_remote_code,
            "compile": settings.compile,
        },
    }


def moved(inputs: Mapping[str, torch.Tensor], model: Any) -> Pixels:
    """Return inputs on the model's device, real numbers in its dtype."""
    return {
        key: value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
        for key, value in inputs.items()
    }


def _by_cosine(
    waiting: Sequence[Waiting], texts: TextTower, scale: float, bias: float
) -> Iterator[Reply]:
    if not waiting:
        return
    distinct = list(dict.fromkeys(text for _, _, choices in waiting for text in choices))
    index = {text: row for row, text in enumerate(distinct)}
    matrix = unit(texts.features(distinct))
    for position, features, choices in waiting:
        rows = matrix[[index[text] for text in choices]]
        yield position, scored(features, rows, scale, bias)


def _features(row: torch.Tensor) -> Answer | Failure:
    row = row.mean(dim=0) if row.dim() > 1 else row
    if not row.isfinite().all():
        return Failure("the model gave a feature that is not a finite number; try dtype=float32")
    return Answer(features=tuple(row.tolist()))


def projected(output: Any) -> torch.Tensor:
    """Return projected features (n, d) in float32, however transformers wraps them."""
    features = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features.float()
