"""SARIF 2.1.0: a rule is a task's metric; a result is a task that does not simply pass."""

import json
from typing import Any

from reports.gate.evaluate import Report, TaskReport
from reports.gate.outputs import facts

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVEL = {
    "REGRESSED": "error", "INVALID": "error", "UNDECIDED": "warning", "WARN": "warning",
    "ADVISORY": "note",
}  # fmt: skip


def write(report: Report, where: str = "gate.yaml") -> str:
    """Return the report as SARIF; `where` is the configuration file, to which results point."""
    rules = [_rule(found) for found in report.tasks]
    rules.append({"id": "gate", "shortDescription": {"text": "the gate as a whole"}})
    results = [
        _result(_id(found), _LEVEL[found.status], facts.sentence(found), where, found)
        for found in report.tasks
        if found.status in _LEVEL
    ]
    if report.decision and report.decision.suite_rejected:
        results.append(_result("gate", "error", facts.suite(report), where))
    if not report.tasks:
        results += [_result("gate", "error", error, where) for error in report.errors]
    tool = {"name": "sightline gate", "rules": rules}
    run = {
        "tool": {"driver": tool},
        "results": results,
        "properties": {"verdict": report.status, "exitCode": report.exit_code},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _id(found: TaskReport) -> str:
    return f"{found.task}/{facts.headline(found)}"


def _rule(found: TaskReport) -> dict[str, Any]:
    text = f"{found.task}, {found.tier}: may lose {found.margin:g}"
    return {"id": _id(found), "shortDescription": {"text": text}}


def _result(
    rule: str, level: str, message: str, where: str, found: TaskReport | None = None
) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": where}, "region": {"startLine": 1}}
    result: dict[str, Any] = {
        "ruleId": rule,
        "level": level,
        "message": {"text": message},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"rule/v1": rule},
    }
    if found and found.comparison:
        result["properties"] = {"lost": [base for base, _ in found.comparison.lost[:1000]]}
    return result
