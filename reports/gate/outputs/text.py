"""The report for a terminal. Nothing in it can steer the terminal, or a CI runner."""

from reports.gate.evaluate import Report
from reports.gate.outputs import facts
from reports.table import printable


def write(report: Report) -> str:
    """Return the report as text."""
    proof = f" ({report.baseline_digest[:12]})" if report.baseline_digest else ""
    lines = [f"baseline {report.baseline or '-'}{proof}", ""]
    if report.tasks:
        lines += _table(report)
    lines += [f"note: {note}" for note in report.notes]
    lines += [facts.suite(report)] if facts.suite(report) else []
    lines += [part for error in report.errors for part in ("not comparable: " + error).split("\n")]
    lines += [facts.method(report), f"GATE {report.status} (exit {report.exit_code})"]
    return "\n".join(_harmless(line) for line in lines)


def _table(report: Report) -> list[str]:
    rows = [("", "task", "metric", "baseline", "candidate", "change", "95 % interval", "p Holm")]
    for found in report.tasks:
        rows.append((found.status, found.task, facts.headline(found), *facts.values(found)))
    widths = [max(len(printable(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for at, row in enumerate(rows):
        cells = [f"{printable(cell):<{width}}" for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
        if at:
            found = report.tasks[at - 1]
            lines += [f"    {reason}" for reason in found.reasons if found.status != "INVALID"]
            if found.comparison:
                lost, won = found.comparison.lost, found.comparison.won
                which = ", ".join(base for base, _ in lost[:5])
                tail = f": {which}" + (", ..." if len(lost) > 5 else "") if which else ""
                lines.append(f"    wrong->right {len(won):,}, right->wrong {len(lost):,}{tail}")
    return [*lines, ""]


def _harmless(line: str) -> str:
    """Return a line that a terminal shows and a CI runner does not take for a command."""
    shown = printable(line).replace("##[", "# #[")
    return shown.replace("::", ": :") if shown.lstrip().startswith("::") else shown
