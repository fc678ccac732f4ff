"""How far a judge is from people, or from a rule, on the answers of one run.

People's labels are in `people.csv` of the run folder (`id` and `score`, in the judge's unit; an id
may come several times). A rule is a statistic `rule` that the task's scorer left in the rows, or,
where right answers are of three words at most and the judge's scores lie between 0 and 1, whether
the answer is the right answer, but for case, articles and punctuation. The gap is the mean of the
judge's score minus the other's, over answers that both have. Reads run folders only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import DataError
from harness.record import read_lines
from reports import agreement
from reports._page_read import Run

PEOPLE = "people.csv"
_SHORT = 3
_JUNK = re.compile(r"[^\w\s]|\b(?:a|an|the)\b|_")


@dataclass(frozen=True)
class Gap:
    """The judge minus the other."""

    value: float
    low: float | None
    high: float | None
    n: int
    against: str
    """`people`, `the rule` or `the exact answer`."""


def gap(run: Run) -> Gap | None:
    """Return the gap of a judged run; None where it was not judged or there is nothing else.

    Raises DataError for a damaged people.csv.
    """
    judging = run.info.get("judging") or {}
    if not judging.get("judges"):
        return None
    try:
        judge = agreement.load(str(run.record.folder))
    except DataError:
        return None  # the verdicts of another program are in the rows alone
    other = _other(run, judge)
    if other is None:
        return None
    source, against = other
    found = agreement.compare([judge, source])["pairs"][0]["a_minus_b"]
    if found["value"] is None:
        return None
    return Gap(found["value"], found["low"], found["high"], found["n"], against)


def by_row(run: Run) -> dict[str, float]:
    """Return the judge's score minus the other's by id, where both are known."""
    judging = run.info.get("judging") or {}
    if not judging.get("judges"):
        return {}
    try:
        judge = agreement.load(str(run.record.folder))
    except DataError:
        return {}
    other = _other(run, judge)
    if other is None:
        return {}
    return {
        name: round(mine.score - theirs.score, 6)
        for name, mine in judge.judged.items()
        if mine.score is not None
        and (theirs := other[0].judged.get(name)) is not None
        and theirs.score is not None
    }


def _other(run: Run, judge: agreement.Source) -> tuple[agreement.Source, str] | None:
    people = run.record.folder / PEOPLE
    if people.is_file():
        return agreement.load(str(people)), "people"
    rows = [row for row in read_lines(run.record.folder / "rows.jsonl") if row.get("answer")]
    rule = {r["id"]: r["stats"]["rule"] for r in rows if _number(r["stats"].get("rule"))}
    if rule:
        return _source("rule", rows, rule), "the rule"
    scores = [found.score for found in judge.judged.values() if found.score is not None]
    short = all(0 < len(str(row["target"]).split()) <= _SHORT for row in rows)
    if not rows or not short or not scores or not all(0 <= score <= 1 for score in scores):
        return None
    exact = {r["id"]: float(plain(r["answer"]["text"]) == plain(str(r["target"]))) for r in rows}
    return _source("exact", rows, exact), "the exact answer"


def _source(name: str, rows: list[dict[str, Any]], scores: Mapping[str, float]) -> agreement.Source:
    judged = {
        row["id"]: agreement.Judged(None, float(scores[row["id"]]), row["cluster"])
        for row in rows
        if row["id"] in scores
    }
    return agreement.Source(name, judged)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def plain(text: str) -> str:
    """Return a text without case, articles and punctuation."""
    return " ".join(_JUNK.sub(" ", text.lower()).split())
