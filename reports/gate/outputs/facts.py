"""What all formats say of a task, in words and numbers. No format of its own."""

from reports.gate.evaluate import Report, TaskReport
from reports.table import number


def headline(found: TaskReport) -> str:
    """Return the metric that decides."""
    return found.comparison.headline.name if found.comparison else "-"


def values(found: TaskReport) -> tuple[str, str, str, str, str]:
    """Return baseline, candidate, difference, 95 % interval of the difference, p after Holm."""
    one = found.comparison
    if one is None:
        return "-", "-", "-", "-", "-"
    change, sign = one.headline.change, 1 if one.headline.metric.higher_is_better else -1
    interval = "-"
    if change:
        low, high = sorted(sign * end for end in change.interval())
        interval = f"{low:+.2f} to {high:+.2f}"
    difference = one.headline.difference
    return (
        number(one.headline.base),
        number(one.headline.cand),
        "-" if difference is None else f"{difference:+.2f}",
        interval,
        p_text(found.ruling.p_holm if found.ruling else None),
    )


def p_text(p: float | None) -> str:
    """Return a probability for people."""
    return "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def sentence(found: TaskReport) -> str:
    """Return a task's verdict with its numbers and reasons in one line."""
    told = "; ".join(found.reasons)
    if found.comparison is None:
        return f"{found.status}: {told}"
    base, cand, difference, interval, p = values(found)
    return (
        f"{found.status}: {headline(found)} {base} -> {cand} ({difference}, 95 % {interval}, "
        f"p {p}); right->wrong {len(found.comparison.lost):,}, wrong->right "
        f"{len(found.comparison.won):,}; {told}"
    )


def suite(report: Report) -> str:
    """Return what is said of all tasks together, or nothing."""
    decision = report.decision
    if decision is None or decision.suite is None:
        return ""
    verdict = "REGRESSED" if decision.suite_rejected else "no loss was found"
    return (
        f"all tasks together: {decision.suite.value:+.2f} points on average "
        f"(p {p_text(decision.suite_p)} of a loss above {report.config.suite_margin:g}): {verdict}"
    )


def method(report: Report) -> str:
    """Return how it was decided, so that a number can be had again."""
    config = report.config
    level = f"{config.alpha:g}" + (f" in {config.looks} looks" if config.looks > 1 else "")
    return (
        f"one-sided level {level}, Holm over the gated tasks and their mean; studentised cluster "
        f"sign-flip for means, cluster jackknife otherwise; seed {config.seed}"
    )
