"""What is written while a run goes on: train_log.jsonl, and a bar or quiet lines for people.

One JSON object per line; a line with "loss" is a logged step, one with "eval" a benchmark's
number, one with "left_out" names a record that could not be read (docs/training.md has the
schema). Only appended to; going on from a checkpoint first cuts off what came after it. Imports
the standard library, rich inside a function, harness.progress.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.progress import clock

NAME = "train_log.jsonl"
_EVERY = 15.0  # seconds between lines where there is no terminal


class Log:
    """The log file of a run."""

    def __init__(self, folder: Path, *, after: int | None = None) -> None:
        """Open the log below `folder`; keep lines up to step `after`, None for a new run."""
        self.path = folder / NAME
        lines = [] if after is None else [x for x in read(self.path) if x["step"] <= after]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        self.path.write_text(text, encoding="utf-8")

    def add(self, line: Mapping[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(line)}\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; a last line that was cut off by a crash is passed over."""
    if not path.exists():
        return []
    out = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


class Display:
    """Progress for people, on standard error."""

    def __init__(self, quiet: bool) -> None:
        """Show nothing when `quiet`; a bar on a terminal; else a line now and then."""
        self.quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._total = self._first = 0
        self._shown = self._begun = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def begin(self, total: int, done: int) -> None:
        """Say how many steps there are, of which `done` were made before."""
        self._total, self._first, self._begun = total, done, time.monotonic()
        if self.quiet:
            return
        if not sys.stderr.isatty():
            self.say(f"training {total - done:,} of {total:,} steps")
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Left

        columns = (BarColumn(), MofNCompleteColumn(), Left(), TextColumn("{task.fields[note]}"))
        self._bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
        self._bar.start()
        self._task = self._bar.add_task("", total=total, completed=done, note="")

    def step(self, line: Mapping[str, Any]) -> None:
        """Show a logged step."""
        note = f"loss {line['loss']:.4f}"
        if line.get("tokens_per_s"):
            note += f", {line['tokens_per_s']:,.0f} tokens/s"
        if line.get("mfu"):
            note += f", MFU {line['mfu']:.2f}"
        if self._bar is not None:
            self._bar.update(self._task, completed=line["step"], note=note)
        elif time.monotonic() - self._shown > _EVERY:
            self._shown = time.monotonic()
            done = max(line["step"] - self._first, 1)
            left = (self._shown - self._begun) / done * (self._total - line["step"])
            self.say(f"step {line['step']:,}/{self._total:,}: {note}, {clock(left)} left")

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
