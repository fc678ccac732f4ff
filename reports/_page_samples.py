"""The answers inside a report: as plain data for the script, and some in full for everyone.

Text that a model wrote is cut at a stated length, never changed. Pictures are put in as long as
there is room for them. Imports the page's own parts; difflib.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from reports import _page_boxes as boxes
from reports import judge_gap
from reports._page_read import Run
from reports._page_shell import block
from reports.flips import Item
from reports.thumbnails import Folder, Thumbnail

CARDS = 24
"""Answers that are shown in full without scripts."""
MOST = 10_000
"""Answers in a file, at most."""
LONG, CARD_LONG = 20_000, 2_000
"""Characters of one text in the data, and in a card."""
TEXT_BYTES, ALL_BYTES = 6_000_000, 12_000_000
"""Room for texts, and for texts with pictures; with tables and styles that stays under 15 MB."""
_DIFF_WORDS = 400
_CHOICES = 26


@dataclass
class Gallery:
    """What a report shows of single answers."""

    data: list[dict[str, Any]] = field(default_factory=list)
    cards: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, Thumbnail] = field(default_factory=dict)
    """Those of answers beyond the cards, whose pictures stand in the page itself."""
    pictured: int = 0
    """Answers with all their pictures."""


def gallery(
    found: Sequence[Item],
    run: Run,
    base: Run | None,
    folder: Folder | None,
    groups: Sequence[str],
) -> Gallery:
    """Return the answers that fit, in the order in which they come, with these of their groups."""
    result, used = Gallery(), 0
    gaps = judge_gap.by_row(run)
    for item in found[:MOST]:
        entry = _entry(item, run, base, groups)
        if (gap := gaps.get(item.row["id"])) is not None:
            entry["jg"] = gap
        used += len(block(entry)) + 1
        if used > TEXT_BYTES and result.data:
            break
        result.data.append(entry)
    if folder is not None:
        _illustrate(result, found, folder, used)
    in_cards = set()
    for entry in result.data[:CARDS]:
        card = _card(entry, result.pictures)
        in_cards |= set(entry["im"])
        result.cards.append(card)
    result.pictures = {k: v for k, v in sorted(result.pictures.items()) if k not in in_cards}
    return result


def _illustrate(result: Gallery, found: Sequence[Item], folder: Folder, used: int) -> None:
    absent: set[str] = set()
    for item, entry in zip(found, result.data, strict=False):
        hashes = [*(item.row.get("pixels") or ())] or [None] * len(entry["im"])
        for name, pixels in zip(entry["im"], hashes, strict=False):
            if name in result.pictures or name in absent:
                continue
            small = folder.thumbnail(name, pixels)
            if small is None:
                absent.add(name)
                continue
            if used + len(small.uri) > ALL_BYTES:
                return
            used += len(small.uri)
            result.pictures[name] = small
        result.pictured += bool(entry["im"]) and all(n in result.pictures for n in entry["im"])


def _entry(item: Item, run: Run, base: Run | None, groups: Sequence[str]) -> dict[str, Any]:
    row = item.row
    prompt = row["prompt"]
    entry: dict[str, Any] = {
        "i": row["index"],
        "id": row["id"],
        "k": item.kind,
        "g": {k: str(row["groups"][k]) for k in groups if _plain(row["groups"].get(k))},
        "q": [part if isinstance(part, str) else part["image"] for part in _texts(prompt)],
        "im": [str(part["image"]) for part in prompt if isinstance(part, Mapping)],
        "t": _cut(str(row["target"])),
        "a": _side(row, run, row),
    }
    if row["choices"]:
        more = len(row["choices"]) - _CHOICES
        entry["c"] = [_cut(str(choice)) for choice in row["choices"][:_CHOICES]]
        entry["c"] += [f"and {more:,} more"] if more > 0 else []
    if row.get("regions"):
        entry["r"] = row["regions"]
    if item.base is not None and base is not None:
        entry["b"] = _side(item.base, base, row)
        if entry["a"]["x"] != entry["b"]["x"] and None not in (entry["a"]["x"], entry["b"]["x"]):
            entry["d"] = words_diff(entry["b"]["x"], entry["a"]["x"])
    return entry


def _texts(prompt: Sequence[Any]) -> Iterator[str]:
    for part in prompt:
        if isinstance(part, str):
            yield _cut(part)


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) and value != ""


def _cut(text: str) -> str:
    return text if len(text) <= LONG else text[:LONG] + "…"


def _side(row: Mapping[str, Any], run: Run, asked: Mapping[str, Any]) -> dict[str, Any]:
    answer = row["answer"]
    text = None if answer is None else str(answer.get("text") or "")
    if answer is not None and not text and answer.get("choice") is not None and row["choices"]:
        at = answer["choice"]
        text = str(row["choices"][at]) if 0 <= at < len(row["choices"]) else ""
    side: dict[str, Any] = {
        "x": None if text is None else _cut(text),
        "p": None if row["parsed"] is None else _cut(str(row["parsed"])),
        "s": row["score"],
        "st": row["status"],
    }
    optional = {
        "n": len(text) if text is not None and len(text) > LONG else None,
        "stop": answer and answer.get("stop"),
        "e": row["error"] and _cut(str(row["error"])),
        "w": _trace(row, answer),
        "j": [_verdict(line) for line in run.judged.get(row["id"], ())],
        "bx": boxes.said(row, asked.get("regions") or ()),
    }
    return side | {key: value for key, value in optional.items() if value and value != "end"}


def _trace(row: Mapping[str, Any], answer: Mapping[str, Any] | None) -> str:
    """Return what the scorer noted down, and the scores of a ranking."""
    stats = {name: value for name, value in row["stats"].items() if name != "boxes"}
    parts = [f"{name} {_number(value)}" for name, value in stats.items()]
    likely = (answer or {}).get("scores") or ()
    if likely:
        parts.append("scores " + ", ".join(_number(x) for x in likely[:_CHOICES]))
    return _cut("; ".join(parts))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _verdict(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "text": _cut(str(line["text"] or line["error"] or "")),
        "label": line["label"],
        "score": line["score"],
        "swapped": bool(line["swapped"]),
    }


def words_diff(before: str, after: str) -> list[tuple[int, str]]:
    """Return the words of two texts as runs of (-1 only before, 0 both, 1 only after).

    Texts too long to align are one run each.
    """
    left, right = (re.findall(r"\s+|\w+|[^\w\s]", text) for text in (before, after))
    if max(len(left), len(right)) > _DIFF_WORDS:
        return [(-1, before), (1, after)]
    found: list[tuple[int, str]] = []
    for _, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if left[a:b] == right[c:d]:
            found.append((0, "".join(left[a:b])))
            continue
        found += [
            (kind, "".join(part)) for kind, part in ((-1, left[a:b]), (1, right[c:d])) if part
        ]
    return found


def _card(entry: Mapping[str, Any], pictures: Mapping[str, Thumbnail]) -> dict[str, Any]:
    """Return an entry as the template shows it: shorter, with its pictures and boxes."""
    shown = []
    for at, name in enumerate(dict.fromkeys(entry["im"])):
        small = pictures.get(name)
        shown.append({
            "name": name,
            "uri": small and small.uri,
            "width": small and small.width,
            "height": small and small.height,
            "boxes": boxes.drawn(entry, at),
        })  # fmt: skip
    sides = {key: _short(entry[key]) if key in entry else None for key in ("a", "b")}
    long = any(side and side["n"] for side in sides.values())
    return {
        **entry, **sides, "pictures": shown, "asked": "\n".join(entry["q"])[:CARD_LONG],
        "d": None if long else entry.get("d"),
    }  # fmt: skip


def _short(side: Mapping[str, Any]) -> dict[str, Any]:
    filled = {"n": None, "stop": None, "e": None, "w": None, "j": [], **side}
    text = side["x"]
    if text is not None and len(text) > CARD_LONG:
        filled |= {"x": text[:CARD_LONG] + "…", "n": filled["n"] or len(text)}
    return filled
