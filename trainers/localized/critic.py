"""LSKD's critic: would people accept this triple of this picture? The model, and its training.

Section 2.3: BLIP-2's matching head is trained to tell accepted triples from rejected ones, and two
more heads to tell how question with answer, and the rationale, were rated (Table 1 is about these
two; `options` switch each part). A score is the probability of class 1, accept. What is saved is a
plain Blip2ForImageTextRetrieval whose matching score is the critic's; the two heads, which no score
needs, lie beside it. May import torch at the top.

    L = binary_weight * CE(matching, accept) + qa_weight * MSE(qa) + r_weight * MSE(rationale)
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from harness.engine.highlight import Palette
from harness.errors import DataError, UsageError
from trainers.engine.objective import export_dtype
from trainers.localized import blip2, labels, triples
from trainers.localized import words as text
from trainers.localized.augment import Augment
from trainers.localized.drawing import MOST, Choice, lot, shown
from trainers.localized.views import Views
from trainers.recipe import ObjectiveRecipe, Part, check

HEADS = "critic_heads.safetensors"
TOWER = ("blip2.vision_model.embeddings.", "blip2.vision_model.encoder.")
"""What cached features stand for: the vision tower without the norm after it."""
DATA = "train.jsonl"
"""Name of the labelled corpus in a folder that is given as --data."""


class Options(Part):
    """Settings of the critic (`options` of its recipe)."""

    binary_weight: float = Field(1.0, ge=0)
    qa_weight: float = Field(0.5, ge=0)
    r_weight: float = Field(0.5, ge=0)
    compat_r_target_bug: bool = False
    """Train the rationale's head towards the rating of question and answer, as the released code
    does."""
    image_size: int | None = Field(480, gt=0)
    """None: the checkpoint's."""
    palette: Palette = "lskd"
    most: int = Field(MOST, ge=0)
    """Regions drawn at most; 0: any number."""
    regions: Choice = "critic"
    """Which are drawn in training: see `drawing.shown`."""
    draw: bool = True
    """False is the ablation `no_regions`: numbers in the text and nothing in the picture."""
    augment: Augment = "region_safe"
    prefix: str = text.CRITIC_PREFIX
    words: int = Field(text.WORDS, ge=0)
    pieces: int = Field(text.PIECES, ge=4)
    cache_features: bool = False
    """Keep the outputs of a frozen vision tower in memory; needs `augment: none`, `workers: 0`."""
    cache_gib: float = Field(8, gt=0)

    def asked(self) -> blip2.Asked:
        """Return how the finished model is to be asked."""
        return blip2.Asked(
            palette=self.palette, most=self.most, draw=self.draw, prefix=self.prefix,
            words=self.words, pieces=self.pieces,
        )  # fmt: skip


class Critic(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A Blip2ForImageTextRetrieval with two more heads."""

    def __init__(self, model: Any) -> None:
        """Add heads to `model`; their first weights come from torch's generator."""
        super().__init__()
        width = model.config.qformer_config.hidden_size
        self.blip2 = model
        self.qa_head, self.r_head = _head(width), _head(width)

    def activation_checkpointing_enable(self, **how: Any) -> None:
        """Recompute the layers' activations in the backward pass; see transformers."""
        self.blip2.activation_checkpointing_enable(**how)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor | None = None,
        features: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return matching logits (n, 2), and the two ratings (n,), each a mean over queries.

        Either the pictures (n, 3, side, side) or the tower's outputs of them are given.
        """
        if features is None:
            assert pixel_values is not None
            features = blip2.before_norm(self.blip2, pixel_values)
        with torch.autocast(features.device.type, enabled=False):  # float32, as the class has it
            image = blip2.normed(self.blip2, features)
            output = blip2.together(self.blip2, image, input_ids, attention_mask)
            seen = output[:, : self.blip2.query_tokens.shape[1]]
            qa, r = (head(seen).squeeze(-1).mean(1) for head in (self.qa_head, self.r_head))
            return blip2.matching(self.blip2, output), qa, r


def _head(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def loss(
    found: tuple[Tensor, Tensor, Tensor], accept: Tensor, qa: Tensor, r: Tensor, options: Options
) -> tuple[Tensor, dict[str, float]]:
    """Return the weighted loss of a batch, and its parts unweighted.

    Args:
        found: From `Critic.forward`.
        accept: Classes (n,), 1 for accepted.
        qa: Ratings of question and answer (n,).
        r: Ratings of the rationale (n,).
        options: Weights, and whether the released code's fault is wanted.
    """
    logits, said_qa, said_r = found
    weighted = {
        "binary": (options.binary_weight, functional.cross_entropy(logits, accept)),
        "qa": (options.qa_weight, functional.mse_loss(said_qa, qa)),
        "rationale": (
            options.r_weight,
            functional.mse_loss(said_r, qa if options.compat_r_target_bug else r),
        ),
    }
    used = {name: (weight, part) for name, (weight, part) in weighted.items() if weight}
    total = torch.stack([weight * part for weight, part in used.values()]).sum()
    told = {name: float(part.detach()) for name, (_, part) in used.items()}
    return total, told | {"accuracy": float((logits.argmax(1) == accept).float().mean())}


class Training:
    """The critic as an `Objective` of trainers/engine."""

    def __init__(
        self, recipe: ObjectiveRecipe, model: Path, data: Path, images: Path | None
    ) -> None:
        """Load the base model and the labelled corpus; see `make`."""
        self.options = check(Options, recipe.options, f"options of {recipe.name}")
        self.recipe, self.base = recipe, model
        if not (self.options.binary_weight or self.options.qa_weight or self.options.r_weight):
            raise UsageError("every part of the critic's loss has the weight 0")
        loaded, self.processor = blip2.load(model, self.options.image_size)
        loaded.train()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(recipe.seed)
            self.model = Critic(loaded)
        self.members = blip2.members(self.model, recipe, unused(self.model, self.options))
        trains = blip2.trained(self.members, recipe)
        self._moving = any(name.startswith(TOWER) for name in trains)
        self.views = Views(self.processor, images, self.options.asked(), self.options.augment)
        self.left_out: Counter[str] = Counter()
        self.rows = self._rows(data / DATA if data.is_dir() else data)
        self.features = self._features()

    def _rows(self, path: Path) -> list[tuple[triples.Triple, labels.Label]]:
        rows = []
        for triple in triples.read(path):
            found = labels.of(triple)
            try:
                ids = shown(triple, most=self.options.most)
                text.statement(triple, ids)
                for id in ids:
                    triple.boxes(id)
            except DataError:
                self.left_out["more regions than are drawn, or one without boxes"] += 1
                continue
            self.views.path(triple.image)
            rows.append((triple, found))
        if not rows:
            raise DataError(f"{path}: no labelled triple that can be trained on ({self.left_out})")
        return rows

    def _features(self) -> blip2.Features | None:
        if not self.options.cache_features:
            return None
        if self._moving or self.options.augment != "none" or self.recipe.workers:
            raise UsageError(
                "cache_features keeps what a frozen tower says of unvaried pictures: it needs "
                "`frozen` with 'blip2.vision_model.(embeddings|encoder).*', `options.augment` none "
                "and `workers` 0"
            )
        dtype = torch.bfloat16 if self.recipe.precision == "bf16" else None
        return blip2.Features(self.model.blip2, int(self.options.cache_gib * blip2.GIB), dtype)

    def __len__(self) -> int:
        """Return the number of labelled triples."""
        return len(self.rows)

    def ids(self) -> Sequence[str]:
        """Return their ids."""
        return [triple.id for triple, _ in self.rows]

    def pictures(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield the name and the file of every picture."""
        for name in dict.fromkeys(triple.image for triple, _ in self.rows):
            yield name, self.views.path(name)

    def read(self, place: int, epoch: int) -> dict[str, Any]:
        """Return a triple as pixels (or the tower's output), text and labels."""
        triple, found = self.rows[place]
        draw = lot(self.recipe.seed, epoch, triple.id, "critic")
        ids = shown(triple, self.options.regions, draw, self.options.most)
        said = text.prepared(text.statement(triple, ids), self.options.prefix, self.options.words)
        item = {"text": said, "accept": found.accept, "qa": found.qa_score, "r": found.r_score}
        if self.features is None:
            return item | {"pixel_values": self.views.pixels(triple, ids, draw)}
        key = self.views.key(triple, ids)
        return item | {"features": self.features.get(key, lambda: self.views.pixels(triple, ids))}

    def collate(self, items: Sequence[Any]) -> dict[str, Any]:
        """Return items as one batch."""
        seen = "pixel_values" if self.features is None else "features"
        said = [item["text"] for item in items]
        return {
            seen: torch.stack([item[seen] for item in items]),
            **blip2.tokens(self.model.blip2, self.processor, said, self.options.pieces),
            "accept": torch.tensor([item["accept"] for item in items]),
            "qa": torch.tensor([item["qa"] for item in items], dtype=torch.float32),
            "r": torch.tensor([item["r"] for item in items], dtype=torch.float32),
        }

    def loss(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and its parts."""
        inputs = {name: value for name, value in batch.items() if name not in ("accept", "qa", "r")}
        return loss(model(**inputs), batch["accept"], batch["qa"], batch["r"], self.options)

    def after_step(self) -> None:
        """Do nothing."""

    def export(self, folder: Path) -> None:
        """Write the matching model, how it is asked, and the two heads beside it."""
        from safetensors.torch import save_file

        dtype = export_dtype(self.recipe)
        blip2.save(self.model.blip2, self.processor, folder, self.options.asked(), dtype)
        heads = {
            name: value.detach().cpu().contiguous()
            for name, value in self.model.state_dict().items()
            if not name.startswith("blip2.")
        }
        save_file(heads, folder / HEADS)

    def describe(self) -> dict[str, Any]:
        """Return what run.json says of the data and the model."""
        accepted = sum(found.accept for _, found in self.rows)
        return {
            "triples": len(self.rows),
            "images": len({triple.image for triple, _ in self.rows}),
            "accepted": accepted / len(self.rows),
            "left_out": dict(self.left_out),
            "options": self.options.model_dump(),
            "image_size": self.model.blip2.config.vision_config.image_size,
        }


def unused(model: Critic, options: Options) -> set[str]:
    """Return names of parameters that no part of the loss depends on."""
    out = {f"blip2.{name}" for name in blip2.unreached(model.blip2)}
    weights = {
        "blip2.itm_head.": options.binary_weight,
        "qa_head.": options.qa_weight,
        "r_head.": options.r_weight,
    }
    off = tuple(name for name, weight in weights.items() if not weight)
    return out | {name for name, _ in model.named_parameters() if off and name.startswith(off)}


def make(recipe: ObjectiveRecipe, model: Path | None, data: Path, images: Path | None) -> Training:
    """Return the critic's objective.

    Args:
        recipe: With `Options` as its options.
        model: A Blip2ForImageTextRetrieval.
        data: Labelled triples (`sightline critic labels`), or a folder with train.jsonl.
        images: Folder of the pictures.

    Raises:
        UsageError: There is no model, or settings contradict each other.
        DataError: The model is of another kind, a triple has no labels or no picture.
    """
    if model is None:
        raise UsageError("the critic starts from a BLIP-2 for image-text matching: give --model")
    return Training(recipe, model, data, images)
