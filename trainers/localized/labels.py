"""What two people said of a triple, as labels for the critic.

LSKD, section 2.3: each of two annotators rates question and answer (1), and whether the rationale
justifies the answer (2), as 1 (reject), 2 (maybe) or 3 (accept). The second counts as rejected
where the first was. A triple is accepted unless somebody rejected something. The regression label
of a criterion is 0 where a rating of it is a reject, else the mean of its ratings. On which scale
the mean is, the paper does not say: see `SCALES`. Imports harness and the corpus format.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError, unknown
from trainers.localized.triples import Triple

REJECT, MAYBE, ACCEPT = 1, 2, 3
ANNOTATORS = 2
SCALES: dict[str, Callable[[float], float]] = {
    "thirds": lambda mean: mean / 3,
    "raw": lambda mean: mean,
    "unit": lambda mean: (mean - REJECT) / (ACCEPT - REJECT),
}
"""Of a mean rating from 1 to 3. `thirds` (0.67 to 1) is ours; the stored labels of the authors are
not published. In all of them a rejected criterion is 0."""
EXPLAINED = 4
"""Faulty lines that a message names."""


@dataclass(frozen=True, slots=True)
class Rating:
    """What one annotator said of one triple."""

    qa: int
    r: int | None
    """None where the question was rejected and this was not asked."""
    annotator: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """What the critic learns of one triple."""

    accept: int
    """1: accepted; 0: rejected."""
    qa_score: float
    r_score: float


def label(ratings: Sequence[Rating], scale: str = "thirds") -> Label:
    """Return the label of a triple's ratings.

    Raises:
        DataError: There are no two ratings, one is not 1, 2 or 3, or the rationale of a question
            that was not rejected was not rated.
        UsageError: There is no such scale.
    """
    if scale not in SCALES:
        raise unknown("scale of labels", scale, SCALES)
    if len(ratings) != ANNOTATORS:
        raise DataError(f"{len(ratings)} ratings; {ANNOTATORS} annotators are needed")
    qa = [rating.qa for rating in ratings]
    r = [_rationale(rating) for rating in ratings]
    if not {*qa, *r} <= {REJECT, MAYBE, ACCEPT}:
        raise DataError(f"ratings are 1, 2 or 3; found {qa} and {r}")
    accepted = REJECT not in (*qa, *r)
    return Label(int(accepted), _score(qa, scale), _score(r, scale))


def _rationale(rating: Rating) -> int:
    if rating.qa == REJECT:
        return REJECT
    if rating.r is None:
        raise DataError("the rationale of a question that was not rejected has no rating")
    return rating.r


def _score(ratings: Sequence[int], scale: str) -> float:
    return 0.0 if REJECT in ratings else SCALES[scale](sum(ratings) / len(ratings))


def read(path: Path) -> dict[str, list[Rating]]:
    """Return the ratings of a file by triple id.

    A line is {"id", "annotator", "qa": 1..3, "r": 1..3 or null}, or one for all annotators:
    {"id", "ratings": [{"annotator", "qa", "r"}, ...]}.

    Raises:
        DataError: A line is no rating, or one annotator rated a triple twice.
    """
    out: dict[str, list[Rating]] = {}
    for where, row in _rows(path):
        try:
            found = [_rating(one) for one in row.get("ratings") or [row]]
            id = str(row["id"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where}: no rating ({type(error).__name__}: {error})") from error
        before = out.setdefault(id, [])
        for one in found:
            if one.annotator and any(one.annotator == other.annotator for other in before):
                raise DataError(f"{where}: {one.annotator} rated the triple '{id}' twice")
            before.append(one)
    return out


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no file of ratings ({error})") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield f"{path}, line {number}", json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not JSON ({error})") from error


def _rating(row: Mapping[str, Any]) -> Rating:
    qa, r = row["qa"], row.get("r")
    if type(qa) is not int or (r is not None and type(r) is not int):
        raise TypeError(f"ratings are whole numbers, found {qa!r} and {r!r}")
    return Rating(qa, r, str(row.get("annotator") or ""))


def labelled(
    corpus: Iterable[Triple], ratings: Mapping[str, Sequence[Rating]], scale: str = "thirds"
) -> Iterator[Triple]:
    """Yield the rated triples of a corpus with `accept`, `qa_score` and `r_score` in their lines.

    Triples without ratings are left out.

    Raises:
        DataError: Ratings are of no triple of the corpus, or make no label; the first are named.
    """
    faults: list[str] = []
    left = set(ratings)
    for triple in corpus:
        if triple.id not in ratings:
            continue
        left.discard(triple.id)
        try:
            found = label(ratings[triple.id], scale)
        except DataError as error:
            faults.append(f"triple '{triple.id}': {error}")
            continue
        scores = {"qa_score": found.qa_score, "r_score": found.r_score}
        yield replace(triple, extra={**triple.extra, "accept": found.accept, **scores})
    faults += [f"'{id}' is rated and not in the corpus" for id in sorted(left)]
    if faults:
        more = f"; and {len(faults) - EXPLAINED} more" if len(faults) > EXPLAINED else ""
        raise DataError("; ".join(faults[:EXPLAINED]) + more)


def of(triple: Triple) -> Label:
    """Return the label in a triple's line. Raises DataError where it has none."""
    found = [triple.extra.get(name) for name in ("accept", "qa_score", "r_score")]
    accept, qa, r = found
    if accept not in (0, 1) or not all(_number(value) for value in (qa, r)):
        raise DataError(
            f"triple {triple.id} has no labels (`accept` 0 or 1, `qa_score`, `r_score`; found "
            f"{found}); `sightline critic labels` writes them"
        )
    return Label(int(accept), float(qa), float(r))  # type: ignore[arg-type]  # just checked


def evaluated(image: str, share: float, seed: int) -> bool:
    """Return whether the triples of a picture are kept for evaluation: all of them or none."""
    if not 0 <= share < 1:
        raise UsageError(f"the share for evaluation is from 0 to below 1, found {share}")
    digest = sha256(f"{seed}/critic-eval/{image}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56) < share


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
