"""How the formats of common sense and of training data put JSON on disk: same input, same bytes.

Imports only the standard library.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from shutil import copyfile
from typing import Any


def document(path: Path, content: Any) -> None:
    """Write one JSON document, compact, keys in the order given, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def link(source: Path, target: Path) -> None:
    """Make a file available at `target` too: a hard link, or else a copy.

    Raises OSError when there is no such file or the disk refuses both.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        copyfile(source, target)
