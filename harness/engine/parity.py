"""Is the packed way the same as one by one, for this model? Asked before it is used.

A few real requests are continued by three tokens, packed with decoys behind the same image, and
the distributions that the tokens came from are compared with a plain forward pass over each
request alone, given the same tokens. A model that ignores the tree mask, or reads positions in its
own way, differs by whole units; rounding differs by about the same as padding a request does,
which is measured beside it. May import torch.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from harness.engine import batch, packed, plan
from harness.engine.choose import Ending
from harness.engine.lm import LM
from harness.engine.plan import Path

STEPS = 3
FLOOR = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}
"""Differences of log-probabilities that rounding explains, by dtype, whatever padding does."""
CEILING = {torch.float32: 1e-2, torch.float16: 0.3, torch.bfloat16: 0.6}
TOP = 20
"""Tokens per distribution that are compared: those that an answer could be made of."""


@dataclass(frozen=True, slots=True)
class Parity:
    """The result of one check; differences are in natural log-probability."""

    passed: bool
    worst: float
    bound: float
    noise: float
    """What padding the same requests changes."""
    requests: int

    def facts(self) -> dict[str, Any]:
        """Return it for the record."""
        return asdict(self)


def choose(paths: Sequence[Path]) -> list[Path]:
    """Take up to two requests from each of the first two groups, as prompts to continue."""
    groups: dict[object, dict[tuple[int, ...], Path]] = {}
    for path in paths:
        prompt = path.tokens[: path.start]
        group = groups.setdefault((id(path.vision), prompt[: path.head]), {})
        if path.packable and len(group) < 2:
            group.setdefault(prompt, _with(path, prompt))
    return [path for group in list(groups.values())[:2] for path in group.values()]


def check(lm: LM, paths: Sequence[Path]) -> Parity:
    """Compare packed with one by one on `paths` (from `choose`)."""
    decoys = [_decoy(path) for path in paths]
    rows = list(plan.rows([*paths, *decoys], STEPS, 10**9))
    # The same tokens are forced on both sides, taken from the prompt: the model's own might be
    # an image token, which no forward pass accepts without an image.
    words = {path: _words(path) for row in rows for path in row.paths}
    table = lm.put(torch.tensor([words[path] for row in rows for path in row.paths]))
    ending = Ending(frozenset(), (), STEPS, lambda _: "")
    found = packed.generate(lm, rows, lambda _, who, step: table[who, step], ending, trace=True)
    worst = noise = 0.0
    for path in paths:
        trace = found[path].trace
        assert trace is not None
        forced = _with(path, path.tokens + words[path][: STEPS - 1])
        alone = _logprobs(lm, [forced])
        longer = _with(forced, forced.tokens + forced.tokens[forced.head :])
        beside = _logprobs(lm, [forced, longer])
        near = alone.topk(min(TOP, alone.shape[-1]), dim=-1).indices
        worst = max(worst, _difference(trace, alone, near))
        noise = max(noise, _difference(beside, alone, near))
    floor, ceiling = FLOOR.get(lm.dtype, 0.1), CEILING.get(lm.dtype, 0.6)
    bound = min(max(floor, 4 * noise), ceiling)
    return Parity(worst <= bound, worst, bound, noise, len(paths))


def _words(path: Path) -> tuple[int, ...]:
    """Return STEPS tokens that may follow `path`: those of its own question, again and again."""
    tail = path.tokens[path.head :]
    return (tail * STEPS)[:STEPS]


def _logprobs(lm: LM, paths: Sequence[Path]) -> torch.Tensor:
    """Return the first path's log-probabilities, (steps, vocabulary), on the CPU."""
    logits = batch.distributions(lm, paths)[0, :STEPS]
    return logits.float().log_softmax(-1).cpu()


def _difference(a: torch.Tensor, b: torch.Tensor, near: torch.Tensor) -> float:
    gap = (a.gather(-1, near) - b.gather(-1, near)).abs().max()
    return float(gap) if torch.isfinite(gap) else float("inf")


def _with(path: Path, tokens: tuple[int, ...]) -> Path:
    """Return `path` as a prompt to continue, over other `tokens` behind its images."""
    extras = {
        key: (*values, *[0] * len(tokens))[: len(tokens)] for key, values in path.extras.items()
    }
    return replace(
        path, choice=-1, tokens=tokens, start=min(path.start, len(tokens)), extras=extras
    )


def _decoy(path: Path) -> Path:
    """Return another request behind the same images, so that there is something not to look at."""
    tail = path.tokens[path.head :]
    other = _with(path, path.tokens[: path.head] + tail[::-1] + tail)
    return replace(other, start=len(other.tokens))
