"""Small losses that each pass and together are a large one.

Every task is also held against the last baseline that was blessed as major, and the small losses
that were let through since then (WARN: it fell, by less than the margin) are counted. A baseline
counts when its runs are those of an attempt that warned, so only what was shipped does. Too many
of them leave a task undecided; when its whole fall since the major baseline is no longer proven to
lie within the margin either, it has regressed. Reads baselines, their runs and the ledger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError, UsageError
from harness.paired import Change, holm
from reports.comparable import Run
from reports.compare import compare
from reports.gate import baselines
from reports.gate.config import Config
from reports.gate.verdict import Status, worst

if TYPE_CHECKING:
    from reports.gate.evaluate import Report, TaskReport


@dataclass(frozen=True)
class Fall:
    """A task below the last major baseline."""

    task: str
    major: str
    change: Change
    p: float
    """After Holm over the tasks."""


def falls(
    config: Config,
    home: Path,
    entry: baselines.Entry,
    cand: Mapping[str, Run],
    report: "Report",
) -> tuple[list[Fall], list[str]]:
    """Return the tasks that fell since the last major baseline, and notes for people."""
    changes: dict[str, tuple[str, Change]] = {}
    notes = []
    for one in report.tasks:
        if one.comparison is None or one.tier == "advisory":
            continue
        major = baselines.last_major(home, one.task, entry.digest)
        if major is None or entry.major:
            continue
        try:
            run = major.load()[one.task]
            name = one.comparison.headline.name
            found = compare(run, cand[one.task], allow=config.allow, metric=name, seed=config.seed)
        except (DataError, UsageError) as error:
            notes.append(f"ratchet: {one.task} cannot be compared with {major.name}: {error}")
            continue
        if found.headline.change:
            changes[one.task] = major.name, found.headline.change
    p = holm({task: change.p_worse for task, (_, change) in changes.items()})
    fell = [
        Fall(task, name, change, p[task])
        for task, (name, change) in changes.items()
        if p[task] <= config.alpha
    ]
    notes += [
        f"RATCHET: {fall.task} is {-fall.change.value:.2f} below the last major baseline "
        f"{fall.major} (p {fall.p:.4f}), whatever the step from {entry.name}"
        for fall in fell
    ]
    return fell, notes


def warned(report: "Report") -> list[str]:
    """Return the tasks that fell by less than their margin."""
    return [
        one.task
        for one in report.tasks
        if one.ruling and one.ruling.status == "WARN" and one.ruling.p_holm is not None
    ]


def shipped(home: Path, entry: baselines.Entry, task: str) -> list[str]:
    """Return the baselines since the last major one that came with a small loss of a task."""
    with_task = [e for e in baselines.all_of(home) if any(r["task"] == task for r in e.runs)]
    until = next((i for i, e in enumerate(with_task) if e.digest == entry.digest), len(with_task))
    line = with_task[: until + 1]
    majors = [i for i, e in enumerate(line) if e.major]
    since = line[majors[-1] + 1 :] if majors else line
    attempts = [found for found in baselines.ledger(home) if task in found.get("warned", ())]
    proofs = {found["proofs"].get(task) for found in attempts}
    return [e.name for e in since if e.proof(task) in proofs]


def escalated(
    config: Config,
    home: Path,
    entry: baselines.Entry,
    report: "Report",
    fell: Sequence[Fall],
) -> "Report":
    """Return the report in which too many small losses are no longer let through."""
    if config.warnings is None:
        return report
    now = warned(report)
    by_task = {fall.task: fall for fall in fell}
    tasks = []
    for one in report.tasks:
        before = shipped(home, entry, one.task) if one.task in now else []
        if one.task in now and len(before) + 1 >= config.warnings:
            one = _judged(one, before, by_task.get(one.task), config)
        tasks.append(one)
    statuses: list[Status] = [report.status, *(one.status for one in tasks)]
    return replace(report, tasks=tasks, status=worst(statuses))


def _judged(
    one: "TaskReport", before: Sequence[str], fall: Fall | None, config: Config
) -> "TaskReport":
    told = (
        f"small loss number {len(before) + 1} since the last major baseline (let through before: "
        f"{', '.join(before) or 'none'}), {config.warnings} are too many"
    )
    status: Status = "UNDECIDED"
    if fall and fall.change.bound(config.alpha) <= -one.margin:
        status = "REGRESSED"
        told += (
            f"; together {-fall.change.value:.2f}, which may exceed the margin of {one.margin:g}"
        )
    else:
        told += "; bless a major baseline if they are accepted"
    return replace(one, status=worst([one.status, status]), reasons=[told, *one.reasons])


def line(report: "Report", cand: Mapping[str, Run]) -> dict[str, Any]:
    """Return what the ledger keeps of an attempt for later ratchets."""
    return {
        "warned": warned(report),
        "proofs": {
            task: baselines.proof(baselines.file_digests(one.folder) for one in run.each)
            for task, run in cand.items()
        },
    }
