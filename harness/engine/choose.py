"""From distributions to an answer: greedy or seeded choice of tokens, and where an answer ends.

The three ways of running a model (packed, batched, one by one) all choose and cut here, so they
can differ in nothing but the numbers that the model computes. May import torch.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Literal

import torch

from harness.types import Decoding

Choose = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""Takes logits (..., vocabulary), whose they are (...) and the step; returns tokens (...)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model made of one path."""

    tokens: tuple[int, ...] = ()
    """Generated, perhaps with some behind the end."""
    logprobs: tuple[float, ...] = ()
    """Of each token of the candidate, natural logarithm."""
    seconds: float = 0.0
    """Its share of the time of its batch."""
    trace: torch.Tensor | None = None
    """Parity check only: (steps, vocabulary) log-probabilities that the tokens were chosen from."""


class Chooser:
    """Chooses next tokens: the likeliest, or a draw that depends on seed and sample id alone.

    A draw takes one number per sample and step from a generator seeded with (seed, id) and reads
    the token off the cumulative distribution, so neither order nor batching changes it.
    """

    def __init__(self, decoding: Decoding, ids: Sequence[str], device: torch.device) -> None:
        self.temperature = decoding.temperature
        # Apple's devices have no float64; elsewhere it keeps rounding from moving a draw.
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        if self.temperature > 0:
            draws = [_draws(decoding.seed, name, decoding.max_tokens) for name in ids]
            self.draws = torch.tensor(draws, dtype=self.dtype).to(device)

    def __call__(self, logits: torch.Tensor, who: torch.Tensor, step: int) -> torch.Tensor:
        """Choose from `logits` (..., vocabulary) for the samples `who` (...), positions in `ids`.

        Padding is whatever sample `who` says; its choice is never read.
        """
        if self.temperature <= 0:
            return logits.argmax(-1)
        heat = (logits.to(self.dtype) / self.temperature).softmax(-1).cumsum(-1)
        mark = (self.draws[who, step] * heat[..., -1]).unsqueeze(-1)
        return torch.searchsorted(heat, mark, right=True).squeeze(-1).clamp_max(heat.shape[-1] - 1)


def _draws(seed: int, name: str, count: int) -> list[float]:
    digest = sha256(f"{seed}\0{name}".encode()).digest()
    random = Random(int.from_bytes(digest[:8]))
    return [random.random() for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Ending:
    """When an answer is over: an end token, a stop string, or the last token allowed."""

    eos: Collection[int]
    stop: tuple[str, ...]
    limit: int
    decode: Callable[[list[int]], str]
    """Tokens to text, special tokens left out."""

    def cut(self, tokens: Sequence[int]) -> tuple[str, int, Literal["end", "length"]] | None:
        """Return (text, tokens that it took, why it ended), or None while it goes on.

        The text ends before the end token or before the first stop string, and has no white space
        around it (as in the official scripts).
        """
        stopped = next((i for i, token in enumerate(tokens) if token in self.eos), None)
        kept = list(tokens[: self.limit if stopped is None else stopped])
        text = self.decode(kept)
        found = [at for at in map(text.find, self.stop) if at >= 0]
        if found:
            taken = next(n for n in range(1, len(kept) + 1) if self._stops(kept[:n]))
            return text[: min(found)].strip(), taken, "end"
        if stopped is not None and stopped < self.limit:
            return text.strip(), stopped + 1, "end"
        return (text.strip(), len(kept), "length") if len(kept) >= self.limit else None

    def _stops(self, tokens: list[int]) -> bool:
        text = self.decode(tokens)
        return any(stop in text for stop in self.stop)
