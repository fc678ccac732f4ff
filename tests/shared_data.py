"""Real benchmark files for golden tests: a folder beside the checkout, or SIGHTLINE_SHARED."""

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def shared(name: str) -> Path:
    """Return the folder or file `name` of the shared data, or skip saying what is missing."""
    root = Path(os.environ.get("SIGHTLINE_SHARED", _DEFAULT))
    path = root / name
    if not path.exists():
        pytest.skip(
            f"needs the real data at {path} (set SIGHTLINE_SHARED to the folder that holds it)"
        )
    return path
