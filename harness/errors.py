"""What can go wrong, and the exit code that says so.

    SightlineError          printed in one line, without a traceback
    ├── UsageError     2    the command line or an option is wrong
    ├── DataError      3    a file, an id or an image is not what it must be
    ├── MissingExtra   2    an optional package is needed; the message holds the command
    └── RunStopped     1    the run ended early; its record is intact and can be resumed

A sample that fails is not an exception but a row (`harness.types.Failure`): a bad sample is
data, not a crash. Only the run loop turns exceptions of a model into rows.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class SightlineError(Exception):
    """Something the user must fix first. `exit_code` is what the command line returns."""

    exit_code = 4


class UsageError(SightlineError):
    """The command line, a name or an option is wrong."""

    exit_code = 2


class MissingExtra(UsageError):
    """An optional package is not installed."""

    def __init__(self, package: str, what: str, command: str) -> None:
        """Say which `package` is missing for `what`, and the `command` that installs it."""
        super().__init__(f"{what} needs the package '{package}', which is not here. {command}")


class DataError(SightlineError):
    """A file, line, id or image is not what it must be."""

    exit_code = 3


class RunStopped(SightlineError):
    """The run ended early. What was done is kept and `--resume` goes on from there."""

    exit_code = 1


def unknown(what: str, name: str, known: Iterable[str]) -> UsageError:
    """Say that there is no `what` called `name`, and which names come near or exist."""
    names = sorted(known)
    near = get_close_matches(name, names, n=4, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
    return UsageError(f"there is no {what} '{name}'; {hint}")
