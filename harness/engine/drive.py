"""Runs groups of requests through a model: packed where that is the same, plain where it is not.

Order of ways: packed -> batched -> single. Before the first packed batch of a kind (with and
without images) parity is checked; what fails falls back, and the record says why. When memory
runs out, the token budget is halved and the failed part is done again. May import torch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from harness.engine import batch, packed, parity, plan
from harness.engine.cache import is_out_of_memory
from harness.engine.choose import Chooser, Ending, Outcome
from harness.engine.inputs import Group
from harness.engine.lm import LM
from harness.engine.plan import Path, Row
from harness.errors import RunStopped
from harness.types import Decoding

NEXT = {"packed": "batched", "batched": "single"}
LOOKAHEAD = 4
"""Groups are planned together until they hold this many batches, so that like sizes meet."""
UNPACKED = "some are not packed: no text behind the images, or too long for the attention window"
VISION_BYTES = 2**30
"""Image tensors that may wait for that."""

Result = tuple[Path, Outcome | str]
"""What became of a path, or the reason why nothing did."""


@dataclass(frozen=True, slots=True)
class Job:
    """How all requests of one call are asked."""

    rank: bool
    decoding: Decoding
    ending: Ending

    @property
    def new(self) -> int:
        """Return how many tokens each request may add to the cache."""
        return 0 if self.rank else self.decoding.max_tokens - 1


@dataclass
class Engine:
    """A loaded model and what was learnt about running it."""

    lm: LM
    engine: str
    """auto, packed, batched or single: what the user asked for."""
    budget: int
    """Tokens in one forward pass."""
    attention: str
    ways: dict[str, str] = field(default_factory=dict)
    """For requests with `images` and with `text` alone: the way that is used."""
    parity: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Why a way was left; each reason once."""
    out_of_memory: int = 0

    def facts(self) -> dict[str, Any]:
        """Return what the record says about the engine."""
        return {
            "engine": self.engine,
            "ways": dict(self.ways),
            "parity": dict(self.parity),
            "fallbacks": list(self.notes),
            "out_of_memory": self.out_of_memory,
            "batch_tokens": self.budget,
        }

    def run(self, groups: Iterable[Group], job: Job) -> Iterator[Result | tuple[int, str]]:
        """Yield each path's result, and (position, reason) for samples that have no path."""
        for window in self._windows(groups, job):
            for group in window:
                yield from group.errors.items()
            paths = [path for group in window for path in group.paths]
            for kind in ("images", "text"):
                some = [path for path in paths if (path.vision is not None) == (kind == "images")]
                yield from self._kind(kind, some, job)

    def _windows(self, groups: Iterable[Group], job: Job) -> Iterator[list[Group]]:
        window: list[Group] = []
        tokens = size = 0
        for group in groups:
            window.append(group)
            tokens += max((len(path.tokens) for path in group.paths), default=0)
            tokens += sum(len(p.tokens) - p.head + job.new for p in group.paths)
            visions = {id(p.vision): p.vision.bytes for p in group.paths if p.vision}
            size += sum(visions.values())
            if tokens >= LOOKAHEAD * self.budget or size >= VISION_BYTES:
                yield window
                window, tokens, size = [], 0, 0
        if window:
            yield window

    def _kind(self, kind: str, paths: Sequence[Path], job: Job) -> Iterator[Result]:
        fit: list[Path] = []
        for path in paths:
            if self.lm.longest is not None and len(path.tokens) > self.lm.longest:
                found = f"{len(path.tokens)} tokens; the model reads at most {self.lm.longest}"
                yield path, f"the prompt has {found}"
            else:
                fit.append(path)
        if not fit:
            return
        way = self.ways.get(kind) or self._settle(kind, fit, job)
        if way == "packed":
            rest = [path for path in fit if not self._packs(path, job)]
            if rest:
                self._note(f"{kind}: {UNPACKED}")
                yield from self._run("batched", rest, job, self.budget)
            fit = [path for path in fit if self._packs(path, job)]
        yield from self._run(way, fit, job, self.budget)

    def _packs(self, path: Path, job: Job) -> bool:
        """Return whether a tree can hold `path`: a mask of ours knows no attention window."""
        window, new = self.lm.window, max(job.new, parity.STEPS)
        return path.packable and (window is None or len(path.tokens) + new <= window)

    def _settle(self, kind: str, paths: Sequence[Path], job: Job) -> str:
        """Decide, once per kind, which way is used from now on."""
        if self.engine in ("batched", "single"):
            self.ways[kind] = self.engine
            return self.engine
        probe = parity.choose([path for path in paths if self._packs(path, job)])
        reason = self._unfit()
        if reason is None and not probe:
            self._note(f"{kind}: {UNPACKED}")
            return "batched"  # decided for good when something can be packed
        if reason is None:
            reason = self._measure(kind, probe)
        self.ways[kind] = "batched" if reason else "packed"
        if reason:
            if self.engine == "packed":
                raise RunStopped(f"engine=packed cannot be used: {reason}; engine=auto falls back")
            self._note(f"{kind}: not packed: {reason}")
        return self.ways[kind]

    def _unfit(self) -> str | None:
        """Return why the architecture cannot be packed, as far as that shows without running."""
        if self.attention not in ("sdpa", "eager"):
            return f"attention '{self.attention}' takes no tree mask (sdpa and eager do)"
        missing = [n for n in ("position_ids", "past_key_values") if not self.lm.takes(n)]
        return f"the model's forward pass has no {' and no '.join(missing)}" if missing else None

    def _measure(self, kind: str, probe: Sequence[Path]) -> str | None:
        """Check parity on `probe`; return why the packed way is not the same, or None."""
        try:
            with torch.inference_mode():
                result = parity.check(self.lm, probe)
        except Exception as caught:  # any error means that this architecture cannot do it
            if _is_fatal(caught):
                raise
            error = caught.with_traceback(None)
        else:
            self.parity[kind] = result.facts()
            if result.passed:
                return None
            worst, bound = result.worst, result.bound
            return f"answers differ from one by one by {worst:.3g} (bound {bound:.3g})"
        if is_out_of_memory(error) and len(probe) > 1:
            self._forget()
            return self._measure(kind, probe[: len(probe) // 2])
        return f"{type(error).__name__}: {_brief(error)}"

    def _forget(self) -> None:
        """Count that memory ran out, and give back what the failed pass held."""
        self.out_of_memory += 1
        if self.lm.device.type == "cuda":
            torch.cuda.empty_cache()

    def _run(self, way: str, paths: Sequence[Path], job: Job, budget: int) -> Iterator[Result]:
        for part in self._plan(way, paths, job, budget):
            some = [p for item in part for p in (item.paths if isinstance(item, Row) else [item])]
            error: Exception | None = None
            try:
                with torch.inference_mode():
                    found = self._call(way, part, job)
            except Exception as caught:
                if _is_fatal(caught):
                    raise
                # Its traceback would keep the tensors of the failed pass alive.
                error = caught.with_traceback(None)
            if error is None:
                yield from found.items()
            else:
                yield from self._again(way, some, job, min(budget, _cost(way, part, job)), error)

    def _again(
        self, way: str, paths: list[Path], job: Job, used: int, error: Exception
    ) -> Iterator[Result]:
        """Do `paths` in smaller parts after running out of memory, else in the next way.

        `used` is how many tokens the failed pass had.
        """
        if is_out_of_memory(error):
            self._forget()
            if len(paths) > 1:
                half = max(1, used // 2)
                self.budget = min(self.budget, half)
                yield from self._run(way, paths, job, half)
                return
            reason = "the device is out of memory for this request alone"
            yield paths[0], f"{reason} ({len(paths[0].tokens)} tokens): {_brief(error)}"
        elif way in NEXT:
            self._note(f"{way} failed with {type(error).__name__}: {_brief(error)}")
            yield from self._run(NEXT[way], paths, job, self.budget)
        else:
            yield from ((path, f"{type(error).__name__}: {_brief(error)}") for path in paths)

    def _plan(
        self, way: str, paths: Sequence[Path], job: Job, budget: int
    ) -> Iterator[Sequence[Row] | Sequence[Path]]:
        if way == "packed":
            rows = list(plan.rows(paths, job.new, budget))
            yield from plan.batches(rows, job.new, budget)
        elif way == "batched":
            yield from plan.plain(paths, job.new, budget)
        else:
            yield from ([path] for path in paths)

    def _call(self, way: str, part: Sequence[Any], job: Job) -> dict[Path, Outcome]:
        if way == "packed":
            if job.rank:
                return packed.rank(self.lm, part)
            names = [path.id for row in part for path in row.paths]
            choose = Chooser(job.decoding, names, self.lm.device)
            return packed.generate(self.lm, part, choose, job.ending)
        if job.rank:
            return batch.rank(self.lm, part)
        return batch.generate(self.lm, part, job.decoding, job.ending)

    def _note(self, reason: str) -> None:
        if reason not in self.notes:
            self.notes.append(reason)


def _cost(way: str, part: Sequence[Any], job: Job) -> int:
    return (plan.packed_cost if way == "packed" else plan.plain_cost)(part, job.new)


def _brief(error: BaseException) -> str:
    """Return the first line of what `error` says, shortened: it goes into a record."""
    return (str(error).strip().splitlines() or [""])[0][:300]


def _is_fatal(error: Exception) -> bool:
    """Return whether the device itself is lost, so that nothing after this can succeed."""
    return not is_out_of_memory(error) and (
        type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)
    )
