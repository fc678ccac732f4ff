"""METEOR 1.5: one Java process that lives as long as ours, fed ahead of its answers.

The same jar and options as `pycocoevalcap/meteor/meteor.py`. That wrapper asks for one caption and
waits; here captions are written while earlier answers are read, and the 6 seconds in which the jar
loads its paraphrase table pass while a model still generates, if `shared` was called by then.
The process takes about 1.5 GB. It ends with ours, whatever ends ours: its input closes.

Imports the standard library, harness.errors, harness.metrics.captions and judges._java.
"""

import atexit
import os
import re
import selectors
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from typing import IO

from harness.errors import RunStopped
from harness.metrics.captions import METEOR_LENGTH
from judges import _java

# A fixed young generation that holds the table while it is read; the collector cannot change a
# score. Pausing for garbage took a third of the start-up with the defaults.
_HEAP = ("-XX:+UseSerialGC", "-Xms1500m", "-Xmn900m", "-Xss64m")
_OPTIONS = ("-", "-", "-stdio", "-l", "en", "-norm")
_PATIENCE_S = 300.0
"""How long nothing may come back; the table is loaded in 6 s on a free core."""
_CHUNK = 1 << 16
_LONGEST = 2000
"""Words of a caption that the jar sees. It takes seconds for 3,000 words, four times that for twice
as many, and dies of 5,000, one recursion each. The score of such a caption is next to 0 anyway."""
_LINE_ENDS = re.compile("[\x00\r\n]")

Statistics = tuple[int, ...]


class Meteor:
    """One Java process. Safe to use from several threads; they take turns."""

    def __init__(self, command: Sequence[str] | None = None, patience_s: float = _PATIENCE_S):
        """Start the process and return at once. Raises MissingExtra, RunStopped."""
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as we)
        jar = () if command else ("-jar", str(_java.jar(_java.METEOR_JAR)), *_OPTIONS)
        try:
            self._process = subprocess.Popen(
                list(command or _java.command(*_HEAP, *jar)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_java.environment(),
                bufsize=0,
            )
        except OSError as error:
            self._errors.close()
            raise RunStopped(f"METEOR's Java process did not start: {error}") from error
        self._rest = b""

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def statistics(self, items: Sequence[tuple[str, Sequence[str]]]) -> list[Statistics]:
        """Return the jar's 23 numbers for each (hypothesis, references), in order.

        Of several references the jar takes the one with the best score. Raises RunStopped when
        the process dies, says something else or nothing for too long.
        """
        asked = "".join(_score_line(said, references) for said, references in items)
        return [_numbers(answer) for answer in self._exchange(asked, len(items))]

    def evaluate(self, statistics: Sequence[Statistics]) -> tuple[list[float], float]:
        """Return the jar's score of each caption, and of all of them together."""
        if not statistics:
            return [], 0.0
        told = (" ".join(f"{number}.0" for number in numbers) for numbers in statistics)
        answers = self._exchange(" ||| ".join(("EVAL", *told)) + "\n", len(statistics) + 1)
        values = [_number(answer) for answer in answers]
        return values[:-1], values[-1]

    def _exchange(self, text: str, lines: int) -> list[str]:
        """Write `text` and read `lines` lines, both at once: neither pipe can fill up for good."""
        with self._lock:
            try:
                found = self._flow(memoryview(text.encode("utf-8", "replace")), lines)
            except BaseException:  # answers to this text must never be read as those to the next
                self.close()
                raise
        if len(found) > lines or self._rest:
            self.close()
            raise RunStopped(f"METEOR said more than was asked: {found[lines:] or self._rest!r}")
        return found

    def _flow(self, left: memoryview, lines: int) -> list[str]:
        said, answers = self._pipes()
        found: list[str] = []
        with selectors.DefaultSelector() as ready:
            ready.register(answers, selectors.EVENT_READ)
            if left:
                ready.register(said, selectors.EVENT_WRITE)
            while len(found) < lines:
                events = ready.select(self._patience_s)
                if not events:
                    raise self._broken(f"said nothing for {self._patience_s:.0f} s")
                for key, _ in events:
                    if key.fileobj is answers:
                        found += self._read(answers)
                        continue
                    left = self._write(said, left)
                    if not left:
                        ready.unregister(said)
        return found

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        said, answers = self._process.stdin, self._process.stdout
        if said is None or answers is None or said.closed:
            raise RunStopped("METEOR's Java process was closed")
        os.set_blocking(said.fileno(), False)
        return said, answers

    def _write(self, said: IO[bytes], left: memoryview) -> memoryview:
        try:
            return left[os.write(said.fileno(), left[:_CHUNK]) :]
        except BrokenPipeError as error:
            raise self._broken("ended") from error

    def _read(self, answers: IO[bytes]) -> list[str]:
        block = os.read(answers.fileno(), _CHUNK)
        if not block:
            raise self._broken("ended")
        *whole, self._rest = (self._rest + block).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]

    def _broken(self, what: str) -> RunStopped:
        """Put an end to the process and return the error that says why."""
        if what == "ended":
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                what = "closed its output"
        status = self._process.poll()
        self._errors.seek(0)
        last = self._errors.read().decode("utf-8", "replace").strip()[:300]
        return RunStopped(
            f"METEOR's Java process {what} (status {status}; it needs 1.5 GB of memory); it said: "
            f"{last or 'nothing'}"
        )

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()
        self._errors.close()


def _score_line(said: str, references: Sequence[str]) -> str:
    words = said.split(" ")
    if len(words) > _LONGEST:
        said = " ".join(words[:_LONGEST])
    return " ||| ".join(["SCORE", *map(_plain, references), _plain(said)]) + "\n"


def _plain(text: str) -> str:
    """Return a text that cannot end its field or line."""
    return _LINE_ENDS.sub(" ", text.replace("|||", "")).replace("  ", " ")


def _numbers(answer: str) -> Statistics:
    try:
        numbers = tuple(int(float(field)) for field in answer.split())
    except ValueError:
        numbers = ()
    if len(numbers) != METEOR_LENGTH:
        raise RunStopped(f"METEOR said {answer[:200]!r}, not {METEOR_LENGTH} numbers")
    return numbers


def _number(answer: str) -> float:
    try:
        return float(answer)
    except ValueError as error:
        raise RunStopped(f"METEOR said {answer[:200]!r} in the place of a number") from error


_shared: dict[int, Meteor] = {}
"""By process id: a forked child must neither use nor end its parent's Java process."""
_sharing = threading.Lock()


def shared() -> Meteor:
    """Return the process that all tasks use, starting it when there is none (any more)."""
    with _sharing:
        found = _shared.get(os.getpid())
        if found is not None and found.alive:
            return found
        if found is None:
            atexit.register(_end)
        else:
            found.close()
        _shared[os.getpid()] = Meteor()
        return _shared[os.getpid()]


def _end() -> None:
    if (mine := _shared.pop(os.getpid(), None)) is not None:
        mine.close()
