"""The report as JSON, with the version of its schema."""

import json
from typing import Any

from reports.compare_text import to_dict
from reports.gate.evaluate import Report, TaskReport

SCHEMA = "sightline.gate/1"


def write(report: Report) -> str:
    """Return the report as JSON; the same report gives the same bytes."""
    return json.dumps(to_plain(report), indent=1) + "\n"


def to_plain(report: Report) -> dict[str, Any]:
    """Return the report as plain data."""
    decision = report.decision
    suite = decision.suite if decision else None
    return {
        "schema": SCHEMA,
        "verdict": report.status,
        "exit_code": report.exit_code,
        "baseline": {"name": report.baseline, "digest": report.baseline_digest},
        "config": report.config.model_dump(mode="json"),
        "errors": list(report.errors),
        "notes": list(report.notes),
        "suite": suite
        and decision
        and {
            "mean_gain": suite.value,
            "error": suite.error,
            "p_holm": decision.suite_p,
            "regressed": decision.suite_rejected,
        },
        "tasks": [_task(found) for found in report.tasks],
    }


def _task(found: TaskReport) -> dict[str, Any]:
    ruling = found.ruling
    return {
        "task": found.task,
        "tier": found.tier,
        "verdict": found.status,
        "reasons": list(found.reasons),
        "margin": found.margin,
        "p_holm": ruling and ruling.p_holm,
        "bound": ruling and ruling.bound,
        "mde": ruling and ruling.mde,
        "invariants": [{"name": c.name, "ok": c.ok, "told": c.told} for c in found.checks],
        "must_pass_broken": list(found.broken),
        "suspicious": found.suspicious or None,
        "comparison": found.comparison
        and to_dict(found.comparison, ruling.p_holm if ruling else None),
    }
