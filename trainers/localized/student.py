"""LSKD's discriminative student: BLIP-2's first stage on triples about drawn regions.

Section 2.4: a BLIP-2 is trained by contrast, matching and writing (stage1.py, losses.py) on
pictures in which regions are drawn and texts that call them `[0]`, `[1]`; only the Q-Former trains,
with the norm after the frozen tower, as LAVIS has it. What is saved is a plain
Blip2ForImageTextRetrieval; temperature and language head, which no score needs, lie beside it. May
import torch at the top.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from harness.errors import DataError, UsageError
from trainers.engine.objective import export_dtype
from trainers.localized import blip2, items, stage1
from trainers.localized.items import Reader, Seen
from trainers.localized.views import Views
from trainers.recipe import ObjectiveRecipe, check


class Options(Seen):
    """Settings of the discriminative student (`options` of its recipe)."""

    same_image: Literal["negatives", "masked"] = "negatives"
    """Whether statements about one picture are negatives of each other, as in the released code,
    or take no part in each other's losses."""
    q_former: Literal["float32", "autocast"] = "float32"
    """Arithmetic of the Q-Former under bf16; the class keeps its weights in float32 either way."""
    scheduler: Literal["smooth", "lavis"] = "smooth"
    """`smooth`: the recipe's schedule. `lavis`: its staircase (`lavis_rate`), from the recipe's lr
    to its min_lr, with the recipe's warm-up inside the first inner epoch."""
    inner_steps: int = Field(1000, ge=1)
    """Steps of an inner epoch of `lavis`."""
    language_head: str = ""
    """File with the language head to go on with: of a student, of LAVIS's first stage or of a BERT
    (.safetensors, .pth, .bin). Empty: `language_head.safetensors` beside the base model, else drawn
    anew."""


class Training:
    """The discriminative student as an `Objective` of trainers/engine."""

    def __init__(
        self, recipe: ObjectiveRecipe, model: Path, data: Path, images: Path | None
    ) -> None:
        """Load the base model and the corpus; see `make`."""
        self.options = check(Options, recipe.options, f"options of {recipe.name}")
        self.recipe = recipe
        loaded, self.processor = blip2.load(model, self.options.image_size)
        self.start = start_token(self.processor.tokenizer, loaded)
        limit_length(self.processor.tokenizer, self.options.pieces)
        exact = self.options.q_former == "float32"
        self.model = stage1.Network(loaded, self.start, self.options.same_image, exact, recipe.seed)
        self.head_from = self._head(model)
        self.members = blip2.members(self.model, recipe, self.model.tower())
        freeze(loaded.vision_model, recipe)
        found, self.left_out = items.corpus(data, self.options)
        views = Views(self.processor, images, self.options.asked(), self.options.augment)
        features = items.kept(loaded, self.options, recipe)
        self.reader = Reader(found, views, self.options, recipe.seed, features)

    def _head(self, model: Path) -> str:
        """Read the language head; return where it is from, without paths."""
        beside = model / stage1.HEAD_FILE
        if not self.options.language_head and not beside.is_file():
            return "drawn from the seed"
        source = Path(self.options.language_head) if self.options.language_head else beside
        tensors = stage1.head_of(source)
        self.model.head.read(tensors, str(source))
        if "temperature" in tensors:
            self.model.temperature.data.copy_(tensors["temperature"])
        return source.name

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
        """Return a triple as pixels (or the tower's output), text, picture and two lots."""
        view = self.reader.view(place, epoch)
        lots = view.draw.random(), view.draw.random()
        return {
            "text": self.reader.text(view),
            "picture": items.number(view.triple.image),
            "draws": lots,
            **self.reader.vision(view),
        }

    def collate(self, found: Sequence[Any]) -> dict[str, Any]:
        """Return items as one batch; see `stage1.Network.forward`."""
        texts = [item["text"] for item in found]
        words = blip2.tokens(self.model.blip2, self.processor, texts, self.options.pieces)
        return {
            "ids": words["input_ids"],
            "mask": words["attention_mask"],
            "picture": torch.tensor([item["picture"] for item in found]),
            "draws": torch.tensor([item["draws"] for item in found]),
            **seen(found),
        }

    def loss(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """Return ITC + ITM + ITG of the batch of all processes, and each of them.

        The negatives are the other items of the micro-batch, over all processes.
        """
        return summed(model(batch), len(batch["ids"]))

    def after_step(self) -> None:
        """Keep the temperature above 0."""
        with torch.no_grad():
            self.model.temperature.clamp_(min=stage1.COOLEST)

    def rate(self, step: int, total: int) -> float | None:
        """Return the share of the recipe's rate at a step; None where its schedule is followed."""
        if self.options.scheduler == "smooth":
            return None
        recipe, inner = self.recipe, self.options.inner_steps
        warmup = recipe.warmup if recipe.warmup >= 1 else recipe.warmup * total
        return lavis_rate(step, total, inner, recipe.min_lr / recipe.lr, round(warmup))

    def watched(self) -> dict[str, float]:
        """Return the temperature."""
        return {"temperature": float(self.model.temperature.detach())}

    def export(self, folder: Path) -> None:
        """Write the retrieval model, how it is asked, and the language head beside it."""
        from safetensors.torch import save_file

        dtype = export_dtype(self.recipe)
        blip2.save(self.model.blip2, self.processor, folder, self.options.asked(), dtype)
        rest = {
            name: value.detach().cpu().contiguous()
            for name, value in self.model.state_dict().items()
            if not name.startswith("blip2.")
        }
        save_file(rest, folder / stage1.HEAD_FILE)

    def describe(self) -> dict[str, Any]:
        """Return what run.json says of the data and the model."""
        return {
            **told(self.reader, self.left_out),
            "options": self.options.model_dump(exclude={"language_head"}),
            "image_size": self.model.blip2.config.vision_config.image_size,
            "language_head": self.head_from,
            "start_token": self.start,
        }


def summed(found: Mapping[str, Tensor], own: int) -> tuple[Tensor, dict[str, float]]:
    """Return the sum of losses, each divided by what all processes count, and each alone.

    A process's gradient is weighted by its share of the items; dividing that out leaves the
    gradient of the mean over everything that counts, however it is spread over processes.

    Args:
        found: By name [this process's sum, the sum and the count of all processes].
        own: Items of this process.
    """
    numbers = next(iter(found.values()))
    every = stage1.everywhere_sum(numbers.new_tensor(float(own)))
    share = every / max(own, 1)
    total = torch.stack([part[0] * share / part[2].clamp(min=1) for part in found.values()]).sum()
    parts = {name: float((part[1] / part[2].clamp(min=1)).detach()) for name, part in found.items()}
    return total, parts


def seen(found: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Return the items' pixels, or what is kept of them, as one tensor."""
    name = "hidden" if "hidden" in found[0] else "pixels"
    return {name: torch.stack([item[name] for item in found])}


def told(reader: Reader, left_out: Mapping[str, int]) -> dict[str, Any]:
    """Return what run.json says of a corpus."""
    counts: dict[str, int] = {}
    for triple in reader.triples:
        counts[triple.source or "-"] = counts.get(triple.source or "-", 0) + 1
    return {
        "triples": len(reader.triples),
        "images": len({triple.image for triple in reader.triples}),
        "sources": dict(sorted(counts.items())),
        "left_out": dict(left_out),
    }


def start_token(tokenizer: Any, model: Any) -> int:
    """Return the token that a written text begins with: [DEC], else the first of any text.

    Raises DataError where the table of words has no row for it.
    """
    found = tokenizer.bos_token_id
    if found is None:
        found = tokenizer("a")["input_ids"][0]
    rows = model.embeddings.word_embeddings.num_embeddings
    if found >= rows:
        raise DataError(
            f"the start token {found} of the tokenizer is beyond the {rows} rows of the word table"
        )
    return int(found)


def limit_length(tokenizer: Any, pieces: int) -> None:
    """Make a tokenizer cut at `pieces`, so that the saved one cuts as training did."""
    tokenizer.model_max_length = min(tokenizer.model_max_length, pieces)


def freeze(tower: Any, recipe: ObjectiveRecipe) -> None:
    """Put the frozen part of a vision tower into bfloat16 where the recipe computes in it."""
    if recipe.precision == "bf16":
        tower.embeddings.to(torch.bfloat16)
        tower.encoder.to(torch.bfloat16)


def lavis_rate(
    step: int, total: int, inner: int, least: float, warmup: int = 0, start: float = 0.01
) -> float:
    """Return the share of the peak rate at a step, as LAVIS's `linear_warmup_cosine_lr` has it.

    Its epochs are inner ones of `inner` steps (1,000 in LSKD's configuration): within the first the
    rate rises from `start` over `warmup` steps and then stays at the peak; from the second on it is
    constant within an inner epoch and falls from one to the next along a cosine to `least`.

    Args:
        step: Of the optimizer, from 0.
        total: Steps of the run.
        inner: Steps of an inner epoch.
        least: Share at the end of the cosine (1e-6 of 1e-5 is 0.1).
        warmup: Steps; not set in the published file, which makes it 0: the first step alone is low.
        start: Share before the first step (1e-7 of 1e-5 is 0.01).
    """
    epoch, within = divmod(step, inner)
    if epoch == 0:
        return min(1.0, start + (1 - start) * within / max(warmup, 1))
    return least + (1 - least) * (1 + math.cos(math.pi * epoch / math.ceil(total / inner))) / 2


def make(recipe: ObjectiveRecipe, model: Path | None, data: Path, images: Path | None) -> Training:
    """Return the discriminative student's objective.

    Args:
        recipe: With `Options` as its options.
        model: A Blip2ForImageTextRetrieval.
        data: A corpus of triples, or a folder with triples.jsonl.
        images: Folder of the pictures.

    Raises:
        UsageError: There is no model, or settings contradict each other.
        DataError: The model is of another kind, or a triple or picture is not what it must be.
    """
    if model is None:
        raise UsageError("the student starts from a BLIP-2 for image-text matching: give --model")
    return Training(recipe, model, data, images)
