"""What judging may cost: prices, a limit that is never passed, and estimates before it starts.

A call is made only when the worst it could cost still fits: the prompt's tokens are at most its
bytes (no tokenizer makes more than one token of a byte) plus what a chat template adds, and the
reply has at most max_tokens. What a call really took replaces the worst once its reply tells; a
call without a reply keeps the worst, because a server may bill it. Money is in the currency of the
prices. Imports the standard library, harness.errors and harness.types.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.types import Decoding, Sample

_TEMPLATE = 64
"""Tokens that a chat template may add around two messages."""
_CHARACTERS_PER_TOKEN = 4  # of English; for expectations, never for limits
_MILLION = 1_000_000


@dataclass(frozen=True)
class Budget:
    """Limits and prices of one judging; None: no limit, or unknown."""

    money: float | None = None
    tokens: int | None = None
    """In and out together."""
    price_in: float | None = None
    """Per million tokens of the prompt."""
    price_out: float | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for a limit that cannot be kept."""
        for name in ("money", "tokens", "price_in", "price_out"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"a budget or price must be 0 or more, found {value}")
        if (self.price_in is None) != (self.price_out is None):
            raise UsageError("prices come in pairs: give --price-in and --price-out")
        if self.money is not None and self.price_in is None:
            raise UsageError(
                "--budget is in money, so it needs what a million tokens cost: --price-in and "
                "--price-out; --token-budget needs no prices"
            )

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.money is not None or self.tokens is not None

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """Return what tokens cost; None without prices."""
        if self.price_in is None or self.price_out is None:
            return None
        return (tokens_in * self.price_in + tokens_out * self.price_out) / _MILLION


def worst(sample: Sample, decoding: Decoding) -> tuple[int, int]:
    """Return the most tokens that one call can take, in and out."""
    text = sample.system + "".join(part for part in sample.prompt if isinstance(part, str))
    return len(text.encode("utf-8", "replace")) + _TEMPLATE, decoding.max_tokens


@dataclass
class Ledger:
    """What was spent. Calls that told no count of tokens are entered apart, at their worst."""

    budget: Budget
    tokens_in: int = 0
    tokens_out: int = 0
    worst_in: int = 0
    worst_out: int = 0
    calls: int = 0
    calls_at_worst: int = 0

    def enter(self, line: Mapping[str, Any]) -> None:
        """Count a line of verdicts.jsonl; what came from the cache costs nothing."""
        if line["cached"]:
            return
        self.calls += 1
        if line["tokens_in"] is None or line["tokens_out"] is None:
            self.calls_at_worst += 1
            self.worst_in += line["worst"][0]
            self.worst_out += line["worst"][1]
        else:
            self.tokens_in += line["tokens_in"]
            self.tokens_out += line["tokens_out"]

    def summary(self) -> dict[str, Any]:
        """Return what the record keeps: tokens that were told, and their price."""
        cost = self.budget.cost(self.tokens_in, self.tokens_out)
        return {
            "calls": self.calls,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost": None if cost is None else round(cost, 6),
            "prices": {"in": self.budget.price_in, "out": self.budget.price_out},
            "without_count": {
                "calls": self.calls_at_worst,
                "tokens_at_most": self.worst_in + self.worst_out,
            },
        }

    def admits(self, calls: Sequence[tuple[int, int]]) -> int:
        """Return how many of the next calls can be made, whatever they turn out to take."""
        if not self.budget.limited:
            return len(calls)
        into, out = self.tokens_in + self.worst_in, self.tokens_out + self.worst_out
        for number, call in enumerate(calls):
            into, out = into + call[0], out + call[1]
            cost = self.budget.cost(into, out)
            over_money = self.budget.money is not None and (cost or 0.0) > self.budget.money
            over_tokens = self.budget.tokens is not None and into + out > self.budget.tokens
            if over_money or over_tokens:
                return number
        return len(calls)

    def refusal(self, call: tuple[int, int]) -> str:
        """Say why the next call is not made."""
        into, out = self.tokens_in + self.worst_in, self.tokens_out + self.worst_out
        limits = [f"{self.budget.money:.4f}"] if self.budget.money is not None else []
        limits += [f"{self.budget.tokens:,} tokens"] if self.budget.tokens is not None else []
        return (
            f"the budget ({' and '.join(limits)}) is used up: spent {self._words(into, out)}; the "
            f"next verdict could take up to {self._words(*call)}"
        )

    def _words(self, into: int, out: int) -> str:
        cost = self.budget.cost(into, out)
        return f"{into + out:,} tokens" + ("" if cost is None else f" ({cost:.4f})")


def estimate(
    calls: Iterable[tuple[Sample, Decoding]], budget: Budget, *, guessed: bool = False
) -> list[str]:
    """Return lines for people: how many verdicts, their tokens, what they may cost.

    `guessed`: the answers in the prompts are stand-ins for answers that are not there yet.
    """
    number = into = limit = most_in = 0
    for sample, decoding in calls:
        number += 1
        characters = sum(len(part) for part in sample.prompt if isinstance(part, str))
        into += (len(sample.system) + characters) // _CHARACTERS_PER_TOKEN
        most_in += worst(sample, decoding)[0]
        limit += decoding.max_tokens
    note = "; answers taken to be as long as the gold ones" if guessed else ""
    lines = [
        f"verdicts    {number:,} to ask, about {into:,} tokens in, at most {limit:,} out "
        f"({_CHARACTERS_PER_TOKEN} characters each{note})"
    ]
    cost, most = budget.cost(into, limit), budget.cost(most_in, limit)
    if cost is None:
        lines.append("price       unknown: give --price-in and --price-out (per million tokens)")
    else:
        lines.append(f"price       about {cost:.4f} when every reply is as long as it may be")
        if budget.money is not None and most is not None and most > budget.money:
            lines.append(
                f"budget      {budget.money:.4f} may not be enough; the worst is {most:.4f}"
            )
    return lines
