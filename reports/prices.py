"""What answers cost, from a file of prices that somebody gives; nothing is known of prices here.

    # prices.yaml: a model as its address says it, or the part after the colon, or its last folder
    currency: USD                       # optional
    prices:
      openai:gpt-4.1: {in: 2.00, out: 8.00}          # per million tokens of prompts and of replies
      llava-1.5-7b: {gpu_hour: 2.50}                 # per hour of each accelerator of the run

Token prices need rows that hold token counts; an hour's price takes the wall time of the whole run.
What judging took is not in it (`judging.cost` in run.json). Imports yaml inside.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.errors import UsageError, unknown
from reports._page_read import Run

_KEYS = ("in", "out", "gpu_hour")


@dataclass(frozen=True)
class Cost:
    """What a run cost."""

    total: float
    each: float
    """Of a thousand answers."""
    told: str
    """How it was reckoned."""


@dataclass(frozen=True)
class Prices:
    """A file of prices."""

    name: str
    digest: str
    currency: str
    by_model: Mapping[str, Mapping[str, float]]

    def of(self, run: Run) -> Cost | None:
        """Return what a run cost; None where no price fits it or its record lacks the counts."""
        price = self._price(run.checked.model)
        if price is None:
            return None
        hours, tokens = self._hours(run, price), self._tokens(run, price)
        parts = [part for part in (hours, tokens) if part is not None]
        wanted = ("gpu_hour" in price) + ("in" in price or "out" in price)
        total = run.record.counts["total"]
        if len(parts) < wanted or not parts or not total:
            return None
        cost = sum(cost for cost, _ in parts)
        return Cost(cost, 1000 * cost / total, "; ".join(told for _, told in parts))

    def _price(self, model: str) -> Mapping[str, float] | None:
        after = model.partition(":")[2]
        names = (model, after, after.rstrip("/").rpartition("/")[2])
        return next((self.by_model[name] for name in names if name in self.by_model), None)

    def _tokens(self, run: Run, price: Mapping[str, float]) -> tuple[float, str] | None:
        if "in" not in price and "out" not in price:
            return None
        counts = tokens(run)
        if counts is None:
            return None
        cost = sum(price.get(k, 0.0) * n / 1e6 for k, n in zip(("in", "out"), counts, strict=True))
        return cost, (
            f"{counts[0]:,} tokens in at {price.get('in', 0.0):g}, {counts[1]:,} out at "
            f"{price.get('out', 0.0):g} {self.currency} per million"
        )

    def _hours(self, run: Run, price: Mapping[str, float]) -> tuple[float, str] | None:
        seconds = run.info.get("seconds")
        if "gpu_hour" not in price or not seconds:
            return None
        count = max(1, len(run.info["environment"].get("accelerators") or ()))
        hours = float(seconds) / 3600
        return price["gpu_hour"] * hours * count, (
            f"{hours:.3g} h on {count} accelerator{'s' if count > 1 else ''} at "
            f"{price['gpu_hour']:g} {self.currency} an hour"
        )


def tokens(run: Run) -> tuple[int, int] | None:
    """Return the tokens of all prompts and replies; None where an answer has no count."""
    answers: Sequence[Mapping[str, Any]] = [row["answer"] for row in run.rows if row["answer"]]
    counts = [(a.get("tokens_in"), a.get("tokens_out")) for a in answers]
    if not counts or any(x is None for pair in counts for x in pair):
        return None
    into, out = (sum(int(x) for x in side) for side in zip(*counts, strict=True))
    return into, out


def read(path: Path) -> Prices:
    """Read a file of prices. Raises UsageError with what is wrong in it."""
    yaml = import_module("yaml")  # its types are not installed
    try:
        data = path.read_bytes()
        found = yaml.safe_load(data)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--prices {path}: cannot be read: {error}") from error
    listed = found.get("prices") if isinstance(found, dict) else None
    if not isinstance(listed, dict) or not listed or set(found) - {"prices", "currency"}:
        raise UsageError(
            f"--prices {path}: expected `prices:` with a price for each model, as "
            "`openai:gpt-4.1: {in: 2.0, out: 8.0}`, and perhaps `currency:`"
        )
    prices = {str(model): _checked(path, str(model), price) for model, price in listed.items()}
    currency = str(found.get("currency") or "USD")[:12]
    return Prices(path.name, sha256(data).hexdigest()[:12], currency, prices)


def _checked(path: Path, model: str, price: Any) -> Mapping[str, float]:
    if not isinstance(price, dict) or not price:
        raise UsageError(f"--prices {path}: {model} needs some of {', '.join(_KEYS)}")
    for name, value in price.items():
        if name not in _KEYS:
            raise unknown(f"price of {model}", str(name), list(_KEYS))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise UsageError(f"--prices {path}: {model}.{name} is {value!r}; it must be 0 or more")
    return {name: float(value) for name, value in price.items()}
