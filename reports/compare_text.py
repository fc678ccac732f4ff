"""A comparison for a terminal and as JSON. Nothing in it can steer a terminal. Reads no files."""

import json
from collections.abc import Sequence
from typing import Any

from harness.paired import holm
from reports.comparable import Run
from reports.compare import Compared, Comparison
from reports.table import number, printable

SCHEMA = "sightline.compare/1"
MOST_SHOWN = 12


def adjusted(found: Sequence[Comparison]) -> dict[str, float]:
    """Return the two-sided p of each task's headline after Holm."""
    return holm({c.task: c.headline.change.p for c in found if c.headline.change})


def text(found: Sequence[Comparison], flips: int = 5) -> str:
    """Return comparisons for a terminal."""
    over_tasks = adjusted(found)
    told = [_lines(one, over_tasks.get(one.task), len(over_tasks), flips) for one in found]
    return "\n\n".join("\n".join(lines) for lines in told)


def _lines(one: Comparison, p_holm: float | None, tasks: int, flips: int) -> list[str]:
    lines = [
        printable(f"{one.task}: {one.base.model} -> {one.cand.model}"),
        f"  {one.shared:,} of {one.items:,} items have a result in both runs; no result: "
        f"{one.missing_base:,} in the baseline, {one.missing_cand:,} in the candidate; "
        f"{one.same_text:,} answers are identical",
    ]
    lines += [f"  {one.repeats}"] if one.repeats else []
    lines += [printable(f"  ADVICE ONLY, they differ in {d}") for d in one.differences]
    lines += [printable(f"  note: {d}") for run in (one.base, one.cand) for d in run.doubts]
    width = max(len(m.name) for m in [*one.metrics, *one.slices])
    head = f"  {'':<{width}} {'baseline':>9} {'candidate':>9} {'change':>8}  95 % interval"
    lines.append(head + " " * 7 + "p")
    lines += [_row(m, width, m is one.headline) for m in one.metrics]
    change = one.headline.change
    if change and p_holm is not None and tasks > 1:
        lines.append(f"  headline after Holm over {tasks} tasks: p {_p(p_holm)}")
    if one.worst is not one.headline.change and one.worst and one.best:
        sign = _sign(one.headline)
        lines.append(
            f"  headline if all missing results went badly: {sign * one.worst.value:+.2f}; "
            f"if they went well: {sign * one.best.value:+.2f}"
        )
    elif not one.bounded:
        lines.append("  nobody can say what the missing results would have made of the headline")
    if one.slices:
        shown = _clearest(one)
        more = len(one.slices) - len(shown)
        some = f", the {len(shown)} clearest of {len(one.slices)}; --json has all" if more else ""
        lines.append(f"  slices (p after Benjamini-Hochberg{some})")
        lines += [_row(s, width, False, one.slices_p.get(s.name)) for s in shown]
    lines.append(f"  right -> wrong {len(one.lost):,}, wrong -> right {len(one.won):,}")
    named = ", ".join(ids[0] for ids in one.lost[:flips])
    if named:
        rest = f" and {len(one.lost) - flips:,} more" if len(one.lost) > flips else ""
        lines.append(printable(f"  right -> wrong: {named}{rest}"))
    return [*lines, f"  seed of the resampling {one.seed}"]


def _clearest(one: Comparison) -> list[Compared]:
    """Return the slices that a terminal has room for, in their order."""
    ranked = sorted(one.slices, key=lambda s: one.slices_p.get(s.name, 2.0))
    chosen = {found.name for found in ranked[:MOST_SHOWN]}
    return [found for found in one.slices if found.name in chosen]


def _sign(found: Compared) -> int:
    return 1 if found.metric.higher_is_better else -1


def _row(found: Compared, width: int, bold: bool, p: float | None = None) -> str:
    change, sign = found.change, _sign(found)
    ends = sorted(sign * x for x in change.interval()) if change and change.error else ()
    interval = " to ".join(f"{end:+.2f}" for end in ends) or "-"
    p = p if p is not None else change.p if change else None
    difference = "-" if found.difference is None else f"{found.difference:+.2f}"
    name = printable(found.name)
    return (
        f"{'* ' if bold else '  '}{name:<{width}} {number(found.base):>9} {number(found.cand):>9} "
        f"{difference:>8}  {interval:<19} {_p(p)}"
    )


def _p(p: float | None) -> str:
    return "-" if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}"


def to_dict(one: Comparison, p_holm: float | None = None) -> dict[str, Any]:
    """Return a comparison as plain data."""
    return {
        "task": one.task,
        "base": {"folder": str(one.base.folder), "model": one.base.model},
        "cand": {"folder": str(one.cand.folder), "model": one.cand.model},
        "items": one.items,
        "shared": one.shared,
        "missing": {"base": one.missing_base, "cand": one.missing_cand},
        "seed": one.seed,
        "identical_answers": one.same_text,
        "repeats": {
            "base": len(one.base.each),
            "cand": len(one.cand.each),
            "error_alone": one.alone,
        },
        "sealed": {"base": _sealed(one.base), "cand": _sealed(one.cand)},
        "advisory": bool(one.differences),
        "differences": [
            {"name": d.name, "base": d.base, "cand": d.cand, "items": d.items}
            for d in one.differences
        ],
        "headline": {
            **plain(one.headline),
            "p_holm": p_holm,
            "worst": one.worst and one.worst.value,
            "best": one.best and one.best.value,
        },
        "metrics": [plain(m) for m in one.metrics],
        "slices": [{**plain(s), "p_bh": one.slices_p.get(s.name)} for s in one.slices],
        "lost": [list(ids) for ids in one.lost],
        "won": [list(ids) for ids in one.won],
    }


def _sealed(run: Run) -> bool:
    return all(one.head.get("seal") for one in run.each)


def plain(found: Compared) -> dict[str, Any]:
    """Return a compared number as plain data; `gain` and `p_worse` count better as positive."""
    change = found.change
    low, high = sorted(_sign(found) * x for x in change.interval()) if change else (None, None)
    return {
        "metric": found.name,
        "base": found.base,
        "cand": found.cand,
        "difference": found.difference,
        "low": low,
        "high": high,
        "p": change and change.p,
        "p_worse": change and change.p_worse,
        "gain": change and change.value,
        "error": change and change.error,
        "method": change and change.method,
        "clusters": change and change.clusters,
        "n": found.n,
    }


def to_json(found: Sequence[Comparison]) -> str:
    """Return comparisons as JSON."""
    over_tasks = adjusted(found)
    tasks = [to_dict(one, over_tasks.get(one.task)) for one in found]
    return json.dumps({"schema": SCHEMA, "tasks": tasks}, indent=1)
