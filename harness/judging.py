"""Letting a model judge the answers of a run: ask, read, keep every word, never guess.

A judge is a Model that is asked rubric prompts through the ordinary protocol, so whatever reaches a
model (harness/models) can judge. Verdicts are appended to `verdicts.jsonl` of the run folder as
they come (harness/verdicts.py says what a line is); the answers themselves are not touched, so a
run can be judged again by another judge without asking its model. A judge that cannot be reached or
read leaves rows unjudged: an outage is not a score.

The judge, rubric, prompts and number of votes are hashed into `fingerprint["judge"]` of run.json:
rows judged otherwise are another metric. Asking is in harness/judge_bench.py, prices and limits in
harness/judge_budget.py. Imports harness only.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import environment, fingerprint, verdicts
from harness.errors import DataError, RunStopped, SightlineError, UsageError
from harness.judge_bench import Bench, Case, Judge, settled
from harness.judge_budget import Budget, estimate
from harness.judge_cache import Cache
from harness.record import (
    Record,
    Row,
    appending,
    read,
    read_lines,
    read_rows,
    save,
    waits,
)
from harness.run import Watcher, summarise
from harness.seal import check_seal
from harness.types import Rubric, Sample, Task

__all__ = ["Budget", "How", "Judge", "forecast", "judge", "may_judge", "preview", "rubric_of"]


@dataclass(frozen=True)
class How:
    """How a run is judged."""

    judges: Sequence[Judge]
    """Each gives `repeats` votes to every answer."""
    repeats: int = 1
    budget: Budget = field(default_factory=Budget)
    cache: Path | None = None
    """Folder of verdicts that other runs share; None: none."""
    fresh: bool = False
    """Begin anew although this judge was at work here, and take nothing from the cache."""

    def __post_init__(self) -> None:
        """Raise UsageError for no judge or no vote."""
        if not self.judges:
            raise UsageError("judging needs a judge: --judge KIND:ADDRESS")
        if self.repeats < 1:
            raise UsageError(f"--repeats is {self.repeats}; it must be 1 or more")


def judge(folder: Path | str, task: Task, how: How, watcher: Watcher | None = None) -> Record:
    """Judge the answers of a run that have no verdict yet, and return its record.

    Goes on where the same judges were interrupted; other judges begin anew, and the old verdicts
    are kept in verdicts-<n>.jsonl. Raises UsageError or DataError when the run and the task do not
    belong together, RunStopped when the budget is used up or a judge is lost; all verdicts stay.
    """
    sitting = _open(read(folder), task, how)
    started = time.monotonic()
    with ExitStack() as stack:
        cache = stack.enter_context(Cache(how.cache)) if how.cache else None
        write = stack.enter_context(appending(sitting.folder, verdicts.FILE, sitting.begin))
        bench = Bench(
            sitting.case,
            read_lines(sitting.folder / verdicts.FILE),
            write,
            budget=how.budget,
            cache=cache,
            recall=not how.fresh,
            watcher=watcher,
        )
        outcome: BaseException | None = None
        try:
            bench.sit()
        except BaseException as error:  # the record is closed properly whatever happened
            outcome = error
        if outcome is None or bench.heard or not sitting.undo():
            sitting.finish(bench, outcome, time.monotonic() - started)
    if outcome is not None:
        raise _explained(outcome, sitting.folder) from outcome
    return read(sitting.folder)


def preview(folder: Path | str, task: Task, how: How) -> list[str]:
    """Return what judging a run would ask and cost, for people; asks nothing."""
    sitting = _open(read(folder), task, how)
    case, path = sitting.case, sitting.folder / verdicts.FILE
    begun = {} if sitting.anew else verdicts.slots(read_lines(path))
    left = [slot for slot in case.slots() if not settled(begun.get(slot))]
    return estimate(((case.ask(s, 0), case.rubric.decodings[0]) for s in left), how.budget)


def forecast(task: Task, samples: Sequence[Sample], how: How) -> list[str]:
    """Return what judging answers as long as the gold ones would cost, before there is any."""
    rubric = rubric_of(task)
    gold = {sample.id: sample.target for sample in samples}
    by_id = {sample.id: sample for sample in samples}
    case = Case(rubric, how.judges, how.repeats, 0, by_id, gold)
    calls = ((case.ask(slot, 0), rubric.decodings[0]) for slot in case.slots())
    return estimate(calls, how.budget, guessed=True)


def may_judge(record: Record) -> None:
    """Raise UsageError for a run that lies in a store, DataError for one that was edited."""
    if record.address:
        raise UsageError(
            f"{record.address} is in a store, where a run never changes: `sightline pull` it, "
            "judge the copy, and push that under another name"
        )
    check_seal(record.folder, record.run)


def rubric_of(task: Task) -> Rubric:
    """Return the rubric of a task. Raises UsageError when the task needs no judge."""
    if task.judge is None:
        raise UsageError(
            f"the task {task.name} is scored by a rule ({task.scorer}); there is nothing to judge"
        )
    return task.judge


@dataclass
class _Sitting:
    """One judging of one run folder."""

    folder: Path
    task: Task
    how: How
    case: Case
    samples: Sequence[Sample]
    run: dict[str, Any]
    section: dict[str, Any]
    """`judging` of run.json."""
    anew: bool
    """Nothing of what is there is taken up."""
    aside: Path | None = None
    """Where the verdicts of before were put."""
    before: Mapping[str, Any] = field(default_factory=dict)

    def begin(self) -> None:
        """Put verdicts of another judging aside, and say in run.json who judges now."""
        if read(self.folder).run != self.run:  # read before the folder was ours alone
            raise UsageError(f"{self.folder} was changed by another process; repeat the command")
        self.before = dict(self.run)
        older = list(self.run.get("judgings", ()))
        if self.anew and "judging" in self.run:
            aside = self.folder / f"verdicts-{len(older) + 1}.jsonl"
            if (self.folder / verdicts.FILE).exists():
                (self.folder / verdicts.FILE).replace(aside)
                self.aside = aside
            kept = {"file": aside.name, "metrics": self.run["metrics"]}
            older.append({**self.run["judging"], **kept})
        (self.folder / "rows.parquet").unlink(missing_ok=True)  # derived of other verdicts
        self.run |= {
            # A reader of an unfinished judging must not find the numbers of the one before.
            **summarise(self.folder, self.task, self.samples, stopped=True),
            "judgings": older,
            "judging": self.section,
            "fingerprint": {**self.run["fingerprint"], "judge": self.section["fingerprint"]},
            "status": "running",
        }
        save(self.folder, self.run)

    def undo(self) -> bool:
        """Bring back the verdicts of before, where a new judge never said a word."""
        if self.aside is None:
            return False
        self.aside.replace(self.folder / verdicts.FILE)
        self._summary(stopped=False)
        save(self.folder, self.before)
        return True

    def finish(self, bench: Bench, outcome: BaseException | None, seconds: float) -> None:
        """Write counts, metrics, price and status. A full disk was told; it must not hide that."""
        lines = [bench.lines.get(slot) for slot in self.case.slots()]
        done = sum(settled(line) for line in lines)
        good = sum(verdicts.readable(line) for line in lines)
        self.run |= self._summary(stopped=outcome is not None)
        if done < len(lines) and self.run["status"] == "complete":
            self.run["status"] = "incomplete"
        self.section |= {
            "finished": _now(),
            "seconds": round(self.section["seconds"] + seconds, 3),
            "counts": {
                "verdicts": len(lines),
                "readable": good,
                "unreadable": done - good,
                "open": len(lines) - done,
                "cached": sum(bool(line["cached"]) for line in lines if line),
            },
            **bench.ledger.summary(),
            "judges": [_described(found) for found in self.how.judges],
            "values": self._values(),
        }
        self.run["judging"] = self.section
        self.run["error"] = f"{type(outcome).__name__}: {outcome}" if outcome else None
        try:
            save(self.folder, self.run)
        except RunStopped:
            if outcome is None:
                raise

    def _summary(self, *, stopped: bool) -> dict[str, Any]:
        try:
            found = summarise(self.folder, self.task, self.samples, stopped=False)
        except OSError:  # no room for the table; what it is made of is there
            if not stopped:
                raise
            found = summarise(self.folder, self.task, self.samples, stopped=True)
        return {**found, "status": "stopped", "seal": None} if stopped else found

    def _values(self) -> dict[str, list[float | None]]:
        """Return every metric for each vote alone; nothing when there is one vote."""
        from harness.stats import estimate_all

        values: dict[str, list[float | None]] = {}
        for vote in range(self.case.votes if self.case.votes > 1 else 0):
            found = estimate_all(read_rows(self.folder, vote=vote), self.task.metrics)
            for name, metric in found.items():
                values.setdefault(name, []).append(metric.value)
        return values


def _open(record: Record, task: Task, how: How) -> _Sitting:
    """Check that run, task and judges fit. Raises UsageError or DataError."""
    may_judge(record)
    rubric, run = rubric_of(task), dict(record.run)
    if run["task"]["name"] != task.name:
        raise UsageError(f"{record.folder} is a run of {run['task']['name']}, not of {task.name}")
    everything = list(task.samples())
    samples = everything if run["limit"] is None else everything[: run["limit"]]
    by_id = {sample.id: sample for sample in samples}
    names = {name for sample in everything for name in (sample.id, *sample.aliases)}
    for found in how.judges:
        if hasattr(found.model, "check_ids"):
            found.model.check_ids(names)
    case = Case(rubric, how.judges, how.repeats, run["seed"], by_id, _answers(record, by_id))
    identities = [found.identity for found in how.judges]
    digest = fingerprint.digest([identities, fingerprint.rubric(rubric), how.repeats])
    begun = run.get("judging")
    anew = how.fresh or begun is None or run["fingerprint"].get("judge") != digest
    section = {"started": _now(), "seconds": 0.0} if begun is None or anew else dict(begun)
    section |= {
        "judges": [_described(found) for found in how.judges],
        "rubric": fingerprint.rubric(rubric),
        "published_with": rubric.model,
        "repeats": how.repeats,
        "votes": case.votes,
        "file": verdicts.FILE,
        "fingerprint": digest,
    }
    return _Sitting(record.folder, task, how, case, samples, run, section, anew)


def _answers(record: Record, by_id: Mapping[str, Sample]) -> dict[str, str]:
    """Return the answers that wait for a judge, in the task's order. Raises DataError."""
    rows = [row for row in read_lines(record.folder / "rows.jsonl") if waits(row)]
    if not rows:
        raise DataError(f"{record.folder}: no answers in it that wait for a judge")
    for row in rows:
        _same(record.folder, by_id.get(row["id"]), row)
    return {row["id"]: row["answer"]["text"] for row in sorted(rows, key=lambda r: r["index"])}


def _same(folder: Path, sample: Sample | None, row: Row) -> None:
    if sample is None or fingerprint.item(sample) != row["item"]:
        what = "is not in the task's data" if sample is None else "was another question then"
        raise DataError(
            f"{folder}: the sample '{row['id']}' {what}; judge with the data of the run (--data)"
        )


def _described(found: Judge) -> dict[str, Any]:
    return {
        "address": environment.redact(found.address),
        "options": dict(found.options),
        "identity": dict(found.identity),
        "description": dict(found.model.describe()),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _explained(outcome: BaseException, folder: Path) -> BaseException:
    """Turn what ended the judging into one line that says what is kept and how to go on."""
    if isinstance(outcome, KeyboardInterrupt | SystemExit | GeneratorExit):
        return outcome
    kept = f"The verdicts so far are in {folder}; the same command, without --fresh, goes on."
    if isinstance(outcome, RunStopped):
        return RunStopped(f"{str(outcome).rstrip('.')}. {kept}")
    if isinstance(outcome, SightlineError):
        return outcome
    return RunStopped(f"the judge raised {type(outcome).__name__}: {outcome}. {kept}")
