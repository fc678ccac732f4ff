"""One attempt at the gate: read the runs, compare, check, decide, write it down.

Whatever keeps a task from being compared makes the gate invalid and never lets it pass: a run that
is missing, unfinished or edited, a baseline that there is not, low coverage, an empty selection.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from harness.errors import DataError
from harness.fingerprint import digest
from harness.paired import Change
from harness.store import as_path
from reports.comparable import Run, load
from reports.compare import Comparison, compare
from reports.gate import anchors, baselines, invariants, looks, ratchet
from reports.gate.config import Config, ConfigError, TaskConfig, Tier
from reports.gate.invariants import Check
from reports.gate.verdict import EXIT, Decision, Evidence, Ruling, Status, decide, with_gaps, worst
from reports.repeats import load_all


@dataclass(frozen=True)
class TaskReport:
    """One task of one attempt."""

    task: str
    tier: Tier
    status: Status
    reasons: Sequence[str]
    margin: float
    comparison: Comparison | None = None
    ruling: Ruling | None = None
    checks: Sequence[Check] = ()
    broken: Sequence[str] = ()
    """Must-pass items that went from right to wrong."""
    suspicious: str = ""


@dataclass(frozen=True)
class Report:
    """One attempt at the gate."""

    status: Status
    tasks: Sequence[TaskReport]
    errors: Sequence[str]
    """Why nothing, or not everything, could be compared."""
    notes: Sequence[str]
    """Waivers, the ratchet, earlier attempts, runs that are not gated."""
    baseline: str
    baseline_digest: str
    decision: Decision | None
    config: Config

    @property
    def exit_code(self) -> int:
        """What the command returns."""
        return EXIT[self.status]


def attempt(
    config: Config,
    candidates: Iterable[Path | str],
    *,
    home: Path,
    today: date,
    ledger: bool = True,
) -> Report:
    """Gate candidate runs against the configured baseline and add the attempt to the ledger.

    Raises UsageError for a configuration that the runs show to be wrong, DataError when the
    ledger cannot be written.
    """
    name, proof = (
        ", ".join([config.baseline] if isinstance(config.baseline, str) else config.baseline),
        "",
    )
    base: Mapping[str, Run] = {}
    cand: Mapping[str, Run] = {}
    entry = None
    errors: list[str] = []
    drift: list[Comparison] = []
    try:
        entry, base = baseline_runs(config, home)
        proof = entry.digest if entry else _proof(base)
        base, drift = _rejudged(config, base)
        cand = load_all(candidates, config.allow)
        active, expired = baselines.waivers(home, today)
    except DataError as error:
        errors.append(str(error))
        active, expired = [], []
    report = (
        Report("INVALID", [], errors, [], name, proof, None, config)
        if errors
        else evaluate(config, base, cand, {w.task: w.max_drop for w in active})
    )
    notes = [*report.notes, *_leaves(config, active, expired)]
    asked = digest(config.model_dump(mode="json"))
    key = ""
    if not errors:
        key = baselines.attempt_key(proof, cand)
        notes += _split(report, drift)
        notes += [told for run in [*base.values(), *cand.values()] for told in run.doubts]
        if entry:
            fell, said = ratchet.falls(config, home, entry, cand, report)
            report = ratchet.escalated(config, home, entry, report, fell)
            notes += said
        earlier = baselines.attempts(home, key)
        notes += looks.told(config, earlier, asked)
        if why := looks.spent(config, earlier, _proof(cand)):
            report = looks.closed(report, why)
    report = replace(report, notes=notes, baseline=name, baseline_digest=proof)
    if ledger:
        line = {
            "key": key, "baseline": name, "baseline_digest": proof, "candidate": _proof(cand),
            "config": asked, "status": report.status,
            "exit": report.exit_code, "errors": list(report.errors),
            "tasks": {found.task: found.status for found in report.tasks},
            **ratchet.line(report, cand),
        }  # fmt: skip
        baselines.record(home, line)
    return report


def baseline_runs(config: Config, home: Path) -> tuple[baselines.Entry | None, dict[str, Run]]:
    """Return the blessed entry, if it is one, and the baseline's runs by task.

    Raises ConfigError where none is named, DataError where it is not there or not whole.
    """
    if not config.baseline:
        raise ConfigError(
            "the gate has no baseline: name one in the configuration or by --baseline"
        )
    if isinstance(config.baseline, str):
        blessed = (home / f"{config.baseline}.json").is_file()
        place = as_path(config.baseline)
        if blessed or (isinstance(place, Path) and not place.is_dir()):
            entry = baselines.find(home, config.baseline)
            return entry, entry.load()
        return None, load_all([config.baseline], config.allow)
    return None, load_all(config.baseline, config.allow)


def _rejudged(config: Config, base: Mapping[str, Run]) -> tuple[dict[str, Run], list[Comparison]]:
    """Put runs that were judged again in the place of the blessed ones, and measure the drift.

    Raises DataError when one does not hold the very answers of the baseline.
    """
    now, drift = dict(base), list[Comparison]()
    for task, folder in config.rejudged.items():
        if task not in base:
            raise DataError(f"rejudged names {task}, of which the baseline has no run")
        if len(base[task].each) > 1:
            raise DataError(f"rejudged names {task}, whose baseline is the mean of several runs")
        run = load(folder)
        found = compare(base[task], run, allow=("judge",), seed=config.seed)
        texts = [tuple((r["answer"] or {}).get("text") for r in pair) for pair in found.pairs]
        if any(before != after for before, after in texts):
            raise DataError(f"{folder} does not hold the answers of the baseline's run of {task}")
        now[task] = run
        drift.append(found)
    return now, drift


def _split(report: Report, drift: Sequence[Comparison]) -> list[str]:
    """Return what the judge and what the model changed; the gate looks at the model alone."""
    by_task = {one.task: one.comparison for one in report.tasks if one.comparison}
    notes = []
    for judge in drift:
        model = by_task.get(judge.task)
        shift = judge.headline.difference
        if model is None or shift is None or model.headline.difference is None:
            continue
        change = model.headline.difference
        ends = judge.headline.change.interval() if judge.headline.change else None
        sure = f" (95 % {ends[0]:+.2f} to {ends[1]:+.2f})" if ends else ""
        notes.append(
            f"{judge.task}: {shift + change:+.2f} in all = {change:+.2f} of the model, which is "
            f"gated, and {shift:+.2f} of the judge{sure}"
        )
    return notes


def _proof(runs: Mapping[str, Run]) -> str:
    files = {
        task: baselines.proof(baselines.file_digests(one.folder) for one in run.each)
        for task, run in runs.items()
    }
    return digest(files, 64) if files else ""


def evaluate(
    config: Config,
    base: Mapping[str, Run],
    cand: Mapping[str, Run],
    leaves: Mapping[str, float] | None = None,
) -> Report:
    """Decide over runs in memory. Raises UsageError when the configuration does not fit them."""
    tasks = config.tasks if config.tasks is not None else {task: TaskConfig() for task in base}
    waived = {**(leaves or {}), **{w.task: w.max_drop for w in config.waivers}}
    found: dict[str, Comparison] = {}
    invalid: dict[str, str] = {}
    anchored: list[str] = []
    for task, how in tasks.items():
        try:
            found[task] = _compared(task, how, config, base, cand)
            if task in config.anchors:
                held = anchors.check(task, config.anchors[task], cand[task])
                anchored.append(held.told)
                if held.failed:
                    raise DataError(held.failed)
        except DataError as error:
            invalid[task] = str(error)
            found.pop(task, None)
    tiers: dict[str, Tier] = {
        task: "advisory" if found[task].differences else how.tier
        for task, how in tasks.items()
        if task in found
    }
    margins = {task: _margin(task, how, config, found.get(task)) for task, how in tasks.items()}
    evidence = {
        task: Evidence(
            tiers[task], one.headline.change, margins[task], one.same_model,
            one.headline.metric.percent, waived.get(task),
        )
        for task, one in found.items()
    }  # fmt: skip
    decision = _decide(config, found, evidence) if found else None
    reports = []
    for task, how in tasks.items():
        if task in invalid or decision is None:
            reports.append(TaskReport(task, how.tier, "INVALID", [invalid[task]], margins[task]))
        else:
            one, ruling = found[task], decision.tasks[task]
            reports.append(_report(one, ruling, tiers[task], how, config, margins[task]))
    whole = _whole(config, tasks, base, cand, reports, decision)
    return replace(whole, notes=[*whole.notes, *anchored])


def _whole(
    config: Config,
    tasks: Mapping[str, TaskConfig],
    base: Mapping[str, Run],
    cand: Mapping[str, Run],
    reports: Sequence[TaskReport],
    decision: Decision | None,
) -> Report:
    errors = [f"{r.task}: {r.reasons[0]}" for r in reports if r.status == "INVALID"]
    status = worst([r.status for r in reports])
    if not tasks:
        errors.append("no task is gated: the configuration selects none")
    elif status == "ADVISORY":
        status = "INVALID"
        errors.append(
            "no task can block: all are advisory, by tier, by --allow or by too few clusters"
        )
    if decision and decision.suite_rejected:
        status = worst([status, "REGRESSED"])
    elif decision and status != "INVALID":
        status = worst([status, "UNDECIDED"] if decision.status == "UNDECIDED" else [status])
    notes = [
        f"{task}: run by the candidate, not gated" for task in sorted(cand.keys() - tasks.keys())
    ]
    notes += [f"{task}: in the baseline, not gated" for task in sorted(base.keys() - tasks.keys())]
    return Report(status, reports, errors, notes, "", "", decision, config)


def _compared(
    task: str,
    how: TaskConfig,
    config: Config,
    base: Mapping[str, Run],
    cand: Mapping[str, Run],
) -> Comparison:
    for side, runs in (("baseline", base), ("candidate", cand)):
        if task not in runs:
            raise DataError(f"the {side} has no run of {task} (it has {', '.join(runs) or 'none'})")
    found = compare(base[task], cand[task], allow=config.allow, metric=how.metric, seed=config.seed)
    least = config.limit(how, "coverage")
    if found.coverage < least:
        raise DataError(
            f"coverage {found.coverage:.1%} ({found.shared:,} of the baseline's {found.items:,} "
            f"items have a result in both runs), at least {least:.1%} is needed; without result: "
            f"{found.missing_base:,} in the baseline, {found.missing_cand:,} in the candidate"
        )
    return found


def _margin(task: str, how: TaskConfig, config: Config, found: Comparison | None) -> float:
    if how.margin is not None or found is None or how.tier == "advisory":
        return config.margin if how.margin is None else how.margin
    if not found.headline.metric.percent:
        raise ConfigError(
            f"{task}: {found.headline.name} is not in per cent, so the margin of all tasks does "
            "not fit; give the task a `margin` in the metric's own unit"
        )
    return config.margin


def _decide(
    config: Config, found: Mapping[str, Comparison], evidence: Mapping[str, Evidence]
) -> Decision:
    """Decide on what was seen, and on what was missing at its worst and best."""
    alpha = config.alpha / config.looks

    def case(changes: Mapping[str, Change | None]) -> Decision:
        filled = {task: replace(e, change=changes[task]) for task, e in evidence.items()}
        return decide(filled, alpha=alpha, suite_margin=config.suite_margin)

    seen = case({task: one.headline.change for task, one in found.items()})
    if all(one.worst is one.best for one in found.values()) and all(
        one.bounded for one in found.values()
    ):
        return seen
    settled = with_gaps(
        seen,
        case({task: one.worst for task, one in found.items()}),
        case({task: one.best for task, one in found.items()}),
    )
    return settled


def _report(
    found: Comparison,
    ruling: Ruling,
    tier: Tier,
    how: TaskConfig,
    config: Config,
    margin: float,
) -> TaskReport:
    statuses: list[Status] = [ruling.status]
    reasons = [ruling.reason]
    reasons += [found.repeats] if found.repeats else []
    reasons += [f"advice only: the runs differ in {d.name}" for d in found.differences]
    if not found.bounded:
        reasons.append("nobody can say what the missing results would have made of it")
    checks = invariants.check(found, how, config)
    blocks = tier != "advisory"
    for check in checks:
        if not check.ok:
            reasons.append(f"{check.name}: {check.told}")
            statuses += ["REGRESSED"] if blocks else []
    broken, still_open, unknown = invariants.must_pass(found, how.must_pass)
    if unknown:
        told = f"must_pass names items that the runs do not share: {', '.join(unknown[:5])}"
        return TaskReport(found.task, tier, "INVALID", [told], margin, found, ruling, checks)
    if broken:
        reasons.insert(0, f"must-pass items went from right to wrong: {', '.join(broken[:5])}")
        statuses += ["REGRESSED"] if blocks else []
    if still_open:
        reasons.append(f"must-pass items without a result: {', '.join(still_open[:5])}")
        statuses += ["UNDECIDED"] if blocks else []
    suspicious = invariants.too_good(found)
    if suspicious:
        reasons.append(suspicious)
        grave: Status = "UNDECIDED" if config.suspicious == "undecided" else "WARN"
        statuses += [grave] if blocks else []
    return TaskReport(
        found.task, tier, worst(statuses), reasons, margin, found, ruling, checks, broken,
        suspicious,
    )  # fmt: skip


def _leaves(
    config: Config, active: Sequence[baselines.Leave], expired: Sequence[baselines.Leave]
) -> list[str]:
    told = [f"waiver: {leave}" for leave in active]
    told += [
        f"waiver: {w.task} may fall by up to {w.max_drop:g} until {w.until}: {w.why}"
        for w in config.waivers
    ]
    return told + [f"waiver expired and has no effect: {leave}" for leave in expired]
