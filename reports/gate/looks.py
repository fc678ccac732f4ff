"""How often was this asked before? Trying until it passes is how bad changes get through.

A look is new data about the same model against the same baseline; the gate on the very same files
again is no look. The level is split among the looks that were planned (`looks`), so what comes
after them has no level left: it can find a regression, and it cannot pass once an earlier look did
not. A gate that misses a bad change one time in five misses it half of the time in three attempts.
Reads lines of the ledger; imports reports only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reports.gate.config import Config
from reports.gate.verdict import Status, worst

if TYPE_CHECKING:
    from reports.gate.evaluate import Report, TaskReport

Line = Mapping[str, Any]


def told(config: Config, earlier: Sequence[Line], config_digest: str) -> list[str]:
    """Return what was tried before, for people."""
    if not earlier:
        return []
    before = ", ".join(f"{line['status']} ({line['when']})" for line in earlier[-5:])
    notes = [f"attempt {len(earlier) + 1} of this model against this baseline; before: {before}"]
    seen = {line["candidate"] for line in earlier if line["status"] != "INVALID"}
    if len(seen) >= config.looks and any(line["exit"] for line in earlier if line["exit"] != 3):
        notes.append(
            f"looked {len(seen)} times before, planned were {config.looks}: trying until it passes "
            "lets bad changes through; plan further looks with `looks`"
        )
    if earlier[-1].get("config", config_digest) != config_digest:
        notes.append("the configuration of the gate is not that of the last attempt")
    return notes


def spent(config: Config, earlier: Sequence[Line], candidate: str) -> str:
    """Return why a candidate can no longer pass, or nothing. `candidate` is its digest."""
    looks = [line for line in earlier if line["status"] != "INVALID"]
    seen = list(dict.fromkeys(line["candidate"] for line in looks))
    if candidate in seen:  # the files of an earlier look: only what came before it counts
        seen = seen[: seen.index(candidate)]
        looks = [line for line in looks if line["candidate"] in seen]
    if len(seen) < config.looks or not any(line["exit"] for line in looks):
        return ""
    return (
        f"this is look {len(seen) + 1} and planned were {config.looks}: the level of "
        f"{config.alpha:g} is spent, and an earlier look did not pass, so this one cannot; change "
        "the model, or bless a baseline and plan its looks beforehand"
    )


def closed(report: "Report", why: str) -> "Report":
    """Return a report in which nothing passes because no level is left."""

    def shut(one: "TaskReport") -> "TaskReport":
        if one.status not in ("PASS", "WARN"):
            return one
        return replace(one, status="UNDECIDED", reasons=[why, *one.reasons])

    tasks = [shut(one) for one in report.tasks]
    statuses: list[Status] = [report.status, *(one.status for one in tasks)]
    return replace(report, tasks=tasks, status=worst(statuses))
