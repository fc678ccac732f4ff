"""What was blessed, what is waived, and every attempt to pass: plain files in one folder.

    baselines/NAME.json       a blessed set of runs: their folders, and digests of their files
    baselines/waivers.jsonl   leave for a task to be worse until a day; expires by itself
    baselines/ledger.jsonl    one line per attempt at the gate; only ever appended to

A blessed entry never changes: it is created once, holds the digest of its own content, and every
file of its runs is compared with its digest before it is used. So "never the last run" is not a
rule that people must keep. Reads and writes these files only.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import DataError, UsageError
from harness.fingerprint import digest, of_file
from harness.seal import SEALED
from reports.comparable import Run, load, places_in
from reports.repeats import together

SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*(/[A-Za-z0-9][A-Za-z0-9._@+-]*)*")
_FILES = ("run.json", *SEALED)


@dataclass(frozen=True)
class Entry:
    """A blessed baseline."""

    name: str
    why: str
    when: str
    major: bool
    runs: Sequence[Mapping[str, Any]]
    """Of each: task, folder, files (name to sha256)."""
    digest: str
    home: Path

    def load(self) -> dict[str, Run]:
        """Return its runs by task. Raises DataError when any file is not what was blessed."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run["task"], []).append(load(self.folder(run)))
        return {task: together(runs) for task, runs in found.items()}

    def proof(self, task: str) -> str:
        """Return what its runs of a task have in common with an attempt on the same runs."""
        return proof(run["files"] for run in self.runs if run["task"] == task)

    def folder(self, run: Mapping[str, Any]) -> Path:
        """Return the folder of one of its runs. Raises DataError when a file in it changed."""
        named = str(run["folder"])
        place = named if store.is_address(named) else (self.home / named).resolve()
        folder = store.local(place)
        now = file_digests(folder)
        changed = sorted(n for n in now.keys() | run["files"] if now.get(n) != run["files"].get(n))
        if changed:
            raise DataError(
                f"{place} is not what was blessed as {self.name}: "
                f"{', '.join(changed)} changed or went away since {self.when}"
            )
        return folder


def file_digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of the files of a run folder that decide its numbers."""
    return {name: of_file(folder / name) for name in _FILES if (folder / name).exists()}


def proof(files: Iterable[Mapping[str, str]]) -> str:
    """Return one digest for the files of some runs, whatever their order."""
    return digest(sorted(digest(found, 64) for found in files), 64)


def bless(
    home: Path, name: str, runs: Iterable[Path | str], why: str, *, major: bool = False
) -> Entry:
    """Make runs a baseline under a new name; several of one task are repeats of it.

    Raises UsageError for a name that is taken, DataError for runs that are no repeats.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot name a baseline: letters, digits and . _ @ + - with / between parts"
        )
    if not why.strip():
        raise UsageError("--why must say why this is the baseline")
    path = home / f"{name}.json"
    blessed: list[dict[str, Any]] = []
    loaded: dict[str, list[Run]] = {}
    for place in (found for named in runs for found in places_in(named)):
        run = load(place)
        loaded.setdefault(run.task, []).append(run)
        where = str(place)
        if isinstance(place, Path):
            where = os.path.relpath(place.resolve(), path.parent.resolve())
        blessed.append({"task": run.task, "folder": where, "files": file_digests(run.folder)})
    for found in loaded.values():
        together(found)
    content = {
        "schema": SCHEMA, "name": name, "why": why, "when": _now(), "major": major,
        "runs": sorted(blessed, key=lambda run: (run["task"], run["folder"])),
    }  # fmt: skip
    text = json.dumps({**content, "digest": digest(content, 64)}, indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(
            f"{name} is blessed already and never changes; choose a new name, as {name}-2"
        ) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error}") from error
    return find(home, name)


def find(home: Path, name: str) -> Entry:
    """Return a blessed baseline. Raises DataError when there is none or it was edited."""
    path = home / f"{name}.json"
    if not _NAME.fullmatch(name) or not path.is_file():
        known = ", ".join(entry.name for entry in all_of(home)) or "none"
        raise DataError(
            f"no baseline '{name}' in {home}/ (blessed there: {known}); make one with "
            f"`sightline bless NAME RUN... --why ...`"
        )
    return _read(path, home)


def _read(path: Path, home: Path) -> Entry:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        told = content.pop("digest")
        if content["schema"] != SCHEMA:
            raise DataError(f"{path}: schema {content['schema']}, this version reads {SCHEMA}")
        if digest(content, 64) != told:
            raise DataError(f"{path} was edited after it was blessed; a baseline never changes")
        return Entry(
            content["name"], content["why"], content["when"], content["major"], content["runs"],
            told, path.parent,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a blessed baseline ({error})") from error


def all_of(home: Path) -> list[Entry]:
    """Return all blessed baselines, oldest first."""
    others = ("run.json", "manifest.json")  # runs that are kept in the same folder
    paths = (path for path in home.rglob("*.json") if path.name not in others)
    return sorted((_read(path, home) for path in paths), key=lambda e: (e.when, e.name))


def last_major(home: Path, task: str, besides: str) -> Entry | None:
    """Return the newest major baseline with this task, other than the one with this digest."""
    fit = [
        entry for entry in all_of(home)
        if entry.major and entry.digest != besides and any(r["task"] == task for r in entry.runs)
    ]  # fmt: skip
    return fit[-1] if fit else None


@dataclass(frozen=True)
class Leave:
    """A waiver as `sightline waive` wrote it."""

    task: str
    until: date
    max_drop: float
    why: str

    def __str__(self) -> str:
        return f"{self.task} may fall by up to {self.max_drop:g} until {self.until}: {self.why}"


def waive(home: Path, task: str, until: date, max_drop: float, why: str, today: date) -> Leave:
    """Write a waiver. Raises UsageError for a past day, a negative drop or no reason."""
    if until < today:
        raise UsageError(f"--until {until} is past")
    if not 0 <= max_drop < float("inf"):
        raise UsageError(f"--max-drop is {max_drop}; it must be 0 or more")
    if not why.strip():
        raise UsageError("--why must say why")
    line = {"task": task, "until": until.isoformat(), "max_drop": max_drop, "why": why}
    append(home / "waivers.jsonl", {**line, "when": _now()})
    return Leave(task, until, max_drop, why)


def waivers(home: Path, today: date) -> tuple[list[Leave], list[Leave]]:
    """Return the waivers in force and those that expired. The last of a task stands."""
    standing = {leave.task: leave for leave, _ in waived(home)}
    found = sorted(standing.values(), key=lambda leave: leave.task)
    return [w for w in found if w.until >= today], [w for w in found if w.until < today]


def waived(home: Path) -> list[tuple[Leave, datetime]]:
    """Return every waiver that was ever written, with when, oldest first."""
    found = []
    for number, line in enumerate(_lines(home / "waivers.jsonl"), 1):
        try:
            leave = Leave(
                str(line["task"]), date.fromisoformat(line["until"]), float(line["max_drop"]),
                str(line["why"]),
            )  # fmt: skip
            when = line.get("when", f"{leave.until}T00:00:00+00:00")  # written by hand
            found.append((leave, datetime.fromisoformat(when)))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{home / 'waivers.jsonl'}, line {number}: damaged ({error})"
            ) from error
    return found


def attempts(home: Path, key: str) -> list[Mapping[str, Any]]:
    """Return earlier attempts of a candidate model against a baseline, oldest first."""
    return [line for line in ledger(home) if line.get("key") == key]


def ledger(home: Path) -> list[Mapping[str, Any]]:
    """Return every attempt, oldest first. Raises DataError for a damaged line."""
    return _lines(home / "ledger.jsonl")


def attempt_key(baseline: str, runs: Mapping[str, Run]) -> str:
    """Return what makes attempts the same question: the baseline and the candidate's models."""
    models = sorted({run.head["fingerprint"]["model"] for run in runs.values()})
    return digest([baseline, models])


def record(home: Path, line: Mapping[str, Any]) -> None:
    """Add an attempt to the ledger. Raises DataError when it cannot be written."""
    append(home / "ledger.jsonl", {"when": _now(), **line})


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line to a file in one write, so that concurrent gates do not mix."""
    data = json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            if os.write(file, data) != len(data):
                raise OSError("the disk is full")
        finally:
            os.close(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error}") from error


def _lines(path: Path) -> list[Mapping[str, Any]]:
    if not path.exists():
        return []
    found: list[Mapping[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: damaged ({error})") from error
        if not isinstance(value, dict):
            raise DataError(f"{path}, line {number}: damaged (no mapping)")
        found.append(value)
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
