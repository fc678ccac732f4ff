"""Progress of a run: a bar with rate, time left and running score, or quiet lines in a log."""

import sys
import time
from typing import IO, Any

from harness.record import Row

_EVERY = 15.0  # seconds between lines where there is no terminal


class Lines:
    """One line now and then; for logs and pipes."""

    def __init__(self, out: IO[str] | None = None, every: float = _EVERY) -> None:
        """Write to `out` (standard error), at most once in `every` seconds."""
        self._out = out or sys.stderr
        self._every = every
        self._tally = Tally()
        self._last = time.monotonic()

    def begin(self, total: int, done: int) -> None:
        """Say how much there is to do."""
        self._tally.begin(total, done)
        resumed = f", {done:,} done before" if done else ""
        print(f"asking {total - done:,} of {total:,} samples{resumed}", file=self._out, flush=True)

    def row(self, row: Row) -> None:
        """Count a row, and print a line when it is time."""
        self._tally.row(row)
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            print(self._tally.line(), file=self._out, flush=True)

    def end(self) -> None:
        """Print the last line."""
        print(self._tally.line(), file=self._out, flush=True)


class Bar:
    """A live bar on a terminal."""

    def __init__(self) -> None:
        """Make the bar; it appears at `begin`."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Left

        self._tally = Tally()
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), Left())
        self._progress = Progress(
            *columns,
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            refresh_per_second=5,
        )
        self._bar: Any = None
        self._shown = 0.0

    def begin(self, total: int, done: int) -> None:
        """Draw the bar."""
        self._tally.begin(total, done)
        self._progress.start()
        self._bar = self._progress.add_task("", total=total, completed=done, rate="", note="")

    def row(self, row: Row) -> None:
        """Move the bar; it is redrawn a few times a second at most."""
        self._tally.row(row)
        if time.monotonic() - self._shown > 0.2:
            self._show()

    def end(self) -> None:
        """Show the last state and leave it standing."""
        if self._bar is not None:
            self._show()
            self._progress.stop()

    def _show(self) -> None:
        self._shown = time.monotonic()
        tally = self._tally
        self._progress.update(
            self._bar, completed=tally.finished, rate=tally.rate_text(), note=tally.note()
        )


class Tally:
    """Counts, rate and running score of a run."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.total = self.before = self.finished = self.scored = 0
        self.failed = self.missing = self.unparsed = 0
        self.points = 0.0
        self._start = time.monotonic()
        self._first: float | None = None

    def begin(self, total: int, done: int) -> None:
        """Set the total; `done` samples were finished by an earlier attempt."""
        self.total, self.before, self.finished = total, done, done
        self._start = time.monotonic()

    def row(self, row: Row) -> None:
        """Count one row."""
        if self._first is None:
            self._first = time.monotonic()
        self.finished += 1
        self.failed += row["status"] == "failed"
        self.missing += row["status"] == "missing"
        self.unparsed += row["status"] == "unparsed"
        if row["score"] is not None:
            self.scored += 1
            self.points += row["score"]

    @property
    def rate(self) -> float:
        """Samples a second of this attempt."""
        return (self.finished - self.before) / max(time.monotonic() - self._start, 1e-9)

    def _settled(self) -> bool:
        """Whether the rate says something: the first answers wait for weights to load."""
        waited = (self._first or 0) - self._start
        return self._first is not None and time.monotonic() - self._start > 1.5 * waited

    def rate_text(self) -> str:
        """Return the rate for people."""
        return f"{self.rate:,.0f}/s" if self.rate >= 10 else f"{self.rate:.2f}/s"

    def note(self) -> str:
        """Return the running mean score and what went wrong."""
        notes = [f"score {100 * self.points / self.scored:.1f}"] if self.scored else []
        notes += [f"unparsed {self.unparsed:,}"] if self.unparsed else []
        notes += [f"missing {self.missing:,}"] if self.missing else []
        notes += [f"failed {self.failed:,}"] if self.failed else []
        return ", ".join(notes)

    def line(self) -> str:
        """Return everything in one line."""
        left = (self.total - self.finished) / self.rate if self._settled() else 0
        time_left = f", {clock(left)} left" if left and self.finished < self.total else ""
        note = f", {self.note()}" if self.note() else ""
        return f"{self.finished:,}/{self.total:,} at {self.rate_text()}{time_left}{note}"


def clock(seconds: float) -> str:
    """Return a duration for people: 42 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest:02d} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )
