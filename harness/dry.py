"""What a run would ask, before it is paid for: samples, images, tokens, and measured time."""

import time
from itertools import islice

from harness.progress import clock
from harness.run import Plan
from harness.types import Answer, Image

_CHARACTERS_PER_TOKEN = 4  # of English; used only until a model has counted


def describe(planned: Plan, measure: int) -> str:
    """Return the plan as text; asks `measure` samples, unrecorded, to learn the speed."""
    task, samples = planned.task, planned.samples
    images = [part for sample in samples for part in sample.prompt if isinstance(part, Image)]
    distinct = {image.name for image in images}
    words = sum(len(p) for s in samples for p in s.prompt if isinstance(p, str))
    candidates = sum(len(sample.choices) for sample in samples)
    decoding = task.decoding
    lines = [
        f"would ask {planned.address} the task {task.name} ({task.source.address})",
        f"samples     {len(samples):,} in {len({s.cluster or s.id for s in samples}):,} clusters",
        f"images      {len(distinct):,} distinct, shown {len(images):,} times",
        f"way         {task.ask}"
        + (f", {candidates:,} candidates" if task.ask == "rank" else "")
        + (f", at most {decoding.max_tokens} new tokens" if task.ask == "generate" else ""),
    ]
    fits = {sample.facts["fit"] for sample in samples if "fit" in sample.facts}
    if fits:
        count = sum(len(fit.train[1]) for fit in fits)
        lines.append(
            f"training    {len(fits)} times, on {count:,} images in all; takes long, not measured"
        )
    if fits or not measure:
        tokens = words // _CHARACTERS_PER_TOKEN
        return "\n".join([*lines, f"text        about {tokens:,} tokens (4 characters each)"])
    return "\n".join([*lines, *_measured(planned, measure, words)])


def _measured(planned: Plan, measure: int, words: int) -> list[str]:
    task, samples = planned.task, planned.samples
    asked = samples[:measure]
    begin = time.monotonic()
    replies = [reply for _, reply in planned.model.answer(asked, task.ask, task.decoding)]
    warm = time.monotonic()  # the first pass loads weights; the second is the speed
    replies += [
        reply for _, reply in islice(planned.model.answer(asked, task.ask, task.decoding), measure)
    ]
    seconds = (time.monotonic() - warm) / len(asked)
    answers = [reply for reply in replies if isinstance(reply, Answer)]
    counted = [a for a in answers if a.tokens_in is not None]
    scale = len(samples) / max(len(counted), 1)
    into = sum(a.tokens_in or 0 for a in counted) * scale
    out = sum(a.tokens_out or 0 for a in counted) * scale
    tokens = (
        f"tokens      about {into:,.0f} in, {out:,.0f} out"
        if counted
        else f"text        about {words // _CHARACTERS_PER_TOKEN:,} tokens (4 characters each)"
    )
    failures = len(replies) - len(answers)
    return [
        tokens,
        f"speed       {1 / max(seconds, 1e-9):,.1f} samples/s, measured on the first {len(asked)} "
        f"(asked twice, not recorded); start-up {clock(warm - begin)}",
        f"time        about {clock(seconds * len(samples))} after start-up",
        *([f"trouble     {failures} of {len(replies)} replies failed"] if failures else []),
    ]
