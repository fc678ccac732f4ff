"""Asking judges: which calls are due, what they may take, what their words mean.

A bench asks the judges of one case vote by vote and attempt by attempt, from the cache first, then
in waves that the budget surely holds, and hands every line on as it comes. Run folders are the
business of harness/judging.py. Imports harness only.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from harness import fingerprint, verdicts
from harness.errors import RunStopped
from harness.judge_budget import Budget, Ledger, worst
from harness.judge_cache import Cache
from harness.record import Row
from harness.run import Watcher
from harness.types import Answer, Decoding, Failure, Model, Rubric, Sample, Verdict
from harness.verdicts import Line, Slot

_MOVING = ("package", "answers", "extras")
"""What a model tells about itself that does not make it another judge."""
_NEXT_ATTEMPT = 1_000_000
"""Added to the seed of each further attempt: the same seed could give the same words again."""


@dataclass(frozen=True)
class Judge:
    """A model that judges, as it was named."""

    model: Model
    address: str
    options: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(init=False)
    """What makes a verdict comparable, taken before the model has run. A server's port does not."""

    def __post_init__(self) -> None:
        """Take what the model says about itself now."""
        left_out = {*_MOVING, *fingerprint.RUN_FACTS}
        found = {k: v for k, v in self.model.describe().items() if k not in left_out}
        if isinstance(found.get("server"), str):
            found["server"] = urlsplit(found["server"]).hostname
        object.__setattr__(self, "identity", found)


@dataclass(frozen=True)
class Case:
    """Answers to be judged, by whom and how often."""

    rubric: Rubric
    judges: Sequence[Judge]
    """Each gives `repeats` votes to every answer."""
    repeats: int
    seed: int
    samples: Mapping[str, Sample]
    answers: Mapping[str, str]
    """By the sample's id, in the order in which they are asked about."""

    @property
    def votes(self) -> int:
        """Votes per answer."""
        return len(self.judges) * self.repeats

    def slots(self) -> Iterator[Slot]:
        """Yield every asking that makes up the votes, vote by vote."""
        for vote in range(self.votes):
            yield from self.of_vote(vote)

    def of_vote(self, vote: int) -> Iterator[Slot]:
        """Yield the askings of one vote."""
        for name in self.answers:
            for swapped in self.rubric.orders:
                yield name, vote, swapped

    def ask(self, slot: Slot, attempt: int) -> Sample:
        """Return what the judge is asked."""
        name, _, swapped = slot
        return self.rubric.prompt(self.samples[name], self.answers[name], swapped, attempt)


def settled(line: Line | None) -> bool:
    """Whether nothing more will be asked about a slot."""
    return line is not None and bool(line["final"])


class Bench:
    """Asks the judges of one case and hands on what they say."""

    def __init__(
        self,
        case: Case,
        before: Iterable[Line],
        write: Callable[[Row], None],
        *,
        budget: Budget,
        cache: Cache | None = None,
        recall: bool = True,
        watcher: Watcher | None = None,
    ) -> None:
        """Take up what was judged `before`; `recall` off fills the cache without reading it."""
        self.case, self.ledger, self.cache, self.recall = case, Ledger(budget), cache, recall
        self._write, self._watcher = write, watcher
        self.lines: dict[Slot, Line] = {}
        self.heard = False
        """Whether any judge said anything since."""
        for line in before:
            self._note(line)

    def sit(self) -> None:
        """Ask until every slot has its verdict, or a judge's last words. Raises RunStopped."""
        case = self.case
        every = list(case.slots())
        if self._watcher:
            self._watcher.begin(len(every), sum(settled(self.lines.get(slot)) for slot in every))
        try:
            for vote in range(case.votes):
                which, repeat = divmod(vote, case.repeats)
                for attempt, decoding in enumerate(case.rubric.decodings):
                    waiting = [slot for slot in case.of_vote(vote) if self._due(slot, attempt)]
                    seed = case.seed + repeat + _NEXT_ATTEMPT * attempt
                    decoding = replace(decoding, seed=seed)
                    if waiting:
                        self._ask(case.judges[which], waiting, attempt, decoding)
        finally:
            if self._watcher:
                self._watcher.end()

    def _due(self, slot: Slot, attempt: int) -> bool:
        line = self.lines.get(slot)
        if line is None:
            return attempt == 0
        if line["error"]:
            return bool(line["attempt"] == attempt)
        return not settled(line) and line["attempt"] + 1 == attempt

    def _ask(self, judge: Judge, waiting: Sequence[Slot], attempt: int, decoding: Decoding) -> None:
        """Ask one judge in one way about some answers, cheapest first: from the cache."""
        rest: list[tuple[Slot, Sample, str]] = []
        for slot in waiting:
            asked = self.case.ask(slot, attempt)
            key = _key(judge.identity, asked, decoding)
            known = self.cache.get(key) if self.cache and self.recall else None
            if known is None:
                rest.append((slot, asked, key))
                continue
            reply = Answer(
                known["text"], tokens_in=known["tokens_in"], tokens_out=known["tokens_out"]
            )
            self._enter(slot, attempt, reply, (0, 0), cached=True)
        if hasattr(judge.model, "prepare") and rest:
            judge.model.prepare([asked for _, asked, _ in rest])
        calls = [worst(asked, decoding) for _, asked, _ in rest]
        while rest:
            number = self.ledger.admits(calls)
            if not number:
                raise RunStopped(
                    f"{self.ledger.refusal(calls[0])}. Raise it and repeat the command to go on"
                )
            self._wave(judge, rest[:number], attempt, decoding)
            rest, calls = rest[number:], calls[number:]

    def _wave(
        self,
        judge: Judge,
        wave: Sequence[tuple[Slot, Sample, str]],
        attempt: int,
        decoding: Decoding,
    ) -> None:
        """Ask what the budget surely holds, and enter each reply as it comes."""
        open_ = set(range(len(wave)))
        replies = judge.model.answer([asked for _, asked, _ in wave], "generate", decoding)
        with closing(_Closable(replies)):
            for at, reply in replies:
                if at not in open_:
                    raise RunStopped(f"the judge {judge.address} answered position {at} unasked")
                open_.remove(at)
                slot, asked, key = wave[at]
                line = self._enter(slot, attempt, reply, worst(asked, decoding))
                if self.cache and verdicts.readable(line) and not line["sentinel"]:
                    kept = {name: line[name] for name in ("text", "tokens_in", "tokens_out")}
                    self.cache.put(key, kept)
        for at in sorted(open_):
            silent = Failure("the judge gave no reply")
            self._enter(wave[at][0], attempt, silent, worst(wave[at][1], decoding))

    def _enter(
        self,
        slot: Slot,
        attempt: int,
        reply: Answer | Failure,
        most: tuple[int, int],
        *,
        cached: bool = False,
    ) -> Line:
        """Read a reply and append its line."""
        answer = reply if isinstance(reply, Answer) else None
        error = reply.error if isinstance(reply, Failure) else None
        verdict: Verdict | None = None
        rubric = self.case.rubric
        last = attempt + 1 == len(rubric.decodings)
        if answer is not None:
            try:
                verdict = _checked(rubric.read(answer.text, slot[2]))
            except Exception as raised:  # a bug in reading costs a verdict, not the run
                error = f"the rubric {rubric.name} raised {type(raised).__name__}: {raised}"
        sentinel = verdict is None and error is None and last and rubric.sentinel is not None
        verdict = rubric.sentinel if sentinel else verdict
        line: dict[str, Any] = {
            "id": slot[0],
            "vote": slot[1],
            "swapped": slot[2],
            "attempt": attempt,
            "text": answer.text if answer else None,
            "label": verdict.label if verdict else None,
            "score": verdict.score if verdict else None,
            "stats": dict(verdict.stats) if verdict else None,
            "sentinel": sentinel,
            "final": error is None and (verdict is not None or last),
            "error": error,
            "tokens_in": answer.tokens_in if answer else None,
            "tokens_out": answer.tokens_out if answer else None,
            "worst": list(most),
            "seconds": answer.seconds if answer else None,
            "cached": cached,
        }
        self._write(line)
        self._note(line)
        self.heard |= error is None
        if self._watcher and line["final"]:
            status = "unjudged" if verdict is None else "unparsed" if sentinel else "scored"
            self._watcher.row({"status": status, "score": line["score"], "id": slot[0]})
        return line

    def _note(self, line: Line) -> None:
        self.lines[line["id"], line["vote"], line["swapped"]] = line
        self.ledger.enter(line)


def _checked(verdict: Verdict | None) -> Verdict | None:
    """Return a verdict whose numbers are numbers, else None."""
    if verdict is None:
        return None
    numbers = [*verdict.stats.values(), *([] if verdict.score is None else [verdict.score])]
    return verdict if all(math.isfinite(number) for number in numbers) else None


def _key(identity: Mapping[str, Any], asked: Sample, decoding: Decoding) -> str:
    """Hash all that the judge is given; the seed is that of the repeat."""
    prompt = fingerprint.prompt_parts(asked)
    return fingerprint.digest([identity, asked.system, prompt, asdict(decoding)], length=64)


class _Closable:
    """Close a reply generator early, so that requests behind it end."""

    def __init__(self, replies: Any) -> None:
        self.close = getattr(replies, "close", lambda: None)
