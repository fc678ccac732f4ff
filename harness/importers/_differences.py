"""Where the other tool's score of a sample is not ours, and why, as far as it can be known.

A reason is computed, not guessed: where one of our variants scores as the tool does, its rule is
applied to the same words, and only if it gives the tool's own score is it named as the reason.

Imports the standard library, harness.stats, harness.types, the nouns of a log and placement.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import isclose
from typing import Any

from harness.importers._log import Known, Log, Logged
from harness.importers._match import Placed
from harness.importers._wording import Asked, Face, other_gold
from harness.types import Answer, Metric, Sample, Task

Row = Mapping[str, Any]

KINDS = {
    "same": "both tools score it alike",
    "rule": "the tool's own rule reads the words in another way",
    "extraction": "the tool took another answer out of the words",
    "gold": "the tool compared with another gold answer",
    "failed": "no answer was had; an error is no answer here",
    "missing": "the log has no answer",
    "outage": "the tool's judge did not answer, and its filler was counted as a score",
    "unjudged": "judged there; here it waits for a judge",
    "unscored": "the log has no score of it",
    "unknown": "no rule known here gives the tool's score",
}
MEANS = ("accuracy", "acc", "exact_match")
"""Names under which every tool prints the mean of zeros and ones."""
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """One sample under both tools."""

    id: str
    where: str
    kind: str
    """One of KINDS."""
    there: float | None
    here: float | None
    status: str
    why: str = ""
    """Empty where both agree."""
    said: str = ""
    """The answer, and how each tool read it."""


@dataclass(frozen=True, slots=True)
class Line:
    """Samples of the same fate."""

    kind: str
    there: str
    here: str
    rows: int
    why: str
    examples: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One number of the other tool, beside ours."""

    name: str
    there: float
    """In our unit."""
    rule: float | None
    """What the tool's rule gives on the same answers here; None: no such rule."""
    here: float | None
    """The same number under our rule, failures left out; None: there is no counterpart."""
    note: str = ""


def differences(
    log: Log, placed: Placed, samples: Iterable[Sample], rows: Iterable[Row], rule: "Rule | None"
) -> list[Difference]:
    """Compare the scores of every sample that the log has. `rows` are those of our record."""
    by_id = {sample.id: sample for sample in samples}
    found = []
    for row in rows:
        logged = placed.rows.get(row["id"])
        if logged is not None:
            found.append(_difference(log, by_id[row["id"]], logged, row, rule))
    return found


def lines(found: Iterable[Difference]) -> list[Line]:
    """Group samples by kind, outcome and reason, the largest group first, agreement last."""
    groups: dict[tuple[str, str, str, str], list[Difference]] = {}
    for one in found:
        key = (one.kind, _outcome(one.there), _here(one), one.why)
        groups.setdefault(key, []).append(one)
    made = [
        Line(kind, there, here, len(members), why, tuple(members[:_EXAMPLES]))
        for (kind, there, here, why), members in groups.items()
    ]
    return sorted(made, key=lambda line: (line.kind == "same", -line.rows, line.kind, line.here))


class Rule:
    """The variant of ours that scores as the other tool does."""

    def __init__(self, task: Task, summary: str) -> None:
        """Hold the variant; `summary` says its rule in a few words."""
        self.task, self.summary = task, summary
        self._samples = {sample.id: sample for sample in task.samples()}

    def score(self, id: str, row: Logged) -> tuple[float | None, str | None, Mapping[str, Any]]:
        """Return the score, the reading and the statistics of what the tool's scorer saw."""
        sample = self._samples.get(id)
        if sample is None:
            return None, None, {}
        words = row.filtered if row.filtered is not None else row.text
        score = self.task.score(sample, Answer(text=row.failure if words is None else words))
        return score.value, score.parsed, score.stats


def _difference(
    log: Log, sample: Sample, logged: Logged, row: Row, rule: Rule | None
) -> Difference:
    theirs, here = logged.theirs, row["score"]
    one = Difference(
        row["id"], logged.where, "same", theirs.score, here, row["status"], said=_said(logged, row)
    )
    if theirs.outage:
        why = f"judge outage: its -1 counts as a score there ({theirs.outage})"
        return replace(one, kind="outage", why=why)
    if row["status"] in ("failed", "missing"):
        there = "scored all the same there" if theirs.score is not None else "not scored there"
        told = (
            "the log holds an error in place of an answer" if logged.failure else "answer missing"
        )
        return replace(one, kind=row["status"], why=f"{told}; {there}")
    if theirs.score is None:
        return replace(one, kind="unscored", why="the log has no score of this sample")
    if here is None:
        return replace(one, kind="unjudged", why=KINDS["unjudged"])
    if isclose(theirs.score, here, rel_tol=1e-6, abs_tol=1e-6):
        return one
    return _explained(log, one, sample, logged, row, rule)


def _explained(
    log: Log, one: Difference, sample: Sample, logged: Logged, row: Row, rule: Rule | None
) -> Difference:
    if rule is not None:
        value, _, _ = rule.score(one.id, logged)
        if value is not None and one.there is not None and isclose(value, one.there, abs_tol=1e-6):
            why = f"their parse rule ({rule.task.scorer}): {rule.summary}"
            return replace(one, kind="rule", why=why)
    if other_gold(Face(sample), Asked(logged)):
        return replace(one, kind="gold", why="another gold answer in the log than in the data")
    read = logged.theirs.parsed
    if read is not None and read.strip().casefold() != (row["parsed"] or "").strip().casefold():
        nothing = "nothing" if row["parsed"] is None else "something else"
        why = f"{log.tool} extracted an answer that this rule does not read ({nothing} here)"
        if not read.strip():
            why = f"{log.tool} found no answer in words that this rule reads"
        return replace(one, kind="extraction", why=why)
    return replace(one, kind="unknown", why=KINDS["unknown"])


def _said(logged: Logged, row: Row) -> str:
    """Return the answer and how each tool read it, for people."""
    words = repr((logged.failure or logged.text or "")[:80])
    if logged.scores:
        words = ", ".join(f"{value:g}" for value in logged.scores)
    read = logged.theirs.parsed
    there = "" if read is None or logged.failure else f"; there {read[:40]!r}"
    if row["status"] not in ("scored", "unparsed"):
        return words + there
    here = "nothing" if row["parsed"] is None else repr(row["parsed"][:40])
    return f"{words}{there}; here {here}"


def _outcome(value: float | None) -> str:
    return {None: "-", 1.0: "right", 0.0: "wrong"}.get(value) or f"{value:g}"


def _here(one: Difference) -> str:
    if one.status in ("failed", "missing", "unjudged"):
        return one.status
    return _outcome(one.here) + (" (unparsed)" if one.status == "unparsed" else "")


def aggregates(
    log: Log,
    placed: Placed,
    known: Known | None,
    task: Task,
    rows: Iterable[Row],
    rule: Rule | None,
) -> list[Aggregate]:
    """Put the tool's numbers beside what its rule and ours make of the same answers."""
    from harness.stats import estimate_all

    inside = [row for row in rows if row["id"] in placed.rows]
    metrics = rule.task.metrics if rule else task.metrics
    ours = estimate_all(inside, metrics)
    emulated = {}
    if rule:
        told = [_scored(row, placed.rows[row["id"]], rule) for row in inside]
        emulated = estimate_all(told, metrics)
    found = []
    for name, value in log.aggregates.items():
        meant, unit = known.metrics.get(name) if known else None, known.unit if known else 100.0
        note = known.notes.get(name, "") if known else ""
        if meant is None and name.partition(" ")[0] in MEANS and "accuracy" in ours:
            meant, unit = "accuracy", 100.0
        if meant is None:
            found.append(Aggregate(name, value, None, None, note))
            continue
        wanted = meant.name if isinstance(meant, Metric) else meant
        if isinstance(meant, Metric):
            ours = {**ours, **estimate_all(inside, [meant])}
        there = emulated[wanted].value if wanted in emulated else None
        here = ours[wanted].value if wanted in ours else None
        found.append(Aggregate(name, value * unit, there, here, note))
    return found


def _scored(row: Row, logged: Logged, rule: Rule) -> Row:
    """Return a row as the tool scores it: what failed is an answer there."""
    value, parsed, stats = rule.score(row["id"], logged)
    return {**row, "status": "scored", "score": value, "parsed": parsed, "stats": dict(stats)}
