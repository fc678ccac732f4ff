"""Verdicts that were paid for once: judge, prompt and decoding -> the judge's words.

One sqlite file in a folder that all runs share. The key is a hash of everything that the judge was
given (harness/judging.py), so a changed prompt, judge or repeat never finds an old answer. Only
words that were read as a verdict are kept: a failure or an unreadable reply is asked again.
Imports the standard library and harness.errors.
"""

import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import UsageError

NAME = "verdicts-1.sqlite"
"""The number is that of the layout."""


def default_folder() -> Path:
    """Return the folder that the command line uses: below the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "sightline" / "judges"


class Cache:
    """Use as a context manager. Several processes may use one folder at the same time."""

    def __init__(self, folder: Path) -> None:
        """Open or create it. Raises UsageError when that is not possible."""
        self.path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            self._file.execute("pragma journal_mode = wal")
            self._file.execute("pragma synchronous = normal")  # survives kill -9
            self._file.execute(
                "create table if not exists verdicts (key text primary key, reply text not null)"
            )
        except sqlite3.Error as error:
            self._file.close()
            raise self._unusable(error) from error

    def get(self, key: str) -> dict[str, Any] | None:
        """Return what was kept under a key, or None."""
        try:
            asked = self._file.execute("select reply from verdicts where key = ?", (key,))
            found = asked.fetchone()
            return None if found is None else dict(json.loads(found[0]))
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise self._unusable(error) from error

    def put(self, key: str, reply: Mapping[str, Any]) -> None:
        """Keep a reply."""
        try:
            self._file.execute(
                "insert or replace into verdicts values (?, ?)", (key, json.dumps(dict(reply)))
            )
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _unusable(self, error: Exception) -> UsageError:
        return UsageError(
            f"the cache of verdicts {self.path} cannot be used ({error}). Remove the file, name "
            "another folder (--cache) or go without (--no-cache)"
        )
