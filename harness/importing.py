"""Logs of other tools become run folders: read, placed, scored by our rule, compared with theirs.

`harness/importers/lmms_eval.py` exists, so `--from lmms-eval` works; without it each importer is
asked whether it knows the file. The answers are replayed through the one run loop. What the other
tool made of each answer is kept in imported.jsonl in the run folder and under `imported` in
run.json; neither enters a metric.

Imports harness only; tasks are found by name.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from harness import environment, record
from harness import run as loop
from harness.errors import DataError, RunStopped, UsageError, unknown
from harness.find import entries, make_task
from harness.importers import _differences as differing
from harness.importers._log import Known, Log
from harness.importers._match import Placed, place
from harness.importers._model import Imported
from harness.record import Record
from harness.types import Sample, Task

FILE = "imported.jsonl"
"""In a run folder: one line per sample, what the other tool said of it."""
ANSWERS = ("raw", "extracted")
EXTRA = ("error", "ignore")
_FOLDER = Path(__file__).resolve().parent / "importers"


@dataclass(frozen=True)
class Result:
    """An imported run, and how its scores differ from the other tool's."""

    record: Record
    log: Log
    how: str
    """How rows were placed on samples."""
    task_guessed: bool
    differences: Sequence[differing.Difference]
    aggregates: Sequence[differing.Aggregate]
    notes: Sequence[str]


def tools() -> list[str]:
    """Return the tools whose logs can be read, as --from takes them."""
    return sorted(path.stem.replace("_", "-") for path in _FOLDER.glob("[!_]*.py"))


def read_log(path: Path | str, tool: str | None = None) -> Log:
    """Read a log; its kind is found from its contents where `tool` is None.

    Raises UsageError for an unknown kind, DataError for a damaged log or one that nothing reads.
    """
    path = Path(path).expanduser()
    if tool is not None and tool not in tools():
        raise unknown("tool to import from", tool, tools())
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if tool is None:
        found = [name for name in tools() if _importer(name).sniff(path)]
        if len(found) > 1:
            raise UsageError(
                f"{path} could be a log of {' or '.join(found)}; say which by --from TOOL"
            )
        if not found:
            raise DataError(
                f"{path}: not a log of {', '.join(tools())} as far as its contents tell. Give the "
                "sample log (not the summary), or the kind by --from TOOL to learn what is wrong"
            )
        tool = found[0]
    log: Log = _importer(tool).read(path)
    return log


def _importer(tool: str) -> ModuleType:
    return import_module(f"harness.importers.{tool.replace('-', '_')}")


def task_of(log: Log, asked: str | None) -> tuple[str, Known | None]:
    """Return our name of a log's task and what is known of it; `asked` wins.

    Raises UsageError with near names where the log's task is none of ours.
    """
    table: Mapping[str, Known] = _importer(log.tool).TASKS
    known = table.get(log.task)
    if asked is not None:
        alike = known is not None and known.task.partition("/")[0] == asked.partition("/")[0]
        return asked, known if alike else None
    if known is not None:
        return known.task, known
    ours = {entry.name: entry.name for entry in entries("task")}
    ours |= {name.lower(): known.task for name, known in table.items()}
    words = [log.task.lower(), *log.task.lower().replace("-", "_").split("_")]
    near = [ours[n] for word in words for n in get_close_matches(word, ours, n=3, cutoff=0.7)]
    hint = f"; near names: {', '.join(dict.fromkeys(near))}" if near else ""
    raise UsageError(
        f"{log.path}: {log.tool} calls the task '{log.task}', which is none of ours by that name; "
        f"say which it is by --task NAME (sightline list tasks){hint}"
    )


def import_log(
    path: Path | str,
    out: Path | str,
    *,
    tool: str | None = None,
    task: str | None = None,
    data: str | Path | None = None,
    answers: str = "raw",
    extra: str = "error",
) -> Result:
    """Make a run folder `out` of a log.

    Args:
        path: The log, or a folder that holds one.
        out: The run folder; it must not exist.
        tool: One of `tools()`; None: found from the contents.
        task: Our task; None: known from the log's name for it.
        data: The task's data.
        answers: `raw` scores the model's words, `extracted` what the tool took out of them.
        extra: `ignore` leaves out rows whose sample the task does not have.

    Raises UsageError and DataError (harness/errors.py); nothing is written then.
    """
    out = Path(out)
    for name, value, allowed in (("answers", answers, ANSWERS), ("extra", extra, EXTRA)):
        if value not in allowed:
            raise unknown(f"value of --{name}", value, allowed)
    if (out / "run.json").exists() or (out / "rows.jsonl").exists():
        raise UsageError(f"{out} already holds a run; name another --out")
    log = read_log(path, tool)
    name, known = task_of(log, task)
    made = _as_asked(make_task(name, None if data is None else str(data)), log)
    samples = list(made.samples())
    placed = place(log, samples, ignore=extra == "ignore")
    model = Imported(log, placed, samples, answers)
    rule = _rule(known, data)
    planned = loop.plan(made, model, address=f"{log.tool}:{log.model}")
    done = loop.run(planned, out, max_failures=1.0)
    return _compared(done, made, samples, log, placed, model, known, rule, task is None)


def _as_asked(task: Task, log: Log) -> Task:
    """Return the task with the settings that the answers were produced with, where they are told.

    They are part of what a number means: comparing with a run of ours must show the difference.
    """
    told = {"max_tokens": log.max_tokens, "temperature": log.temperature}
    changes: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
    return replace(task, decoding=replace(task.decoding, **changes))


def _rule(known: Known | None, data: str | Path | None) -> differing.Rule | None:
    if known is None or not known.rule:
        return None
    stem, _, variant = known.rule.partition("/")
    listed = next(entry for entry in entries("task") if entry.name == stem)
    task = make_task(known.rule, None if data is None else str(data))
    return differing.Rule(task, listed.variants.get(variant, listed.summary))


def _compared(
    done: Record,
    task: Task,
    samples: Sequence[Sample],
    log: Log,
    placed: Placed,
    model: Imported,
    known: Known | None,
    rule: differing.Rule | None,
    guessed: bool,
) -> Result:
    rows = list(done.rows())
    found = differing.differences(log, placed, samples, rows, rule)
    numbers = differing.aggregates(log, placed, known, task, rows, rule)
    notes = [*log.notes, *_notes(log, placed, model, samples)]
    _write_rows(done.folder, placed, found)
    section = {
        "tool": log.tool,
        "version": log.version,
        "files": dict(log.files),
        "task": log.task,
        "model": log.model,
        "model_args": environment.redact(log.arguments),
        "date": log.date,
        "decoding": dict(log.decoding),
        "placed": placed.how,
        "rows": len(log.rows),
        "samples": len(placed.rows),
        "rule": rule.task.scorer if rule else None,
        "aggregates": dict(log.aggregates),
        "compared": [asdict(number) for number in numbers],
        "differences": [
            {"kind": line.kind, "there": line.there, "here": line.here, "rows": line.rows,
             "why": line.why, "examples": [one.id for one in line.examples]}
            for line in differing.lines(found)
        ],
        "notes": notes,
    }  # fmt: skip
    record.save(done.folder, {**done.run, "imported": section})
    return Result(record.read(done.folder), log, placed.how, guessed, found, numbers, notes)


def _notes(log: Log, placed: Placed, model: Imported, samples: Sequence[Sample]) -> Iterable[str]:
    same, asked = model.alike
    if asked > same:
        yield (
            f"{asked - same:,} of {asked:,} prompts are not the task's own words; comparing with "
            "a run of ours shows it as preprocessing"
        )
    if placed.strangers:
        yield f"{len(placed.strangers):,} rows of other samples were left out"
    lacking = len(samples) - len(placed.rows)
    if lacking:
        yield f"{lacking:,} of the task's {len(samples):,} samples are not in the log: missing"
    if len(placed.rows) + len(placed.strangers) > len(log.rows):
        yield (
            f"{len(log.rows):,} rows answer {len(placed.rows):,} samples: the tool asks a question "
            "that several parts share once"
        )


def _write_rows(folder: Path, placed: Placed, found: Sequence[differing.Difference]) -> None:
    """Write imported.jsonl, replaced atomically."""
    path, temporary = folder / FILE, folder / f".{FILE}.new"
    try:
        with temporary.open("w", encoding="ascii") as file:
            for one in found:
                logged = placed.rows[one.id]
                line = {
                    "id": one.id,
                    "where": logged.where,
                    "score": logged.theirs.score,
                    "parsed": logged.theirs.parsed,
                    "target": logged.target,
                    "metrics": dict(logged.theirs.metrics),
                    "kind": one.kind,
                    "why": one.why,
                }
                file.write(json.dumps(line, separators=(",", ":"), default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunStopped(
            f"{path} cannot be written ({error.strerror}); the rows are kept"
        ) from error
