"""Annotations that GitHub Actions reads from standard output: `::error title=...::...`."""

from reports.gate.evaluate import Report
from reports.gate.outputs import facts
from reports.table import printable

_LEVEL = {"REGRESSED": "error", "INVALID": "error", "UNDECIDED": "error", "WARN": "warning"}


def write(report: Report) -> str:
    """Return one annotation per task that does not pass, and per error."""
    lines = [
        _annotation(_LEVEL[found.status], f"gate {found.task}", facts.sentence(found))
        for found in report.tasks
        if found.status in _LEVEL
    ]
    if not report.tasks:
        lines += [_annotation("error", "gate", error) for error in report.errors]
    if report.decision and report.decision.suite_rejected:
        lines.append(_annotation("error", "gate", facts.suite(report)))
    lines += [
        _annotation("warning", "gate", note)
        for note in report.notes
        if note.startswith(("RATCHET", "looked"))
    ]
    return "".join(line + "\n" for line in lines)


def _annotation(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    shown = "\n".join(printable(part) for part in text.splitlines())
    return shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
