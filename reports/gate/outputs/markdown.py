"""The report as Markdown, for `$GITHUB_STEP_SUMMARY` and merge requests."""

from html import escape

from reports.gate.evaluate import Report
from reports.gate.outputs import facts
from reports.table import printable

_SPECIAL = {ord(c): f"&#{ord(c)};" for c in "|`*[]()!#~@\\{}$:"}
MOST = 2_000
"""Characters of one cell."""


def write(report: Report) -> str:
    """Return the report as Markdown; what others wrote cannot become markup or links."""
    lines = [f"## Gate: {report.status}", ""]
    lines.append(f"Baseline {_cell(report.baseline or '-')} `{report.baseline_digest[:12] or '-'}`")
    if report.tasks:
        lines += [
            "",
            "| verdict | task | metric | baseline | candidate | change | 95 % | p (Holm) | why |",
            "|---|---|---|--:|--:|--:|--:|--:|---|",
        ]
    for found in report.tasks:
        cells = [f"**{found.status}**", _cell(found.task)]
        cells += [_cell(facts.headline(found)), *map(_cell, facts.values(found))]
        why = "<br>".join(_cell(reason) for reason in found.reasons)
        if found.comparison:
            lost, won = len(found.comparison.lost), len(found.comparison.won)
            why += f"<br>right→wrong {lost:,}, wrong→right {won:,}"
        lines.append("| " + " | ".join([*cells, why]) + " |")
    lines.append("")
    lines += [f"- **not comparable** {_cell(error)}" for error in report.errors]
    lines += [f"- {_cell(note)}" for note in report.notes]
    lines += [f"- {_cell(facts.suite(report))}"] if facts.suite(report) else []
    return "\n".join([*lines, f"- {_cell(facts.method(report))}", ""])


def _cell(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    parts = (escape(printable(part), quote=False) for part in text[:MOST].splitlines())
    protected = (part.replace("&", "\0").translate(_SPECIAL).replace("\0", "&") for part in parts)
    return "<br>".join(part.replace("www.", "www&#46;") for part in protected)
