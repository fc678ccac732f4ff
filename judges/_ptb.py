"""Tokens as pycocoevalcap's PTBTokenizer gives them, all captions in one pass of one process.

The same jar and options as `pycocoevalcap/tokenizer/ptbtokenizer.py`: Stanford's PTB rules, lower
case, then punctuation tokens are dropped. That wrapper matches output lines to captions by
counting, so an empty last caption is lost and a line separator inside a caption shifts all later
ones; here every caption is exactly one line on the way in, and the lines are counted on the way
out. The order of captions is part of the numbers: at "a." or "U.S." the tokenizer looks at the next
line before it decides whether the full stop belongs to the word. One difference is left: a smiley
that ends the very last caption is one token here, as in every other line. Nothing is written to
disk.

Imports the standard library, harness.errors and judges._java.
"""

import re
import subprocess
from collections.abc import Sequence

from harness.errors import RunStopped
from judges import _java

_QUOTES = ("''", "'", "``", "`")
_BRACKETS = ("-LRB-", "-RRB-", "-LCB-", "-RCB-")  # never met: lower-casing comes first
_DROPPED = frozenset((*_QUOTES, *_BRACKETS, ".", "?", "!", ",", ":", "-", "--", "...", ";"))
_BREAKS = re.compile("[\x00\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""What the tokenizer, or whoever splits its output, could take for the end of a line."""
_EMPTY = "."
"""Stands in for a caption without text: it is dropped again as punctuation."""
_END = "x"
"""Follows the last caption of a file; no rule of the tokenizer looks for it."""
_CLASS = "edu.stanford.nlp.process.PTBTokenizer"
_PATIENCE_S = 120.0
_PATIENCE_PER_MB_S = 60.0


def tokenize(*files: Sequence[str]) -> list[list[str]]:
    """Return the tokens of each caption, joined by single spaces.

    Every one of `files` is a list of captions that the package would tokenize by itself, in its
    order. Raises MissingExtra without the extra `captions`, RunStopped when the process fails.
    """
    lines: list[str] = []
    for captions in files:
        lines += [*map(_line, captions), _END]
    found = iter(_tokenized(lines) if any(files) else lines)
    tokens = [[next(found) for _ in (*captions, _END)] for captions in files]
    return [part[:-1] for part in tokens]


def _line(caption: str) -> str:
    """Return a caption as one line that UTF-8 can hold."""
    plain = caption.encode("utf-8", "replace").decode()
    line = _BREAKS.sub(" ", plain)
    return line if line.strip() else _EMPTY


def _tokenized(lines: list[str]) -> list[str]:
    if not lines:
        return []
    output = _run("\n".join(lines) + "\n")
    found = output.split("\n")[:-1]
    if len(found) == len(lines):
        return [" ".join(t for t in f.rstrip().split(" ") if t not in _DROPPED) for f in found]
    if len(lines) == 1:  # the tokenizer saw an end of a line where we see none
        return [" ".join(t for t in output.split() if t not in _DROPPED)]
    middle = len(lines) // 2
    return _tokenized(lines[:middle]) + _tokenized(lines[middle:])


def _run(text: str) -> str:
    data = text.encode()
    words = ["-cp", str(_java.jar(_java.PTB_JAR)), _CLASS]
    options = ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    fast = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]  # it lives for half a second
    try:
        done = subprocess.run(
            _java.command(*fast, *words, *options),
            input=data,
            capture_output=True,
            env=_java.environment(),
            timeout=_PATIENCE_S + _PATIENCE_PER_MB_S * len(data) / 1e6,
        )
    except subprocess.TimeoutExpired as error:
        raise RunStopped(
            f"the caption tokenizer (Java) gave nothing for {error.timeout:.0f} s"
        ) from error
    except OSError as error:
        raise RunStopped(f"the caption tokenizer (Java) did not start: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-500:]
        raise RunStopped(
            f"the caption tokenizer (Java) ended with status {done.returncode}: {said or 'silent'}"
        )
    return done.stdout.decode()
