"""Does the judge still judge as people did? Answers that people labelled once and for all.

A task's anchors are a run whose answers never change, judged by the judge of the candidate, and a
csv of people's labels of these answers (docs/judges.md). A judge whose agreement with them is below
the bound makes its task not comparable: whatever it then says of two models is no evidence. Labels
are pinned by their sha256. Reads run folders and the csv; imports reports only.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import DataError
from harness.fingerprint import of_file
from harness.record import read
from reports import agreement
from reports.comparable import Run
from reports.gate.config import Anchor

MEASURES = ("agreement", "kappa", "pearson", "spearman")


@dataclass(frozen=True)
class Anchored:
    """How well a judge does on anchors."""

    told: str
    """For people."""
    failed: str
    """Why its task is not comparable; empty where it is."""


def check(task: str, anchor: Anchor, cand: Run, now: datetime | None = None) -> Anchored:
    """Hold a judge against people's labels. Raises DataError where that cannot be done."""
    judge = cand.head["fingerprint"].get("judge")
    if not judge:
        raise DataError(f"{task} has anchors, but the candidate's run was not judged")
    record = read(anchor.run)
    if record.run["task"]["name"] != task:
        raise DataError(f"the anchors of {task}: {anchor.run} is a run of another task")
    if record.run["fingerprint"].get("judge") != judge:
        raise DataError(
            f"the anchors of {task} in {anchor.run} were not judged by the judge of the candidate, "
            "so they say nothing of it: judge them with it (`sightline judge --fresh`)"
        )
    proof = of_file(Path(anchor.labels)) if Path(anchor.labels).is_file() else ""
    if anchor.sha256 and not proof.startswith(anchor.sha256.lower()):
        raise DataError(
            f"{anchor.labels} has the sha256 {proof[:16] or 'of no file'}, pinned is "
            f"{anchor.sha256}: the labels are not those that were agreed on"
        )
    finished = str(record.run["judging"].get("finished") or record.run["judging"]["started"])
    age = ((now or datetime.now(UTC)) - datetime.fromisoformat(finished)).days
    if anchor.days is not None and age > anchor.days:
        raise DataError(
            f"the anchors of {task} were judged {age} days ago ({finished}), at most {anchor.days} "
            "are allowed: judge them again (`sightline judge --fresh`)"
        )
    found = agreement.compare([agreement.load(str(record.folder)), agreement.load(anchor.labels)])
    return _held(task, anchor, found["pairs"][0], proof, finished)


def _held(task: str, anchor: Anchor, pair: dict[str, object], proof: str, when: str) -> Anchored:
    told, failed = [], []
    common = int(str(pair["common"]))
    if common < anchor.items:
        failed.append(f"{common} anchors have both a label and a verdict, {anchor.items} must")
    for name in MEASURES:
        least = getattr(anchor, name)
        if least is None:
            continue
        measured = pair[name]
        value = measured["value"] if isinstance(measured, dict) else None
        shown = "no value" if value is None else f"{value:.2f}"
        told.append(f"{name} {shown} (at least {least:g})")
        if value is None or value < least:
            failed.append(f"{name} with people is {shown}, at least {least:g} is needed")
    line = (
        f"{task}: the judge on {common} anchors of {when[:10]}, labels {proof[:12]}: "
        f"{', '.join(told)}"
    )
    why = f"the judge of {task} has drifted: {'; '.join(failed)}" if failed else ""
    return Anchored(line, why)
