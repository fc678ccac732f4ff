"""What a gate can and cannot see, before anything is spent.

For each task: items, clusters, how much two runs differ item by item (from runs of other models on
the same items where there are any, else a stated guess), the loss that would be found four times
out of five, the chance of UNDECIDED although nothing changed, and what asking costs. Reads records.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.paired import detectable
from reports.comparable import Run
from reports.compare import Comparison, compare
from reports.gate.config import Config, TaskConfig
from reports.table import printable

GUESSED_DISCORDANCE = 0.10
GUESSED_ICC = 0.05
NOISE_SHARE = 0.5
"""Of the variance between two models' answers, the part that repeats would average away when
answers are sampled; assumed, for the forecast of what repeats buy."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """One task before it is run."""

    task: str
    tier: str
    items: int
    clusters: int
    source: str
    """Where the expected differences come from."""
    discordance: float
    error: float
    mde: float
    margin: float
    undecided: float
    """Chance of UNDECIDED (critical) although nothing changed."""
    items_needed: int
    """For a chance of at most 5 %, if more items were like these."""
    margin_needed: float
    repeats: int | None
    """For the same, of baseline and candidate each; None: repeats cannot do it."""
    noise: float
    """Share of the variance that repeats average away."""
    noise_measured: int
    """On how many repeats of the baseline it was measured; 0: it is assumed."""
    calls: int
    tokens: int | None
    seconds: float | None
    money: float | None


def forecast(
    config: Config,
    base: Mapping[str, Run],
    history: Sequence[Run] = (),
    *,
    price_in: float = 0.0,
    price_out: float = 0.0,
) -> list[Forecast]:
    """Return what to expect of each gated task; prices are per million tokens."""
    tasks = config.tasks if config.tasks is not None else {task: TaskConfig() for task in base}
    return [
        _task(config, how, base[task], [r for r in history if r.task == task], price_in, price_out)
        for task, how in tasks.items()
        if task in base
    ]


def _task(
    config: Config,
    how: TaskConfig,
    base: Run,
    others: Sequence[Run],
    price_in: float,
    price_out: float,
) -> Forecast:
    known, base = base, base.each[0]
    singles = [run for other in others for run in other.each]
    found = [c for c in (_compared(base, other, how) for other in singles) if c is not None]
    measured = [c for c in found if c.headline.change and c.headline.change.error > 0]
    sizes = _sizes(base)
    if measured:
        one = max(measured, key=lambda c: c.headline.change.error if c.headline.change else 0)
        assert one.headline.change
        error = one.headline.change.error
        discordance = (len(one.lost) + len(one.won)) / one.shared
        source = f"measured against {one.cand.model}"
    else:
        discordance = GUESSED_DISCORDANCE
        error = 100 * guessed_error(sizes)
        source = f"guessed: {discordance:.0%} of items change, ICC {GUESSED_ICC:g}"
    margin = config.margin if how.margin is None else how.margin
    alpha = config.alpha / config.looks
    enough = _error_for(margin, alpha)
    factor = (error / enough) ** 2 if enough else math.inf
    noise, of = _noise(known, how, error)
    tokens_in, tokens_out, seconds = (
        _total(base, name) for name in ("tokens_in", "tokens_out", "seconds")
    )
    counted = tokens_in is not None and tokens_out is not None
    n = len(base.rows)
    return Forecast(
        base.task, how.tier, n, len(sizes), source, discordance, error,
        detectable(error, alpha), margin, undecided_chance(error, margin, alpha),
        math.ceil(n * factor) if math.isfinite(factor) else 0, _margin_for(error, alpha),
        _repeats(noise, factor), noise, of, n,
        int((tokens_in or 0) + (tokens_out or 0)) if counted else None,
        base.head.get("seconds") if seconds is None else seconds,
        ((tokens_in or 0) * price_in + (tokens_out or 0) * price_out) / 1e6
        if counted and (price_in or price_out) else None,
    )  # fmt: skip


def _compared(base: Run, other: Run, how: TaskConfig) -> Comparison | None:
    from harness.errors import DataError

    try:
        return compare(base, other, metric=how.metric, allow=("preprocessing",))
    except DataError:
        return None  # a run of other items says nothing of these


def _sizes(run: Run) -> list[int]:
    sizes: dict[str, int] = {}
    for row in run.rows:
        sizes[row["cluster"]] = sizes.get(row["cluster"], 0) + 1
    return list(sizes.values())


def guessed_error(
    sizes: Sequence[int], discordance: float = GUESSED_DISCORDANCE, icc: float = GUESSED_ICC
) -> float:
    """Return the clustered standard error of a mean paired difference of 0/1 scores."""
    n = sum(sizes)
    effective = sum(size * size for size in sizes) / n
    return math.sqrt(discordance * (1 + (effective - 1) * icc) / n)


def undecided_chance(error: float, margin: float, alpha: float) -> float:
    """Return the chance that the bound of an unchanged task does not reach its margin."""
    from scipy.special import ndtr, ndtri

    if not error:
        return 0.0
    return float(ndtr(float(ndtri(1 - alpha)) - margin / error))


def _error_for(margin: float, alpha: float) -> float:
    from scipy.special import ndtri

    return margin / (float(ndtri(1 - alpha)) + float(ndtri(0.95)))


def _margin_for(error: float, alpha: float) -> float:
    from scipy.special import ndtri

    return error * (float(ndtri(1 - alpha)) + float(ndtri(0.95)))


def _noise(base: Run, how: TaskConfig, error: float) -> tuple[float, int]:
    """Return the share of the variance of a difference that is noise of sampling, and its source.

    Two runs of one model differ by nothing else, so repeats of the baseline measure it; without
    them it is assumed, where answers are sampled at all.
    """
    pairs = [_compared(a, b, how) for a, b in zip(base.repeats, base.repeats[1:], strict=False)]
    errors = [c.headline.change.error for c in pairs if c and c.headline.change]
    if errors and error:
        mean = sum(e * e for e in errors) / len(errors)
        return min(1.0, mean / error**2), len(base.repeats)
    sampled = base.head["task"]["decoding"]["temperature"]
    return (NOISE_SHARE if sampled else 0.0), 0


def _repeats(noise: float, factor: float) -> int | None:
    """Return how many repeats would do; None where none would."""
    if factor <= 1:
        return 1
    left = 1 / factor - (1 - noise)  # what remains after R repeats: 1 - s + s/R
    return math.ceil(noise / left - 1e-9) if left > 0 else None


def _total(run: Run, name: str) -> float | None:
    values = [(row["answer"] or {}).get(name) for row in run.rows]
    known = [value for value in values if value is not None]
    return sum(known) * len(values) / len(known) if known else None


def text(found: Sequence[Forecast]) -> str:
    """Return forecasts for a terminal."""
    lines = []
    for one in found:
        blind = "" if one.mde <= one.margin else f"  > margin {one.margin:g}: blind to it"
        lines += [
            printable(f"{one.task} ({one.tier})"),
            f"  items {one.items:,} in {one.clusters:,} clusters; {one.discordance:.1%} of items "
            f"change ({printable(one.source)})",
            f"  smallest loss found 4 times out of 5: {one.mde:.2f}{blind}",
            f"  chance of UNDECIDED if critical and nothing changed: {one.undecided:.0%}",
        ]
        if one.undecided > 0.05:
            lines.append(f"  for 5 %: {_cheapest(one)}")
        took = [f"{one.calls:,} calls"]
        took += [f"{one.tokens:,} tokens"] if one.tokens is not None else []
        took += [f"price {one.money:.2f}"] if one.money is not None else []
        took += [f"{one.seconds / 60:.1f} minutes of answers"] if one.seconds is not None else []
        lines.append(f"  one run: {', '.join(took)}")
    return "\n".join(lines)


def _cheapest(one: Forecast) -> str:
    items = f"{one.items_needed:,} items like these" if one.items_needed else "no number of items"
    source = (
        f"measured on the baseline's {one.noise_measured} repeats"
        if one.noise_measured
        else "assumed; bless several runs of the baseline to measure it"
    )
    repeats = (
        f"{one.repeats} runs of each side averaged per item ({one.repeats * one.calls:,} calls of "
        f"the candidate), as {one.noise:.0%} of the variance is noise of sampling ({source})"
        if one.repeats
        else f"repeats do not do it, as {one.noise:.0%} of the variance is noise ({source})"
        if one.noise
        else "repeats buy nothing here"
    )
    return f"a margin of {one.margin_needed:.1f}, or {items}; {repeats}"


def to_plain(found: Sequence[Forecast]) -> list[dict[str, Any]]:
    """Return forecasts as plain data."""
    return [asdict(one) for one in found]
