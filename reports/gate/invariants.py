"""What must hold whatever the mean does: readable, complete, plausible answers of a usual length.

A broken extractor, a server that cuts answers off or a model that says yes to everything can leave
the mean where it was, or raise it. Reads joined rows; imports reports only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.record import Row
from reports.comparable import counted
from reports.compare import Compared, Comparison, right
from reports.gate.config import Config, TaskConfig, condition
from reports.repeats import each

TOO_GOOD_POINTS, TOO_GOOD_ERRORS = 5.0, 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant."""

    name: str
    ok: bool
    told: str
    """What was found and what was allowed."""


def check(found: Comparison, task: TaskConfig, config: Config) -> list[Check]:
    """Check the invariants of one task."""
    both = [pair for pair in found.pairs if counted(pair[0]) and counted(pair[1])]
    base, cand = ([row for pair in both for row in each(pair[side])] for side in (0, 1))
    unparsed = _share(cand, lambda row: row["status"] == "unparsed")
    most = config.limit(task, "parse_fail")
    checks = [
        Check("unparsed", unparsed <= most, f"{unparsed:.2%} of answers, at most {most:.2%}"),
        *_shares(base, cand, task, config),
        *_ratios(base, cand, task, config),
    ]
    return [*checks, *_conditions(found, task)]


def _share(rows: Sequence[Row], of: Callable[[Row], bool]) -> float:
    return sum(map(of, rows)) / len(rows)


def _shares(
    base: Sequence[Row], cand: Sequence[Row], task: TaskConfig, config: Config
) -> Iterator[Check]:
    for name, stop in (("refusals", "refused"), ("truncation", "length")):
        most = config.limit(task, name)

        def stopped(row: Row, stop: str = stop) -> bool:
            return (row["answer"] or {}).get("stop") == stop

        before, after = _share(base, stopped), _share(cand, stopped)
        yield Check(
            name,
            abs(after - before) <= most + 1e-12,
            f"{before:.2%} -> {after:.2%} of answers, may change by {most:.2%}",
        )


def _ratios(
    base: Sequence[Row], cand: Sequence[Row], task: TaskConfig, config: Config
) -> Iterator[Check]:
    def length(row: Row) -> float | None:
        return len((row["answer"] or {}).get("text") or "")

    def took(name: str) -> Callable[[Row], float | None]:
        return lambda row: (row["answer"] or {}).get(name)

    kinds = (("length", length), ("tokens", took("tokens_out")), ("seconds", took("seconds")))
    for name, of in kinds:
        limits = config.limit(task, name)
        if limits is None:
            continue
        before, after = (_mean([of(row) for row in rows]) for rows in (base, cand))
        if before is None or after is None:
            if name != "length":
                yield Check(name, False, f"a run does not say its {name}; it cannot be checked")
            continue
        if not before and not after:
            continue  # rankings have no text
        ratio = after / before if before else float("inf")
        yield Check(
            name,
            limits[0] <= ratio <= limits[1],
            f"{before:.3g} -> {after:.3g} on average, {ratio:.2f} times; allowed "
            f"{limits[0]:g} to {limits[1]:g}",
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _conditions(found: Comparison, task: TaskConfig) -> Iterator[Check]:
    for text in task.also:
        name, low, high = condition(text)
        metrics = named(found.metrics, name)
        if not metrics:
            known = ", ".join(m.name for m in found.metrics)
            yield Check(name, False, f"{found.task} has no metric '{name}'; known: {known}")
        for metric in metrics:
            scale = 100.0 if metric.metric.percent and high <= 1 else 1.0
            value = metric.cand
            yield Check(
                metric.name,
                value is not None and low * scale <= value <= high * scale,
                f"{'no value' if value is None else f'{value:.2f}'}, "
                f"must lie in {low * scale:g} to {high * scale:g}",
            )


def named(metrics: Sequence[Compared], name: str) -> list[Compared]:
    """Return the metric of that name, or all that are it on a part (`random.yes_ratio`)."""
    exact = [metric for metric in metrics if metric.name == name]
    return exact or [metric for metric in metrics if metric.name.endswith(f".{name}")]


def too_good(found: Comparison) -> str:
    """Return why an improvement is not to be believed yet, or nothing."""
    change, metric = found.headline.change, found.headline.metric
    if change is None or not metric.percent:
        return ""
    if change.value <= TOO_GOOD_POINTS or change.value <= TOO_GOOD_ERRORS * change.error:
        return ""
    errors = f"{change.value / change.error:.0f} standard errors" if change.error else "everywhere"
    return (
        f"SUSPICIOUS: {found.headline.name} rose by {change.value:.2f} points, {errors}; a broken "
        "reading of answers raises scores too. Read some answers before believing it"
    )


def must_pass(found: Comparison, ids: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the named items that broke, those without a result, and those that there are not."""
    by_id = {a["id"]: (a, b) for a, b in found.pairs}
    unknown = [id for id in ids if id not in by_id]
    broken, open_ = [], []
    for id in ids:
        if id in by_id:
            a, b = by_id[id]
            if not (counted(a) and counted(b)):
                open_.append(id)
            elif right(a) and right(b) is False:
                broken.append(id)
    return broken, open_, unknown
