"""The seal of a finished run: digests of the files from which its rows are read, in run.json.

An edit by hand is seen even where it changes no number. A digest is no signature: it finds
accidents and careless hands. Imports harness only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import verdicts
from harness.errors import DataError
from harness.fingerprint import of_file

SEALED = ("rows.jsonl", "derived.jsonl", verdicts.FILE)
"""Files from which rows are read."""


def seal(folder: Path) -> dict[str, str]:
    """Return the sha256 of the files of a run folder from which its rows are read."""
    return {name: of_file(folder / name) for name in SEALED if (folder / name).exists()}


def check_seal(folder: Path, run: Mapping[str, Any]) -> None:
    """Raise DataError when the rows of a sealed run are not those that it ended with.

    `run` is what run.json holds.
    """
    if not run.get("seal"):
        return
    now, then = seal(folder), run["seal"]
    changed = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
    if changed:
        told = "; ".join(
            f"{name}: sha256 {now.get(name, 'none')[:16]}, sealed {then.get(name, 'none')[:16]}"
            for name in changed
        )
        raise DataError(
            f"{folder}: the rows are not those that the run was sealed with when it ended "
            f"({told}); they were edited by hand"
        )
