"""LSKD's generative students: a BLIP-2 that writes answers about drawn regions.

Section 3.3: BLIP-2 with FlanT5-XXL, and MiniGPT-4, which is a BLIP-2 with a Llama for transformers.
The tower and the language model are frozen; the Q-Former, its queries, the projection and the norm
after the tower train (whether MiniGPT-4's projection does the paper does not say). Saved is a plain
Blip2ForConditionalGeneration. May import torch at the top; transformers inside functions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.errors import DataError, UsageError
from trainers.engine.objective import export_dtype
from trainers.localized import blip2, items, losses, stage1, student, triples
from trainers.localized.items import Reader, Seen, View
from trainers.localized.views import Views
from trainers.localized.words import numbers, prepared
from trainers.recipe import ObjectiveRecipe, check

KIND = "Blip2ForConditionalGeneration"
IGNORED = -100
TURN = "###Human: <Img>{image}</Img> {said} ###Assistant:"
"""MiniGPT-4's prompt; an answer follows after a space, and the end token (ours: the published one
ends with "###", for which a reader of answers would have to look)."""
TEMPLATE = (
    "{{% for m in messages %}}{{% if m.role == 'user' %}}###Human: "
    "{{% if m.content is string %}}{{{{ m.content }}}}{{% else %}}"
    "{{% for p in m.content %}}{{% if p.type == 'image' %}}<Img>{image}</Img> "
    "{{% else %}}{{{{ p.text }}}}{{% endif %}}{{% endfor %}}{{% endif %}} "
    "{{% elif m.role == 'assistant' %}}###Assistant: "
    "{{% if m.content is string %}}{{{{ m.content }}}}{{% else %}}"
    "{{% for p in m.content %}}{{{{ p.text }}}}{{% endfor %}}{{% endif %}}{{{{ eos_token }}}}"
    "{{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}###Assistant:{{% endif %}}"
)
"""The same as a chat template, which is saved with the tokenizer."""


class Options(Seen):
    """Settings of a generative student (`options` of its recipe)."""

    split: Literal["auto", "random", "answer"] = "auto"
    """What is read and what is written: `random`, the text up to a random word of its first half
    and the rest, as the released data set has it; `answer`, the question and what follows. `auto`:
    `random` for an encoder-decoder, `answer` for a decoder."""
    prompt: Literal["auto", "plain", "minigpt4"] = "auto"
    """How a decoder is asked: the picture and then the text, or MiniGPT-4's turns. `auto`:
    `minigpt4` for a Llama, else `plain`. An encoder-decoder reads the picture and then the text."""


class Writer(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A Blip2ForConditionalGeneration with the loss of what it is to write."""

    def __init__(self, model: Any) -> None:
        """Wrap a loaded model."""
        super().__init__()
        self.blip2 = model

    def fixed(self) -> list[str]:
        """Return the names of what never trains: the tower but for its norm, the language model."""
        frozen = ("blip2.vision_model.", "blip2.language_model.")
        norm = "blip2.vision_model.post_layernorm."
        names = [name for name, _ in self.named_parameters()]
        return [name for name in names if name.startswith(frozen) and not name.startswith(norm)]

    def train(self, mode: bool = True) -> "Writer":
        """Set the mode; the tower stays in evaluation mode.

        The frozen language model does not, as in LAVIS: a T5 drops out, and layers that are in
        evaluation mode cannot be checkpointed.
        """
        super().train(mode)
        self.blip2.vision_model.eval()
        return self

    def activation_checkpointing_enable(self, **how: Any) -> None:
        """Keep fewer activations; gradients pass through the frozen language model too."""
        self.blip2.activation_checkpointing_enable(**how)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return [this process's sum, sum and count of all] of the loss per written token.

        Args:
            batch: `pixels` or `hidden`; `ids` and `mask` [b, length], what is read, with an image
                token for each query; `labels`: for an encoder-decoder what is written [b, written],
                for a decoder the next tokens of `ids`, shifted by the loss [b, length]; -100 where
                nothing is to be learned.
        """
        logits, labels = self.logits(batch)
        taken = labels != IGNORED
        total, count = losses.written(logits[taken], labels[taken], smoothing=0.0)
        return {"text": stage1.spread(total, count)}

    def logits(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits [b, places, vocabulary], and the token that each place should say."""
        model, labels = self.blip2, batch["labels"]
        embeds = model.get_input_embeddings()(batch["ids"])
        places = (batch["ids"] == model.config.image_token_index)[..., None]
        embeds = embeds.masked_scatter(places, self.image(batch).to(embeds.dtype))
        options: dict[str, Any] = {"inputs_embeds": embeds, "attention_mask": batch["mask"]}
        if model.config.use_decoder_only_language_model:
            out = model.language_model(**options, use_cache=False).logits
            return out[:, :-1], labels[:, 1:]
        filled = labels.masked_fill(labels == IGNORED, model.config.text_config.pad_token_id)
        options["decoder_input_ids"] = shifted(filled, model.config.text_config)
        return model.language_model(**options, use_cache=False).logits, labels

    def image(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the projected queries [b, queries, width of the language model]."""
        hidden = batch.get("hidden")
        if hidden is None:
            with torch.no_grad():
                hidden = blip2.before_norm(self.blip2, batch["pixels"])
        seen = blip2.queries_of(self.blip2, blip2.normed(self.blip2, hidden))
        projection = self.blip2.language_projection
        out: Tensor = projection(seen.to(projection.weight.dtype))
        return out


def shifted(labels: Tensor, config: Any) -> Tensor:
    """Return what an encoder-decoder's decoder reads to write `labels`: the start, then they."""
    start = labels.new_full((len(labels), 1), config.decoder_start_token_id)
    return torch.cat([start, labels[:, :-1]], dim=1)


class Training:
    """A generative student as an `Objective` of trainers/engine."""

    def __init__(
        self, recipe: ObjectiveRecipe, model: Path, data: Path, images: Path | None
    ) -> None:
        """Load the base model and the corpus; see `make`."""
        self.options = check(Options, recipe.options, f"options of {recipe.name}")
        self.recipe = recipe
        loaded, self.processor = load(model, self.options.image_size, recipe)
        config = loaded.config
        self.decoder = bool(config.use_decoder_only_language_model)
        llama = config.text_config.model_type == "llama"
        self.split, self.prompt = self.options.split, self.options.prompt
        if self.split == "auto":
            self.split = "answer" if self.decoder else "random"
        if self.prompt == "auto":
            self.prompt = "minigpt4" if llama else "plain"
        if self.prompt == "minigpt4" and not self.decoder:
            raise UsageError("options.prompt: minigpt4 is for a decoder; this model has an encoder")
        self.queries = int(config.num_query_tokens)
        self.model = Writer(loaded)
        self.members = blip2.members(self.model, recipe, self.model.fixed())
        found, self.left_out = items.corpus(data, self.options)
        views = Views(self.processor, images, self.options.asked(), self.options.augment)
        features = items.kept(loaded, self.options, recipe)
        self.reader = Reader(found, views, self.options, recipe.seed, features)

    def __len__(self) -> int:
        """Return the number of triples."""
        return len(self.reader.triples)

    def ids(self) -> Sequence[str]:
        """Return their ids."""
        return [triple.id for triple in self.reader.triples]

    def pictures(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield the name and the file of every picture."""
        yield from self.reader.files()

    def read(self, place: int, epoch: int) -> dict[str, Any]:
        """Return a triple as pixels (or the tower's output) and the tokens read and written."""
        view = self.reader.view(place, epoch)
        said, answer = parted(view, self.split, self.options)
        tokens = self._turns(said, answer) if self.decoder else self._pair(said, answer)
        return {**tokens, **self.reader.vision(view)}

    def _pair(self, said: str, answer: str) -> dict[str, list[int]]:
        """Return an encoder's tokens, and what its decoder writes."""
        tokenizer, most = self.processor.tokenizer, self.options.pieces
        ids = tokenizer(said, truncation=True, max_length=most)["input_ids"]
        written = tokenizer(answer, truncation=True, max_length=most)["input_ids"]
        return {"ids": [*self._image(), *ids], "labels": list(written)}

    def _turns(self, said: str, answer: str) -> dict[str, list[int]]:
        """Return a decoder's tokens, and of them those that it writes.

        The whole is put into tokens at once, as the harness does it: pieces at the seam would be
        others than a model sees when it is asked.
        """
        tokenizer, most = self.processor.tokenizer, self.options.pieces
        if self.prompt == "minigpt4":
            mark = self._mark() * self.queries
            prompt = TURN.format(image=mark, said="{said}").replace("{said}", said)
        else:
            prompt = said
        before = tokenizer(prompt)["input_ids"]
        whole = tokenizer(f"{prompt} {answer}")["input_ids"]
        seam = next(
            (i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b),
            min(len(before), len(whole)),
        )
        whole = [*whole, tokenizer.eos_token_id]
        front = [] if self.prompt == "minigpt4" else self._image()
        labels = [IGNORED] * (len(front) + seam) + whole[seam:]
        room = self.queries + 2 * most
        return {"ids": [*front, *whole][:room], "labels": labels[:room]}

    def _image(self) -> list[int]:
        return [int(self.model.blip2.config.image_token_index)] * self.queries

    def _mark(self) -> str:
        mark = self.processor.tokenizer.convert_ids_to_tokens(
            self.model.blip2.config.image_token_index
        )
        return str(mark)

    def collate(self, found: Sequence[Any]) -> dict[str, Any]:
        """Return items as one batch, filled up at the end; see `Writer.forward`."""
        pad = self.processor.tokenizer.pad_token_id
        filler = 0 if pad is None else int(pad)
        ids = [item["ids"] for item in found]
        return {
            "ids": _filled(ids, filler),
            "mask": _filled([[1] * len(one) for one in ids], 0),
            "labels": _filled([item["labels"] for item in found], IGNORED),
            **student.seen(found),
        }

    def loss(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """Return the mean cross-entropy of the written tokens of all processes."""
        return student.summed(model(batch), len(batch["ids"]))

    def after_step(self) -> None:
        """Do nothing."""

    def export(self, folder: Path) -> None:
        """Write the model with its processor, and how it is asked.

        With MiniGPT-4's turns the tokenizer has them as its chat template, and the processor puts
        no image tokens before the text: the template has them in their place.
        """
        facts = {**asdict(self.options.asked()), "split": self.split, "prompt": self.prompt}
        tokenizer = self.processor.tokenizer
        before = tokenizer.chat_template, self.processor.num_query_tokens
        try:
            if self.prompt == "minigpt4":
                tokenizer.chat_template = TEMPLATE.format(image=self._mark() * self.queries)
                self.processor.num_query_tokens = None
            blip2.save(self.model.blip2, self.processor, folder, facts, export_dtype(self.recipe))
        finally:
            tokenizer.chat_template, self.processor.num_query_tokens = before

    def describe(self) -> dict[str, Any]:
        """Return what run.json says of the data and the model."""
        config = self.model.blip2.config
        return {
            **student.told(self.reader, self.left_out),
            "options": self.options.model_dump(),
            "split": self.split,
            "prompt": self.prompt if self.decoder else "encoder",
            "language_model": config.text_config.model_type,
            "image_size": config.vision_config.image_size,
        }


def parted(view: View, split: str, seen: Seen) -> tuple[str, str]:
    """Return what is read and what is written of a triple; neither is empty.

    `random` cuts the words before the prefix is added; the lot is drawn from the view's.
    """
    whole = prepared(view.said, "", seen.words)
    if split == "random":
        parts = whole.split(" ")
        at = view.draw.randint(1, max(1, len(parts) // 2))
        if len(parts) > 1:
            return seen.prefix + " ".join(parts[:at]), " ".join(parts[at:])
        return seen.prefix.strip() or whole, whole
    names = numbers(view.shown)
    asked = prepared(f"{triples.words(view.triple.question, names)} Answer:", "", seen.words)
    answer = whole[len(asked) :].strip()
    if not answer:  # a question as long as all that may be kept
        answer = prepared(triples.words(view.triple.answer, names), "", seen.words)
    return seen.prefix + asked, answer


def load(address: Path, image_size: int | None, recipe: ObjectiveRecipe) -> tuple[Any, Any]:
    """Load a Blip2ForConditionalGeneration on the CPU, and its processor.

    Where the recipe computes in bfloat16, what is frozen is kept in it; what trains is float32.

    Raises:
        DataError: It is no such model, lacks weights or has no image token.
    """
    import transformers

    from harness.engine.load import Settings, load_model, read_config, read_processor

    half = recipe.precision == "bf16"
    settings = Settings(device="cpu", dtype="bfloat16" if half else "float32")
    config = read_config(str(address), settings)
    if config.model_type != "blip-2" or KIND not in (config.architectures or ()):
        raise DataError(f"{address} is no {KIND} ({config.model_type}, {config.architectures})")
    if config.image_token_index is None:
        raise DataError(
            f"{address} names no image token (image_token_index); newer versions of BLIP-2 "
            "checkpoints do, or add one to tokenizer, word table and configuration"
        )
    model, _ = load_model(getattr(transformers, KIND), str(address), settings)
    processor = read_processor(str(address), config, settings)
    if image_size is not None:
        blip2.set_image_size(model, processor, image_size)
    if half:
        for part in (model.vision_model.post_layernorm, model.language_projection, model.qformer):
            part.float()
        model.query_tokens.data = model.query_tokens.data.float()
    return model, processor


def _filled(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


def make(recipe: ObjectiveRecipe, model: Path | None, data: Path, images: Path | None) -> Training:
    """Return a generative student's objective.

    Args:
        recipe: With `Options` as its options.
        model: A Blip2ForConditionalGeneration with a language model of either kind.
        data: A corpus of triples, or a folder with triples.jsonl.
        images: Folder of the pictures.

    Raises:
        UsageError: There is no model, or settings contradict each other.
        DataError: The model is of another kind, or a triple or picture is not what it must be.
    """
    if model is None:
        raise UsageError("the student starts from a BLIP-2 that writes: give --model")
    return Training(recipe, model, data, images)
