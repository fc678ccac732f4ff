"""What the tests of pages share: small real runs, with pictures, gaps, boxes and hostile words."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_data import replay, write_pope

from harness.api import run
from harness.record import Record

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<svg onload=\"document.title='owned'\"><rect/></svg>",
    "data:text/html,<script>document.title='owned'</script>",
    "javascript:document.title='owned'",
    "\u202egnorw si siht\u202c \u200f\u2067",
    "{{ 7 * 7 }} {% raw %} ${document.title='owned'} <!-- ]]>",
    "=cmd|' /C calc'!A0",
    "\ud800 half a surrogate, \x00 a zero, \x1b[31m a colour",
)


def right_until(limit: int, wrong: str = "") -> Callable[[str], str]:
    """Return answers to `write_pope` of which those up to a question number are right."""

    def say(id: str) -> str:
        number = int(id) % 10_000_000
        gold = (number - 1) % 6 % 2 == 0
        if number <= limit:
            return "Yes" if gold else "No"
        return wrong or ("No" if gold else "Yes")

    return say


def answered(tmp: Path, say: Callable[[str], str], name: str, images: int = 24) -> Record:
    """Score `say(question id)` on a POPE folder of so many images, 18 questions each."""
    data = tmp / f"pope{images}"
    if not data.exists():
        write_pope(data, images=images)
    ids = [str(o + n) for o in (0, 10_000_000, 20_000_000) for n in range(1, 6 * images + 1)]
    file = tmp / f"{name}.jsonl"
    lines = (json.dumps({"question_id": i, "text": say(i)}) + "\n" for i in ids)
    file.write_text("".join(lines), encoding="utf-8")
    return run(f"recorded:{file}", "pope", data=data, out=tmp / name)


def all_but(*wrong: int) -> Callable[[str], str]:
    """Return answers that are right but for these places (0 to 5) among an image's questions."""

    def say(id: str) -> str:
        at = (int(id) % 10_000_000 - 1) % 6
        return "Yes" if (at % 2 == 0) != (at in wrong) else "No"

    return say


def pair(tmp: Path) -> tuple[Record, Record]:
    """Return a baseline wrong on 72 of 432 questions, and a run wrong on these and 72 others."""
    return answered(tmp, all_but(5), "base"), answered(tmp, all_but(2, 5), "cand")


def hostile(tmp: Path) -> Record:
    """Return a run whose answers, names and groups are hostile, one of them a megabyte long."""
    texts = [*HOSTILE, "<b>" * 350_000]
    return replay(tmp, lambda id: texts[int(id) % len(texts)], "hostile")


def floor(tmp: Path, model: str, name: str) -> Record:
    """Return a run of a floor on the same data."""
    return run(model, "pope", data=write_pope(tmp / "pope"), out=tmp / name)


def edited(record: Record, **changes: Any) -> Path:
    """Change run.json by hand and return the folder."""
    path = record.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return record.folder


def text_of(page: str) -> str:
    """Return a page without its script, style and data, tags taken out."""
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
