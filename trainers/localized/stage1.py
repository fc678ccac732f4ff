"""The network of the discriminative student: a BLIP-2 with what its first stage adds to it.

`Blip2ForImageTextRetrieval` has no temperature and no language head. Here they are, around it, with
one forward pass that gives the three losses: queries and text go through the Q-Former once under
the mask of `losses.itg_mask`, which makes the queries' output exactly that of the picture alone, so
that contrast and writing share the pass. The vision tower is frozen; the norm after it trains (as
LAVIS's `ln_vision`). May import torch at the top.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional

from harness.errors import DataError
from trainers.localized import blip2, losses

TEMPERATURE = 0.07
COOLEST = 0.001
"""Ours: a temperature of nothing would divide by it. At the published rate it stays near 0.07."""
HEAD_FILE = "language_head.safetensors"
"""Beside the exported model: what it does not need to score."""
PARTS = ("itc", "itm", "itg")
_NAMES = {
    # ours: of LAVIS's Qformer and of a BERT with its language head
    "dense.weight": "cls.predictions.transform.dense.weight",
    "dense.bias": "cls.predictions.transform.dense.bias",
    "norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "bias": "cls.predictions.bias",
}


class LanguageHead(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """BERT's head for words: dense, GELU, norm; then the word embeddings themselves and a bias."""

    def __init__(self, width: int, vocabulary: int, eps: float, spread: float) -> None:
        """Draw the dense layer with the standard deviation `spread`, as BERT does."""
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        nn.init.normal_(self.dense.weight, std=spread)
        nn.init.zeros_(self.dense.bias)

    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        """Return logits [n, vocabulary] of hidden states [n, width] and the word table."""
        out = self.norm(functional.gelu(self.dense(hidden)))
        return functional.linear(out, words, self.bias)

    def read(self, tensors: Mapping[str, Tensor], what: str) -> None:
        """Take over the weights of our own file, of LAVIS's Q-Former or of a BERT.

        A table of fewer words fills the first rows of the bias. Raises DataError where weights are
        missing or of other shapes.
        """
        found = dict(self.state_dict())
        for ours, theirs in _NAMES.items():
            names = (f"head.{ours}", theirs, f"Qformer.{theirs}")
            tensor = next((tensors[name] for name in names if name in tensors), None)
            if tensor is None:
                raise DataError(f"{what} has no {names[0]} (nor {theirs}): no language head")
            room = found[ours]
            fits = tensor.shape == room.shape or (ours == "bias" and len(tensor) < len(room))
            if not fits:
                raise DataError(
                    f"{what}: {ours} is {list(tensor.shape)}, expected {list(room.shape)}"
                )
            if ours == "bias":
                room = room.clone()
                room[: len(tensor)] = tensor
                tensor = room
            found[ours] = tensor.to(room.dtype)
        self.load_state_dict(found)


class Network(nn.Module):  # type: ignore[misc]
    """A Blip2ForImageTextRetrieval with temperature, language head and the losses of stage 1."""

    def __init__(self, model: Any, start: int, same_image: str, exact: bool, seed: int) -> None:
        """Build around a loaded model.

        Args:
            model: The model, positions already of the size that is trained at.
            start: Token that takes the place of the first when text is written ([DEC]).
            same_image: See `losses.allowed`.
            exact: Compute the Q-Former in float32 under autocast too.
            seed: Of the language head's first weights.
        """
        super().__init__()
        self.blip2 = model
        config = model.config.qformer_config
        words = model.embeddings.word_embeddings.weight
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = LanguageHead(
                config.hidden_size, len(words), config.layer_norm_eps, config.initializer_range
            )
        self.temperature = nn.Parameter(torch.tensor(TEMPERATURE))
        self.start, self.same_image, self.exact = start, same_image, exact

    def tower(self) -> list[str]:
        """Return the names of what never trains: the vision tower but for the norm at its end."""
        tower, norm = "blip2.vision_model.", "blip2.vision_model.post_layernorm."
        return [
            name for name, _ in self.named_parameters()
            if name.startswith(tower) and not name.startswith(norm)
        ]  # fmt: skip

    def train(self, mode: bool = True) -> "Network":
        """Set the mode; the frozen tower stays in evaluation mode, as LAVIS keeps it."""
        super().train(mode)
        self.blip2.vision_model.eval()
        return self

    def activation_checkpointing_enable(self, **how: Any) -> None:
        """Keep fewer activations of the Q-Former; the tower keeps none as it is."""
        self.blip2.qformer.activation_checkpointing_enable(**how)

    def seen(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the frozen tower's output [batch, patches + 1, width]: kept, or of pixels."""
        if "hidden" in batch:
            return batch["hidden"]
        with torch.no_grad():
            return blip2.before_norm(self.blip2, batch["pixels"])

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses by name, each [this process's sum, the sum and the count of all].

        The first has a gradient; the other two are numbers of all processes together.

        Args:
            batch: `pixels` [b, 3, side, side] or `hidden` [b, patches + 1, width]; `ids` and
                `mask` [b, length], the text; `picture` [b], a number per picture; `draws` [b, 2],
                uniform numbers that choose the negatives.
        """
        hidden = self.seen(batch)
        exact = torch.autocast(hidden.device.type, enabled=False) if self.exact else nullcontext()
        with exact:
            found = self._losses(hidden, batch)
        return {name: spread(total, count) for name, (total, count) in found.items()}

    def features(self, hidden: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return unit features of queries [b, q, d] and texts [b, d], and hidden text states.

        The states [b, length, width] are those of the text behind the start token, written while
        looking at the queries.
        """
        model = self.blip2
        queries = model.query_tokens.shape[1]
        begun = ids.clone()
        begun[:, 0] = self.start
        see = losses.itg_mask(queries, mask)
        image = blip2.normed(model, hidden)
        out = blip2.together(model, image, begun, see, exact=self.exact)
        shown = model.vision_projection(out[:, :queries])
        said = model.qformer(
            query_embeds=model.embeddings(input_ids=ids), query_length=0, attention_mask=mask
        ).last_hidden_state[:, 0]
        told = model.text_projection(said)
        return (
            functional.normalize(shown, dim=-1),
            functional.normalize(told, dim=-1),
            out[:, queries:],
        )

    def _losses(self, hidden: Tensor, batch: Mapping[str, Tensor]) -> dict[str, losses.Summed]:
        ids, mask = batch["ids"], batch["mask"]
        images, texts, states = self.features(hidden, ids, mask)
        globe = losses.Globe(everywhere(images.detach()), everywhere(texts.detach()),
                             everywhere(batch["picture"]), rank() * len(ids))  # fmt: skip
        may = losses.allowed(batch["picture"], globe.pictures, globe.start, self.same_image)
        itc, to_texts, to_images = losses.itc(images, texts, globe, self.temperature, may)
        places, targets = losses.next_words(ids, mask)
        words = self.blip2.embeddings.word_embeddings.weight
        itg = losses.written(self.head(states[:, :-1][places], words), targets)
        chosen = (losses.hard(to_images, may, batch["draws"][:, 0]),
                  losses.hard(to_texts, may, batch["draws"][:, 1]))  # fmt: skip
        return {"itc": itc, "itm": self._matching(hidden, ids, mask, chosen), "itg": itg}

    def _matching(
        self, hidden: Tensor, ids: Tensor, mask: Tensor,
        chosen: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> losses.Summed:  # fmt: skip
        """Return the loss of each pair, each text with a near image, each image with a near text.

        What is gathered has no gradient; the norm after the tower is applied to it here, so that
        its gradient is whole.
        """
        (image_at, image_real), (text_at, text_real) = chosen
        length = everywhere_longest(ids.shape[1])
        every_ids = everywhere(functional.pad(ids, (0, length - ids.shape[1])))
        every_mask = everywhere(functional.pad(mask, (0, length - mask.shape[1])))
        ids = functional.pad(ids, (0, length - ids.shape[1]))
        mask = functional.pad(mask, (0, length - mask.shape[1]))
        image = blip2.normed(self.blip2, hidden)
        near = blip2.normed(self.blip2, everywhere(hidden)[image_at])
        out = blip2.together(
            self.blip2,
            torch.cat([image, near, image]),
            torch.cat([ids, ids, every_ids[text_at]]),
            torch.cat([mask, mask, every_mask[text_at]]),
            exact=self.exact,
        )
        real = torch.cat([torch.ones_like(image_real), image_real, text_real])
        return losses.itm(blip2.matching(self.blip2, out), real)


def rank() -> int:
    """Return this process's number; 0 where there is one process."""
    return torch.distributed.get_rank() if world() > 1 else 0


def world() -> int:
    """Return the number of processes."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


def everywhere(tensor: Tensor) -> Tensor:
    """Return the rows of all processes in the order of ranks, without gradient.

    All processes must have as many rows.
    """
    if world() == 1:
        return tensor
    tensor = tensor.detach().contiguous()
    parts = [torch.empty_like(tensor) for _ in range(world())]
    torch.distributed.all_gather(parts, tensor)
    return torch.cat(parts)


def spread(total: Tensor, count: Tensor) -> Tensor:
    """Return [a loss's sum in this process, with gradient; its sum and its count in all]."""
    return torch.stack([total, everywhere_sum(total), everywhere_sum(count)])


def everywhere_sum(number: Tensor) -> Tensor:
    """Return the sum of a number over all processes."""
    if world() == 1:
        return number.detach()
    total = number.detach().clone()
    torch.distributed.all_reduce(total)
    return total


def everywhere_longest(length: int) -> int:
    """Return the largest of a length over all processes."""
    if world() == 1:
        return length
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    found = torch.tensor(length, device=device)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return int(found)


def head_of(source: Path) -> dict[str, Tensor]:
    """Return the tensors of a file with a language head. Raises DataError when it is none."""
    try:
        if source.suffix == ".safetensors":
            from safetensors.torch import load

            return dict(load(source.read_bytes()))
        found = torch.load(source, map_location="cpu", weights_only=True)
        found = found.get("model", found)
        return {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}
    except Exception as error:  # safetensors and pickle have a kind for every fault
        raise DataError(f"{source}: no weights of a language head ({error})") from error
