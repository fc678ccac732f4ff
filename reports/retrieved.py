"""What was retrieved for each class, as one HTML page: pictures, captions, scores, counts.

Reads what `sightline react retrieve` wrote (run.json, manifest.parquet, queries.parquet, the tars)
and nothing else. Captions and addresses come from the web: they are shown as text, cut where they
are long, and never linked. pyarrow and PIL are imported inside functions.
"""

import json
import tarfile
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError
from reports._page_shell import render as page

SIDE = 240
"""Pixels of the longer side of a picture in the page."""
LONGEST = 300
"""Characters of a caption or an address that are shown."""
_COLUMNS = ("key", "tar", "suffix", "url", "caption", "labels", "templates", "ranks", "distances",
            "modes", "source_shard", "source_key")  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """One pair under one class."""

    key: str
    caption: str
    url: str
    source: str
    rank: int
    cosine: float
    mode: str
    query: str
    others: Sequence[str]
    """Further classes that it came in for."""
    uri: str
    """The picture as data; empty where it is not shown."""


@dataclass(frozen=True)
class Class:
    """One class of the page."""

    name: str
    anchor: str
    counts: Mapping[str, int]
    pairs: Sequence[Shown]


def render(folder: Path, *, each: int = 6, images: bool = True) -> str:
    """Return the page; the same folder gives the same bytes.

    Args:
        folder: What `react retrieve` made.
        each: Pairs of a class that are shown, the best first.
        images: Whether their pictures are read from the tars and shown.

    Raises:
        UsageError: The folder is not finished, or none.
        DataError: A file in it is damaged.
    """
    run = _run(folder)
    rows = _table(folder / "manifest.parquet", _COLUMNS)
    texts = {
        (row["label"], row["template"]): row["text"]
        for row in _table(folder / "queries.parquet", ("label", "template", "text"))
    }
    chosen = _chosen(rows, each)
    uris = _pictures(folder, [row for some in chosen.values() for row, _ in some]) if images else {}
    classes = [
        Class(name, f"class-{number}", counts,
              [_shown(row, at, texts, uris) for row, at in chosen.get(name, ())])
        for number, (name, counts) in enumerate(run["labels"].items())
    ]  # fmt: skip
    empty = run["labels_without_pairs"]
    values = {
        "title": f"Retrieved: {run['kept']:,} pairs",
        "run": run,
        "classes": classes,
        "empty": empty,
        "each": each,
        "bad": sum(run["pool"]["bad"].values()),
        "data": {name: run[name] for name in ("k_used", "found", "dropped", "kept", "labels")},
        "sections": [("counts", "Counts"), ("classes", "Classes"), ("pairs", "Pairs")],
    }
    return page("retrieved.html.j2", values)


def _run(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found["labels"], dict) or not isinstance(found["dropped"], dict):
            raise TypeError("labels and dropped are objects")
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder} has no run.json: give a folder that `sightline react retrieve` finished"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no record of a retrieval ({error!r})") from error
    return dict(found)


def _table(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_table(path, columns=list(columns)).to_pylist())
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _chosen(
    rows: Sequence[dict[str, Any]], each: int
) -> dict[str, list[tuple[dict[str, Any], int]]]:
    """Return the best pairs by class, each with the place of the class in its lists."""
    found: dict[str, list[tuple[dict[str, Any], int]]] = {}
    for row in rows:
        for at, label in enumerate(row["labels"]):
            found.setdefault(label, []).append((row, at))
    for some in found.values():
        some.sort(key=lambda one: (one[0]["ranks"][one[1]], one[0]["distances"][one[1]],
                                   one[0]["key"]))  # fmt: skip
    return {label: some[:each] for label, some in found.items()}


def _shown(
    row: Mapping[str, Any], at: int, texts: Mapping[tuple[str, int], str], uris: Mapping[str, str]
) -> Shown:
    label = row["labels"][at]
    return Shown(
        row["key"], _cut(row["caption"]), _cut(row["url"]),
        f"{row['source_shard']}/{row['source_key']}", row["ranks"][at],
        1 - row["distances"][at], row["modes"][at], texts.get((label, row["templates"][at]), ""),
        [other for other in row["labels"] if other != label], uris.get(row["key"], ""),
    )  # fmt: skip


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\N{HORIZONTAL ELLIPSIS}"


def _pictures(folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the pictures of pairs as data URIs by key; none for one that does not open."""
    by_tar: dict[str, set[str]] = {}
    for row in rows:
        by_tar.setdefault(row["tar"], set()).add(f"{row['key']}.{row['suffix']}")
    found: dict[str, str] = {}
    for name, wanted in sorted(by_tar.items()):
        path = folder / Path(name).name  # a name of a manifest never leads out of the folder
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    opened = tar.extractfile(member) if member.name in wanted else None
                    if opened:
                        found[member.name.partition(".")[0]] = _small(opened.read())
        except (OSError, tarfile.TarError) as error:
            raise DataError(f"{path}: cannot be read ({error}); --no-images leaves it") from error
    return found


def _small(data: bytes) -> str:
    from PIL import Image

    try:
        with Image.open(BytesIO(data)) as opened:
            rgb = opened.convert("RGB")
            rgb.thumbnail((SIDE, SIDE))
        out = BytesIO()
        rgb.save(out, "WEBP", quality=70, method=4)
    except Exception:  # PIL raises half a dozen kinds for files that are no pictures
        return ""
    return f"data:image/webp;base64,{b64encode(out.getvalue()).decode()}"
