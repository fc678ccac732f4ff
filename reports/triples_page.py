"""A page of triples that a critic's threshold kept and dropped, drawn on their pictures.

Reads the folder of `sightline critic filter` (kept.jsonl, dropped.jsonl, card.json) and, where it
is given, what `critic curve` wrote. Which triples are shown is drawn from the seed and the ids.
Regions are drawn in the colours in which the critic saw them; the numbers are those of the corpus.
One file, no requests; all text is a model's and stays text. Imports harness and reports; PIL
inside.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from heapq import nsmallest
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any

from harness.engine.highlight import colours, highlight
from harness.errors import DataError
from reports._page_shell import render
from reports.thumbnails import SIDE, Folder

PARTS = ("question", "answer", "rationale")
WIDTH, HEIGHT, LEFT, TOP, FLOOR = 560, 260, 48, 14, 222
"""Of the figure, in its own units."""
_LONG = 1200
"""Characters of a part that are shown."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """A region as it is drawn."""

    id: int
    slot: int
    """Place in the drawing order: its colour."""
    name: str
    boxes: tuple[Box, ...]


def write(
    folder: Path,
    images: Path,
    out: Path,
    *,
    count: int = 40,
    seed: int = 0,
    curve: Path | None = None,
) -> dict[str, int]:
    """Write the page of a filtered corpus to `out`; return how many triples it shows of each.

    Args:
        folder: With kept.jsonl, dropped.jsonl and card.json.
        images: Folder of the pictures; one that is not there is named and not shown.
        out: The .html file.
        count: Triples shown of each kind.
        seed: Of the lot.
        curve: A file of `critic curve`.

    Raises:
        DataError: A file is missing or damaged; the line is named.
        UsageError: `images` is no folder.
    """
    pictures = Folder(images)
    card = _json(folder / "card.json")
    shown = {}
    for name in ("kept", "dropped"):
        rows = nsmallest(count, _rows(folder / f"{name}.jsonl"), key=lambda row: _lot(row, seed))
        cards = [_card(row, pictures, folder / f"{name}.jsonl") for row in rows]
        shown[name] = sorted(cards, key=lambda one: (-(one["score"] or 0.0), one["id"]))
    figure = _figure(_json(curve)) if curve else None
    try:
        values = _values(card, shown, figure)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / 'card.json'}: no card of `critic filter` ({error})") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(render("triples.html.j2", values).encode())
    return {name: len(found) for name, found in shown.items()}


def _values(
    card: Mapping[str, Any], shown: Mapping[str, Any], figure: Mapping[str, Any] | None
) -> dict[str, Any]:
    counts = {name: int(card["counts"][name]) for name in ("kept", "dropped", "unscored")}
    tables = [
        (str(kind), [(str(name), _counted(one)) for name, one in found.items()])
        for kind, found in card["by"].items()
    ]
    parts = [
        (name, {key: one[key] for key in ("triples", "images", "mean_score", "accepted")})
        for name, one in card["corpus"].items()
    ]
    sections = [("numbers", "Numbers"), ("kept", "Kept"), ("dropped", "Dropped")]
    return {
        "title": "Triples kept and dropped",
        "sections": sections,
        "threshold": float(card["threshold"]),
        "retention": float(card["retention"]),
        "counts": counts,
        "tables": tables,
        "parts": parts,
        "shown": shown,
        "figure": figure,
        "data": {
            "threshold": float(card["threshold"]),
            "counts": counts,
            "shown": {name: [one["id"] for one in found] for name, found in shown.items()},
        },
    }


def _counted(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kept": int(one["kept"]),
        "scored": int(one["kept"]) + int(one["dropped"]),
        "retention": None if one["retention"] is None else float(one["retention"]),
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: not a JSON object")
    return found


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    row["id"], row["image"]
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{path}, line {number}: no triple ({error})") from error
                yield row
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _lot(row: Mapping[str, Any], seed: int) -> bytes:
    return sha256(f"{seed}/page/{row['id']}".encode("utf-8", "surrogatepass")).digest()


def _card(row: Mapping[str, Any], pictures: Folder, path: Path) -> dict[str, Any]:
    """Return what the template shows of a triple. Raises DataError for a damaged one."""
    try:
        regions = _regions(row)
        score = row.get("prediction")
        return {
            "id": str(row["id"]),
            "image": str(row["image"]),
            "source": str(row.get("source") or ""),
            "style": str(row.get("style") or ""),
            "score": None if score is None else float(score),
            "label": {0: "rejected", 1: "accepted"}.get(row.get("accept", -1), ""),
            "parts": [(name, _said(row[name], regions)) for name in PARTS],
            "regions": [
                {"id": one.id, "name": one.name, "colours": _pair(one.slot)} for one in regions
            ],
            "picture": _picture(row, regions, pictures),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the triple {row['id']!r} is damaged ({error!r})") from error


def _regions(row: Mapping[str, Any]) -> list[Region]:
    """Return the regions of a triple in the order in which a critic draws them."""
    about = [int(id) for id in row.get("region") or ()]
    for name in PARTS:
        about += [int(id) for token in row[name] if isinstance(token, list) for id in token]
    known = {str(one["name"]): one for one in row.get("references") or ()}
    out = []
    for slot, id in enumerate(dict.fromkeys(about)):
        one = known.get(str(id), {})
        boxes = tuple(_box(box) for box in one.get("boxes") or ())
        out.append(Region(id, slot, str(one.get("obj_guess") or "")[:60], boxes))
    return out


def _box(found: Sequence[Any]) -> Box:
    left, top, right, bottom = (float(x) for x in found[:4])
    if not all(map(isfinite, (left, top, right, bottom))) or left > right or top > bottom:
        raise ValueError(f"{found!r} is no box")
    return left, top, right, bottom


def _said(tokens: Sequence[Any], regions: Sequence[Region]) -> list[tuple[str, bool]]:
    """Return a part as pieces of text, each with whether it names a region."""
    out: list[tuple[str, bool]] = []
    room = _LONG
    for token in tokens:
        region = isinstance(token, list)
        text = " , ".join(f"[{int(id)}]" for id in token) if region else str(token)
        out.append((text[:room], region))
        room -= len(text) + 1
        if room <= 0:
            out.append(("…", False))
            break
    return out


def _pair(slot: int) -> tuple[str, str]:
    """Return the colours of a region, fill and edge, as six digits."""
    fill, edge = colours(slot)
    return f"#{bytes(fill[:3]).hex()}", f"#{bytes(edge[:3]).hex()}"


def _picture(
    row: Mapping[str, Any], regions: Sequence[Region], pictures: Folder
) -> dict[str, Any] | None:
    """Return a small picture with its regions drawn; None where there is none."""
    from PIL import Image
    from PIL.Image import DecompressionBombError

    path = pictures.find(str(row["image"]))
    if path is None:
        return None
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            opened.draft("RGB", (2 * SIDE, 2 * SIDE))
            small = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, DecompressionBombError):
        return None
    small.thumbnail((SIDE, SIDE))
    across = small.width / (int(row.get("width") or 0) or width)
    down = small.height / (int(row.get("height") or 0) or height)
    places = [
        (one, (box[0] * across, box[1] * down, box[2] * across, box[3] * down))
        for one in regions
        for box in one.boxes
    ]
    made = highlight(small, [box for _, box in places], slots=[one.slot for one, _ in places])
    out = BytesIO()
    made.save(out, "WEBP", quality=80, method=4)
    return {
        "uri": f"data:image/webp;base64,{b64encode(out.getvalue()).decode()}",
        "width": small.width,
        "height": small.height,
        "labels": [
            {
                "text": f"[{one.id}]",
                "x": round(max(box[0], 0) + small.width / 60, 1),
                "y": round(max(box[1], 0) + small.width / 15, 1),
            }
            for one, box in places
        ],
    }


def _figure(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return Figure 2: precision by the share that is kept, with its interval."""
    try:
        points = [
            {key: one[key] for key in ("kept", "precision", "low", "high", "threshold")}
            for one in found["by_share"]
            if one["precision"] is not None
        ]
        accepted = float(found["accepted"])
        banded = [one for one in points if one["low"] is not None]
        top = [f"{_x(one['kept'])},{_y(one['high'])}" for one in banded]
        under = [f"{_x(one['kept'])},{_y(one['low'])}" for one in reversed(banded)]
        return {
            "line": " ".join(f"{_x(one['kept'])},{_y(one['precision'])}" for one in points),
            "band": " ".join([*top, *under]),
            "dots": [
                {
                    "x": _x(one["kept"]), "y": _y(one["precision"]),
                    "told": f"{one['kept']:.0%} kept, {one['precision']:.1%} accepted",
                }
                for one in points
            ],
            "random": _y(accepted),
            "accepted": accepted,
            "up": [(_y(i / 4), f"{i / 4:.0%}") for i in range(5)],
            "across": [(_x(i / 5), f"{i / 5:.0%}") for i in range(6)],
            "size": (WIDTH, HEIGHT, LEFT, WIDTH - 12, FLOOR),
            "triples": int(found["triples"]),
            "images": int(found["images"]),
        }  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"no file of `critic curve` ({error!r})") from error


def _x(share: float) -> float:
    return round(LEFT + (WIDTH - 12 - LEFT) * float(share), 1)


def _y(share: float) -> float:
    return round(FLOOR - (FLOOR - TOP) * float(share), 1)
