"""Which sample of a task each row of a log is: by id, by picture, by words, or by position.

The ways are tried in this order, and one is taken only if it places every row; in each, the
question of a row must be its sample's own. A log of other questions is refused with a list of what
differs: an answer to another question is not a wrong answer.

Imports the standard library, harness.errors, harness.types, the nouns of a log and wordings.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

from harness.errors import DataError
from harness.importers._log import Log, Logged
from harness.importers._wording import Asked, Face, other_gold, same
from harness.types import Sample

_SHOWN = 5
_ORDERED = 4
"""Parts of a task (POPE's three splits) whose orders are all tried."""
_CROWD = 32
"""Samples with the same words of which no words can tell which is meant."""
_SAME = 0.5
"""Where more rows than this ask the same, their order is no evidence of which is which."""


@dataclass(frozen=True)
class Placed:
    """The rows of a log on the samples of a task."""

    rows: Mapping[str, Logged]
    """By sample id; samples that the log does not have are not in it."""
    how: str
    strangers: Sequence[Logged] = ()
    """Rows whose sample the task does not have, where they may be left out."""


@dataclass
class _Try:
    """One way of placing the rows, and what stood against it."""

    how: str
    rows: dict[str, Asked] = field(default_factory=dict)
    differ: list[tuple[Asked, Face]] = field(default_factory=list)
    strangers: list[Asked] = field(default_factory=list)
    unclear: list[Asked] = field(default_factory=list)

    @property
    def misses(self) -> int:
        return len(self.differ) + len(self.strangers) + len(self.unclear)

    def put(self, row: Asked, face: Face) -> None:
        if not same(face, row):
            self.differ.append((row, face))
        elif self.rows.setdefault(face.id, row) is not row:
            self.unclear.append(row)


def place(log: Log, samples: Sequence[Sample], *, ignore: bool = False) -> Placed:
    """Place every row of a log, or with `ignore` every row whose sample the task has.

    Raises DataError with the questions that differ, or the rows that could be several samples.
    """
    faces = [Face(sample) for sample in samples]
    known = {part for face in faces for part in face.parts}
    rows = [
        Asked(replace(row, parts=tuple(part for part in row.parts if part in known)))
        for row in log.rows
    ]
    tries: list[_Try] = []
    for found in (found for way in _WAYS for found in way(rows, faces)):
        if found.rows and not found.misses:
            return _placed(found)
        tries.append(found)
    lenient = [t for t in tries if t.rows and not (t.differ or t.unclear)]
    if ignore and lenient:
        return _placed(min(lenient, key=lambda found: found.misses))
    raise _refusal(log, len(faces), tries)


def _placed(found: _Try) -> Placed:
    rows = {id: row.logged for id, row in found.rows.items()}
    return Placed(rows, found.how, [row.logged for row in found.strangers])


def _by_id(rows: Sequence[Asked], faces: Sequence[Face]) -> Iterator[_Try]:
    known = {alias: face for face in faces for alias in face.sample.aliases}
    known |= {face.id: face for face in faces}
    for name in dict.fromkeys(name for row in rows for name in row.logged.ids):
        values = Counter(row.logged.ids.get(name) for row in rows)
        if None in values or max(values.values()) > 1:
            continue
        found = _Try(f"by the log's field '{name}'")
        for row in rows:
            face = known.get(row.logged.ids[name])
            if face is None:
                found.strangers.append(row)
            else:
                found.put(row, face)
        if found.rows or found.differ:
            yield found


def _by_picture(rows: Sequence[Asked], faces: Sequence[Face]) -> Iterator[_Try]:
    if not all(row.picture for row in rows):
        return
    shown: defaultdict[str, list[Face]] = defaultdict(list)
    for face in faces:
        for name in face.pictures:
            shown[name].append(face)
    yield _among(
        rows, "by picture and question", lambda row: shown.get(row.picture, []), len(faces)
    )


def _by_words(rows: Sequence[Asked], faces: Sequence[Face]) -> Iterator[_Try]:
    prompts: defaultdict[str, list[Face]] = defaultdict(list)
    questions: defaultdict[str, list[Face]] = defaultdict(list)
    for face in faces:
        prompts[face.prompt].append(face)
        questions[face.question].append(face)
    yield _among(rows, "by the whole prompt", lambda row: prompts.get(row.wordings[0], []), _CROWD)
    yield _among(
        rows,
        "by the question",
        lambda row: next((questions[words] for words in row.wordings if words in questions), []),
        _CROWD,
    )


def _among(
    rows: Sequence[Asked], how: str, candidates: Callable[[Asked], Sequence[Face]], most: int
) -> _Try:
    """Place rows each of which leaves one sample, or the same one in each part that it names."""
    found = _Try(how)
    for row in rows:
        offered = candidates(row)
        if len(offered) > most:
            found.unclear.append(row)
            continue
        fitting = [face for face in offered if same(face, row)]
        left = [face for face in fitting if not other_gold(face, row)] or fitting
        if not offered:
            found.strangers.append(row)
        elif not left:
            found.differ.append((row, offered[0]))
        elif len(left) > 1 and not (row.logged.parts and len({f.asks for f in left}) == 1):
            found.unclear.append(row)
        else:
            for face in left:
                found.put(row, face)
    return found


def _by_position(rows: Sequence[Asked], faces: Sequence[Face]) -> Iterator[_Try]:
    """Try the orders in which a tool may have read the data; the questions decide.

    Yields what stood against the nearest order where none, or more than one, fits.
    """
    if any(row.logged.position is None for row in rows):
        return
    asked = Counter(row.wordings[0] for row in rows)
    if len(rows) > 1 and max(asked.values()) > _SAME * len(rows):
        return
    fitting: dict[tuple[tuple[str, str], ...], tuple[int, _Try]] = {}
    nearest: _Try | None = None
    by_id = {face.id: face for face in faces}
    for name, order in _orders(faces):
        found = _in_order(rows, order, f"by position ({name}), every question compared")
        if not found.misses:
            key = tuple(sorted((id, row.logged.where) for id, row in found.rows.items()))
            golds = sum(other_gold(by_id[id], row) for id, row in found.rows.items())
            fitting.setdefault(key, (golds, found))
        elif nearest is None or found.misses < nearest.misses:
            nearest = found
    least = min((golds for golds, _ in fitting.values()), default=0)
    best = [found for golds, found in fitting.values() if golds == least]
    if len(best) == 1:
        yield best[0]
    elif best:
        yield _Try("by position", rows=best[0].rows, unclear=list(rows))
    elif nearest is not None:
        yield nearest


_WAYS = (_by_id, _by_picture, _by_words, _by_position)


def _in_order(rows: Sequence[Asked], order: Sequence[Sequence[Face]], how: str) -> _Try:
    found = _Try(how)
    for row in rows:
        at = row.logged.position
        if at is None or at >= len(order):
            found.strangers.append(row)
            continue
        for face in order[at]:
            found.put(row, face)
    return found


def _orders(faces: Sequence[Face]) -> Iterator[tuple[str, list[list[Face]]]]:
    """Yield the orders in which a tool may have asked: each entry may stand for several samples."""
    numbered = sorted(faces, key=lambda face: face.number)
    groups = dict.fromkeys(key for face in faces for key in face.sample.groups)
    for name, order in (("the task's order", list(faces)), ("in the order of ids", numbered)):
        yield name, [[face] for face in order]
        for group in groups:
            parted: dict[str, list[Face]] = {}
            for face in order:
                parted.setdefault(str(face.sample.groups.get(group)), []).append(face)
            if not 1 < len(parted) <= _ORDERED:
                continue
            for value, part in parted.items():
                yield f"{group} {value} alone, {name}", [[face] for face in part]
            for arranged in permutations(parted):
                joined = [face for value in arranged for face in parted[value]]
                title = f"{group} {', '.join(arranged)}, {name}"
                yield title, [[face] for face in joined]
                merged = _merged(joined)
                if len(merged) < len(joined):
                    yield f"{title}, each question once", merged


def _merged(faces: Sequence[Face]) -> list[list[Face]]:
    """Put samples that ask the same of the same picture together, where the first of them stands.

    VLMEvalKit asks a question that is in several splits of POPE once.
    """
    found: dict[tuple[object, ...], list[Face]] = {}
    for face in faces:
        found.setdefault(face.asks, []).append(face)
    return list(found.values())


def _refusal(log: Log, samples: int, tries: Sequence[_Try]) -> DataError:
    """Return the error that lists what differs, from the way that came nearest."""
    if not tries:
        return DataError(
            f"{log.path}: its {len(log.rows):,} rows have no ids of this task, and nothing in them "
            f"tells which of its {samples:,} samples they are"
        )
    best = min(tries, key=lambda found: (not found.rows and not found.differ, found.misses))
    total = f"of {len(log.rows):,} rows"
    if best.differ:
        lines = "".join(
            f"\n  {row.logged.where}, sample '{face.id}'\n    log   {_cut(row.words)}"
            f"\n    task  {_cut(face.words)}"
            for row, face in best.differ[:_SHOWN]
        )
        return DataError(
            f"{log.path}: {len(best.differ):,} {total} ask another question than the task does "
            f"({best.how}); the log belongs to another version, order or part of the data:{lines}"
        )
    listed = best.strangers or best.unclear
    lines = "".join(f"\n  {row.logged.where}: {_cut(row.words)}" for row in listed[:_SHOWN])
    if best.strangers:
        return DataError(
            f"{log.path}: {len(best.strangers):,} {total} ask what none of the task's {samples:,} "
            f"samples asks ({best.how}). Is it the right task and data? --extra ignore leaves them "
            f"out where all others can be placed:{lines}"
        )
    return DataError(
        f"{log.path}: {len(best.unclear):,} {total} could be several samples ({best.how}): the log "
        f"has no ids, and its order is none of this task's, or more than one:{lines}"
    )


def _cut(said: str) -> str:
    return repr(said if len(said) <= 160 else said[:157] + "...")
