"""Files that are whole or not there, and how much of a pool may be bad.

Standard library and harness only.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import DataError, RunStopped, UsageError

LIMIT = 0.05
"""Share of shards, and of pairs in the shards that can be read, that may be bad."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a name to write under; the file gets its own name when all of it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    yield part
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write one object, keys in the order they have."""
    with whole(path) as part:
        text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path, what: str, make: str) -> dict[str, Any]:
    """Read an object that a stage before has written.

    Args:
        path: The file.
        what: What it says, for the message.
        make: The command that makes it.

    Raises:
        UsageError: It is not there.
        DataError: It is no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"{path.parent} has no {path.name} ({what}); run `{make}` first"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove it and run `{make}`") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: an object with {what} is expected; run `{make}` again")
    return found


def same_settings(path: Path, settings: Mapping[str, Any], what: str) -> None:
    """Keep the settings of a folder's first run; a later run must have the same ones.

    Raises UsageError naming those that differ.
    """
    if not path.exists():
        write_json(path, settings)
        return
    before, now = read_json(path, "the settings of its first run", what), _plain(settings)
    differing = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if differing:
        told = "; ".join(
            f"{k}: {before.get(k)!r} before, {now.get(k)!r} now" for k in differing[:4]
        )
        raise UsageError(
            f"{path.parent} was begun with other settings ({told}); take another folder, or the "
            "settings of before"
        )


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(settings, ensure_ascii=False)))


@dataclass
class Losses:
    """What of a pool could not be used, and when that is too much."""

    limit: float = LIMIT
    shards: int = 0
    """Shards of the pool."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Name of a shard to why it was passed over."""
    pairs: int = 0
    """Pairs of the shards that were read, good and bad."""
    bad: Counter[str] = field(default_factory=Counter)
    """Pairs passed over, by reason."""

    def check_shards(self) -> None:
        """Raise RunStopped where more shards are bad than may be."""
        if len(self.unreadable) > self.limit * self.shards:
            told = "; ".join(f"{name}: {why}" for name, why in list(self.unreadable.items())[:3])
            raise RunStopped(
                f"{len(self.unreadable)} of {self.shards} shards cannot be read (--failure-limit "
                f"is {self.limit:g}): {told}. The shards that are done are kept; mend these or "
                "raise the limit, and run the command again"
            )

    def check_pairs(self) -> None:
        """Raise RunStopped where more pairs are bad than may be; DataError where none is good."""
        lost = sum(self.bad.values())
        told = "; ".join(f"{why}: {n:,}" for why, n in self.bad.most_common())
        if self.pairs == lost:
            raise DataError(f"the pool has no pair that can be used ({told or 'it is empty'})")
        if lost > self.limit * self.pairs:
            raise RunStopped(
                f"{lost:,} of {self.pairs:,} pairs cannot be used (--failure-limit is "
                f"{self.limit:g}): {told}. What is done is kept; raise the limit to go on"
            )
