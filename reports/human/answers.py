"""Answers of people read back: checked against the key, sides put right, one vote a line.

An answers file comes from outside: everything in it is checked and nothing is trusted. What is
foreign (another batch, another form, an item or an option that was never offered) is refused
always, what is incomplete unless the caller says otherwise. Imports harness.errors and the key's
own nouns.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import DataError
from reports.export import _cell as cell
from reports.human.criteria import OUTCOMES, SIDES, Criterion, from_data
from reports.human.form import KEY

SCHEMA = "sightline.human-answers/1"
VOTES = "votes.jsonl"
_LARGEST = 64_000_000
_NOTE = 500
_LONGEST = 86_400.0  # a day


@dataclass(frozen=True)
class Key:
    """What the organiser knows of a batch."""

    data: Mapping[str, Any] = field(repr=False)
    criteria: Sequence[Criterion]

    @property
    def pairwise(self) -> bool:
        """Whether answers are compared; else they are rated."""
        return bool(self.data["kind"] == "pairwise")

    @property
    def sources(self) -> list[str]:
        """Names of the sources."""
        return [str(source["name"]) for source in self.data["sources"]]

    def values(self, criterion: Criterion) -> Sequence[Any]:
        """Return what a vote on a criterion can be: outcomes, or ratings from 1."""
        return OUTCOMES if self.pairwise else range(1, len(criterion.options) + 1)


@dataclass(frozen=True)
class Vote:
    """What one annotator said of one item."""

    item: str
    annotator: str
    picks: Mapping[str, str | int]
    """By criterion: a, tie or b, or a rating; criteria without an answer are not in it."""
    unclear: bool = False
    """The annotator said that the item cannot be judged; there are no picks then."""
    swapped: bool = False
    """The answer of b was left."""
    seconds: float = 0.0
    note: str = ""


def read_key(path: Path) -> Key:
    """Read key.json, or the folder that holds it. Raises DataError."""
    path = path / "key.json" if path.is_dir() else path
    found = _json(path)
    if not isinstance(found, dict) or found.get("schema") != KEY:
        raise DataError(f"{path}: not a key of this version ({KEY})")
    wanted = {"batch", "kind", "votes", "criteria", "sources", "counts", "items", "same", "forms"}
    if not wanted <= set(found):
        raise DataError(f"{path}: a damaged key: no {', '.join(sorted(wanted - set(found)))}")
    return Key(found, from_data(found["criteria"]))


def read(key: Key, files: Sequence[Path], *, partial: bool = False) -> list[Vote]:
    """Return all votes of the files, by annotator and in the order of each form.

    `partial` takes incomplete files and missing annotators. Raises DataError that says what does
    not belong or is not there.
    """
    forms = {form["annotator"]: form for form in key.data["forms"]}
    seen: dict[str, Path] = {}
    votes: list[Vote] = []
    for path in files:
        found = _checked(path, key, forms)
        who = found["annotator"]
        if who in seen:
            raise DataError(f"{path}: annotator {who} is in {seen[who]} already")
        seen[who] = path
        mine = list(_votes(path, found["answers"], forms[who], key))
        gaps = _gaps(mine, forms[who], key)
        if gaps and not partial:
            raise DataError(
                f"{path}: {gaps:,} of {len(forms[who]['items']):,} items are not answered; let "
                f"annotator {who} finish the form, or take what is there (--partial)"
            )
        votes += mine
    missing = sorted(set(forms) - set(seen), key=int)
    if missing and not partial:
        raise DataError(
            f"no answers of annotator {', '.join(missing)}; wait for them, or go on without "
            "(--partial)"
        )
    return votes


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path}: {path.stat().st_size:,} bytes; no such file is so large")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error


def _checked(path: Path, key: Key, forms: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    found = _json(path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise DataError(f"{path}: not a file of answers of this version ({SCHEMA})")
    if found.get("batch") != key.data["batch"]:
        raise DataError(
            f"{path}: answers to the batch {found.get('batch')!r}; the key is of "
            f"'{key.data['batch']}'"
        )
    who = found.get("annotator")
    if not isinstance(who, str) or who not in forms:
        raise DataError(f"{path}: the batch has no annotator {who!r}; it has {', '.join(forms)}")
    if found.get("form") != forms[who]["digest"]:
        raise DataError(
            f"{path}: the form of annotator {who} was another one than the key's: another file, or "
            "edited"
        )
    if not isinstance(found.get("answers"), list):
        raise DataError(f"{path}: no list of answers in it")
    return found


def _votes(path: Path, answers: Sequence[Any], form: Mapping[str, Any], key: Key) -> Iterator[Vote]:
    places = {one["key"]: one["swapped"] for one in form["items"]}
    by_item: dict[str, Vote] = {}
    for answer in answers:
        item = answer.get("key") if isinstance(answer, dict) else None
        if not isinstance(item, str) or item not in places:
            raise DataError(f"{path}: the item {item!r} is not one of this form")
        if item in by_item:
            raise DataError(f"{path}: the item '{item}' is answered twice")
        try:
            by_item[item] = _vote(answer, form["annotator"], places[item], key)
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: the answer to '{item}' is none: {error}") from error
    for item in places:
        if item in by_item:
            yield by_item[item]


def _vote(answer: Mapping[str, Any], who: str, swapped: bool, key: Key) -> Vote:
    picks = answer.get("picks")
    unclear, seconds, note = (answer.get(n, d) for n, d in (("unclear", False), ("seconds", 0.0),
                                                            ("note", "")))  # fmt: skip
    if not isinstance(picks, dict) or type(unclear) is not bool or not isinstance(note, str):
        raise TypeError("picks, unclear and note are an object, a boolean and a text")
    if type(seconds) not in (int, float) or math.isnan(seconds) or seconds < 0:
        raise ValueError(f"seconds is {seconds!r}")
    known = {criterion.name: criterion for criterion in key.criteria}
    for name in picks:
        if name not in known:
            raise ValueError(f"nobody asked about {name!r}")
    found: dict[str, str | int] = {}
    for name, criterion in known.items():
        if criterion.follows and found.get(criterion.follows) == 1:
            found[name] = 1
        elif name in picks:
            found[name] = _pick(picks[name], criterion, swapped, key)
    return Vote(
        answer["key"],
        who,
        {} if unclear else found,
        unclear,
        swapped,
        round(float(min(seconds, _LONGEST)), 1),
        note[:_NOTE],
    )


def _pick(said: Any, criterion: Criterion, swapped: bool, key: Key) -> str | int:
    offered: Sequence[Any] = SIDES if key.pairwise else key.values(criterion)
    if type(said) is not (str if key.pairwise else int) or said not in offered:
        raise ValueError(f"{said!r} is no answer to {criterion.name}")
    if not key.pairwise:
        return int(said)
    at = SIDES.index(said)
    return OUTCOMES[2 - at if swapped else at]


def _gaps(votes: Sequence[Vote], form: Mapping[str, Any], key: Key) -> int:
    names = {criterion.name for criterion in key.criteria}
    whole = sum(vote.unclear or names <= set(vote.picks) for vote in votes)
    return len(form["items"]) - whole


def write(key: Key, votes: Iterable[Vote], out: Path) -> list[Path]:
    """Write votes.jsonl, and what other commands read: annotations of triples, labels of a run.

    Return the files. Raises DataError where they cannot be written.
    """
    votes = list(votes)
    made = {VOTES: "".join(json.dumps(line) + "\n" for line in _vote_lines(key, votes))}
    if key.data["triples"] and {one.name for one in key.criteria} == {"qa", "rationale"}:
        lines = (json.dumps(line) + "\n" for line in annotations(key, votes))
        made["annotations.jsonl"] = "".join(lines)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (out / name).write_text(text, encoding="utf-8")
        labels = [] if key.pairwise or len(key.sources) != 1 else key.criteria
        for criterion in labels:
            with (out / f"labels-{criterion.name}.csv").open(
                "w", encoding="utf-8", newline=""
            ) as file:
                _labels(key, votes, criterion, file)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}") from error
    return [out / name for name in (*made, *(f"labels-{c.name}.csv" for c in labels))]


def _vote_lines(key: Key, votes: Iterable[Vote]) -> Iterator[dict[str, Any]]:
    for vote in votes:
        item = key.data["items"][vote.item]
        yield {
            "batch": key.data["batch"], "item": vote.item, "id": item["id"],
            "cluster": item["cluster"], "annotator": vote.annotator, "picks": dict(vote.picks),
            "unclear": vote.unclear, "swapped": vote.swapped, "seconds": vote.seconds,
            "note": vote.note,
        }  # fmt: skip


def annotations(key: Key, votes: Iterable[Vote]) -> Iterator[dict[str, Any]]:
    """Yield ratings of triples for `critic labels`, one annotator of one triple a line.

    Triples that somebody has not judged, or could not, are left out: they make no label.
    """
    by_item: dict[str, list[Vote]] = {}
    for vote in votes:
        by_item.setdefault(vote.item, []).append(vote)
    for item, cast in by_item.items():
        if sum(set(vote.picks) == {"qa", "rationale"} for vote in cast) < key.data["votes"]:
            continue
        for vote in cast:
            ratings = {"qa": vote.picks["qa"], "r": vote.picks["rationale"]}
            yield {"id": key.data["items"][item]["id"], "annotator": vote.annotator, **ratings}


def _labels(key: Key, votes: Iterable[Vote], criterion: Criterion, file: Any) -> None:
    """Write the ratings of one criterion for `sightline judge-agreement`, a vote a line."""
    out = csv.writer(file, lineterminator="\n")
    out.writerow(["id", "label", "score", "cluster"])
    for vote in votes:
        if criterion.name in vote.picks:
            rating = int(vote.picks[criterion.name])
            item = key.data["items"][vote.item]
            label = criterion.options[rating - 1]
            out.writerow([cell(item["id"]), cell(label), rating, cell(item["cluster"])])


def read_votes(path: Path, key: Key) -> list[Vote]:
    """Read votes.jsonl, or the folder that holds it. Raises DataError for another batch's."""
    path = path / VOTES if path.is_dir() else path
    found = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            row = json.loads(line)
            if row["batch"] != key.data["batch"] or row["item"] not in key.data["items"]:
                raise DataError(f"{path}, line {number}: a vote on another batch")
            row = {name: row[name] for name in Vote.__dataclass_fields__}
            found.append(Vote(**row))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a file of votes ({error!r})") from error
    return found
