"""The plain ways to run a model: several requests padded into a batch, or one at a time.

One at a time is the reference that the packed way is measured against; padding is what is left
where an architecture cannot take a tree. May import torch; transformers inside functions.
"""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch

from harness.engine.choose import Chooser, Ending, Outcome
from harness.engine.lm import LM
from harness.engine.plan import Path, scored
from harness.types import Decoding


def generate(
    lm: LM, paths: Sequence[Path], decoding: Decoding, ending: Ending
) -> dict[Path, Outcome]:
    """Continue `paths`, padded on the left, with the model's own `generate`."""
    from transformers import LogitsProcessorList, StoppingCriteriaList

    began = perf_counter()
    inputs = lm.inputs(paths, left=True)
    length = inputs["input_ids"].shape[1]
    pick = _Pick(Chooser(decoding, [path.id for path in paths], lm.device), length)
    with_draws = [pick] if decoding.temperature > 0 else []
    out = lm.model.generate(
        **inputs,
        max_new_tokens=decoding.max_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=lm.pad,
        eos_token_id=sorted(lm.eos) or None,
        logits_processor=LogitsProcessorList(with_draws),
        stopping_criteria=StoppingCriteriaList([_Stop(ending, length)] if ending.stop else []),
    )
    each = (perf_counter() - began) / len(paths)
    lines = out[:, length:].tolist()
    return {p: Outcome(tokens=tuple(t), seconds=each) for p, t in zip(paths, lines, strict=True)}


def rank(lm: LM, paths: Sequence[Path]) -> dict[Path, Outcome]:
    """Return the log-probabilities of each path's candidate, padded on the right."""
    began = perf_counter()
    longest = max(len(path.tokens) for path in paths)
    logits = distributions(lm, paths)
    offset = longest - logits.shape[1]
    out: dict[Path, Outcome] = {}
    for line, path in zip(logits, paths, strict=True):
        at = torch.tensor(scored(path), device=line.device) - offset
        targets = lm.put(torch.tensor(path.tokens[path.start :]))
        values = line[at].float().log_softmax(-1).gather(-1, targets[:, None])[:, 0]
        out[path] = Outcome(logprobs=tuple(values.tolist()))
    each = (perf_counter() - began) / len(paths)
    return {path: Outcome(logprobs=o.logprobs, seconds=each) for path, o in out.items()}


def distributions(lm: LM, paths: Sequence[Path]) -> torch.Tensor:
    """Return logits of the last positions, from the first that any path needs, in one pass."""
    inputs = lm.inputs(paths)
    length = inputs["input_ids"].shape[1]
    count = length - min(path.start - 1 for path in paths)
    logits: torch.Tensor = lm.model(**inputs, use_cache=False, **lm.keep(count)).logits
    return logits[:, -count:]


class _Pick:
    """A logits processor that leaves only the token that the seeded draw takes."""

    def __init__(self, chooser: Chooser, length: int) -> None:
        self.chooser, self.length = chooser, length

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        who = torch.arange(len(ids), device=ids.device)
        taken = self.chooser(scores, who, ids.shape[1] - self.length)
        return torch.full_like(scores, float("-inf")).scatter(-1, taken[:, None], 0.0)


class _Stop:
    """A stopping criterion that knows stop strings the way answers are cut."""

    def __init__(self, ending: Ending, length: int) -> None:
        self.ending, self.length = ending, length

    def __call__(self, ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        lines = ids[:, self.length :].tolist()
        done = [self.ending.cut(line) is not None for line in lines]
        return torch.tensor(done, device=ids.device)
