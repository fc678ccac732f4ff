"""Do judges agree with people, with each other, with themselves? What do they favour, and cost?

Sources are run folders (their verdicts), single verdict files of a run folder, and csv files of
people's labels with the columns `id` and `label`, `score` or both. Everything is computed on the
answers that both sources of a pair could judge; words that nobody could read are left out and
counted. Cohen's kappa (1960) is on labels, correlations on scores; intervals are 95 %, by leaving
out one image at a time. Imports harness.record, harness.verdicts and harness.errors.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from harness import store, verdicts
from harness.errors import DataError
from harness.record import read, read_lines
from reports.table import number, printable

Number = float | None
_ANY = (-math.inf, math.inf)


@dataclass(frozen=True)
class Judged:
    """One answer as one source judged it."""

    label: str | None
    score: Number
    cluster: str
    words: int | None = None
    """Length of the answer."""
    orders: Sequence[tuple[Number, Number, bool]] = ()
    """Per vote in both orders: score with the answer second, with it first, same label."""


@dataclass(frozen=True)
class Source:
    """All that one judge, or group of people, said."""

    name: str
    judged: Mapping[str, Judged]
    unreadable: int = 0
    took: Mapping[str, Any] = field(default_factory=dict)
    """price, tokens, calls, seconds; empty for people."""


def load(address: str) -> Source:
    """Read a source. Raises DataError for anything that is none."""
    path = store.local(address)
    if path.is_dir():
        return _verdicts(path / verdicts.FILE)
    if path.suffix == ".csv":
        return _labels(path)
    if path.suffix == ".jsonl" and path.is_file():
        return _verdicts(path)
    raise DataError(
        f"{path}: expected a run folder, a verdicts file in one, or a csv with id and label, score"
    )


def compare(sources: Sequence[Source]) -> dict[str, Any]:
    """Return every measure of each source and of each pair, as data."""
    return {
        "sources": [_alone(source) for source in sources],
        "pairs": [_pair(a, b) for a, b in combinations(sources, 2)],
    }


def _verdicts(path: Path) -> Source:
    folder = path.parent
    run = read(folder).run
    sections = [section for section in (run.get("judging"), *run.get("judgings", ())) if section]
    section = next((found for found in sections if found["file"] == path.name), None)
    if section is None or not path.is_file():
        raise DataError(f"{path}: {folder} was not judged, or this is not one of its verdict files")
    answers = {row["id"]: row for row in read_lines(folder / "rows.jsonl") if row.get("answer")}
    by_id: dict[str, list[verdicts.Line]] = {}
    for (name, _, _), line in verdicts.slots(read_lines(path)).items():
        by_id.setdefault(name, []).append(line)
    judged = {
        name: found
        for name, lines in by_id.items()
        if name in answers and (found := _one(answers[name], lines)) is not None
    }
    who = " and ".join(judge["address"] for judge in section["judges"])
    took = {name: section.get(key) for name, key in _TOOK.items()}
    return Source(f"{folder.name}: {who}", judged, len(by_id) - len(judged), took)


_TOOK = {"price": "cost", "tokens in": "tokens_in", "tokens out": "tokens_out"} | {
    name: name for name in ("calls", "seconds")
}


def _one(row: Mapping[str, Any], lines: Sequence[verdicts.Line]) -> Judged | None:
    """Return the majority label and the mean score of the readable votes on one answer."""
    good = [line for line in lines if verdicts.readable(line) and not line["sentinel"]]
    if not good:
        return None
    ranked = Counter(line["label"] for line in good).most_common(2)
    clear = len(ranked) == 1 or ranked[0][1] > ranked[1][1]
    scores = [line["score"] for line in good if line["score"] is not None]
    by_slot = {(line["vote"], line["swapped"]): line for line in good}
    both = [
        (by_slot[vote, False], by_slot[vote, True])
        for vote, swapped in by_slot
        if not swapped and (vote, True) in by_slot
    ]
    return Judged(
        ranked[0][0] if clear else None,
        sum(scores) / len(scores) if scores else None,
        row["cluster"],
        len(row["answer"]["text"].split()),
        [(a["score"], b["score"], a["label"] == b["label"]) for a, b in both],
    )


def _labels(path: Path) -> Source:
    """Read people's labels; an id that comes several times has several people's."""
    found: dict[str, list[tuple[str | None, Number, str]]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["id"], []).append(_label(row))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a csv with id and label or score ({error!r})") from error
    judged = {}
    for name, rows in found.items():
        ranked = Counter(label for label, _, _ in rows if label is not None).most_common(2)
        clear = len(ranked) == 1 or (len(ranked) == 2 and ranked[0][1] > ranked[1][1])
        scores = [score for _, score, _ in rows if score is not None]
        mean = sum(scores) / len(scores) if scores else None
        judged[name] = Judged(ranked[0][0] if clear else None, mean, rows[0][2] or name)
    if not judged:
        raise DataError(f"{path}: no labels in it")
    return Source(path.name, judged)


def _label(row: Mapping[str, str | None]) -> tuple[str | None, Number, str]:
    label, score = (row.get("label") or "").strip(), (row.get("score") or "").strip()
    if not label and not score:
        raise ValueError(f"the id {row['id']!r} has neither label nor score")
    value = float(score) if score else None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"the score of {row['id']!r} is {score}")
    return label or None, value, row.get("cluster") or ""


def _alone(source: Source) -> dict[str, Any]:
    items = list(source.judged.values())
    orders = [pair for item in items for pair in item.orders]
    moved = [first - second for second, first, _ in orders if None not in (first, second)]  # type: ignore[operator]
    long = [i for i in items if i.score is not None and i.words is not None]
    return {
        "name": source.name,
        "judged": len(items),
        "unreadable": source.unreadable,
        "labels": dict(sorted(Counter(i.label for i in items if i.label is not None).items())),
        "mean_score": _estimate(
            [i for i in items if i.score is not None],
            lambda kept: _mean([i.score for i in kept]),
            _ANY,
        ),
        "length_correlation": _estimate(
            long, lambda kept: _spearman([(float(i.words or 0), i.score or 0.0) for i in kept])
        ),
        "position": {
            "pairs": len(orders),
            "same_label": _mean([float(same) for _, _, same in orders]),
            "first_gains": _mean(moved),
        },
        "took": dict(source.took),
    }


def _pair(a: Source, b: Source) -> dict[str, Any]:
    common = [(a.judged[name], b.judged[name]) for name in a.judged if name in b.judged]
    labelled = [(x, y) for x, y in common if x.label is not None and y.label is not None]
    scored = [(x, y) for x, y in common if x.score is not None and y.score is not None]
    known = [(x, y) for x, y in scored if (x.words or y.words) is not None]

    def scores(kept: Sequence[tuple[Judged, Judged]]) -> list[tuple[float, float]]:
        return [(x.score or 0.0, y.score or 0.0) for x, y in kept]

    def labels(kept: Sequence[tuple[Judged, Judged]]) -> list[tuple[str, str]]:
        return [(x.label or "", y.label or "") for x, y in kept]

    return {
        "a": a.name,
        "b": b.name,
        "common": len(common),
        "labelled": len(labelled),
        "agreement": _estimate(
            labelled, lambda kept: _mean([float(x == y) for x, y in labels(kept)]), (0.0, 1.0)
        ),
        "kappa": _estimate(labelled, lambda kept: kappa(labels(kept))),
        "pearson": _estimate(scored, lambda kept: _pearson(scores(kept))),
        "spearman": _estimate(scored, lambda kept: _spearman(scores(kept))),
        "a_minus_b": _estimate(scored, lambda kept: _mean([x - y for x, y in scores(kept)]), _ANY),
        "a_favours_length": _estimate(
            known,
            lambda kept: _spearman(
                [
                    (float(x.words or y.words or 0), (x.score or 0.0) - (y.score or 0.0))
                    for x, y in kept
                ]
            ),
        ),
    }


def kappa(pairs: Sequence[tuple[str, str]]) -> Number:
    """Return Cohen's kappa of two judges' labels; None where chance alone explains everything."""
    if not pairs:
        return None
    n = len(pairs)
    first, second = Counter(x for x, _ in pairs), Counter(y for _, y in pairs)
    chance = sum(first[label] * second[label] for label in first) / n**2
    seen = sum(x == y for x, y in pairs) / n
    return None if chance == 1.0 else (seen - chance) / (1 - chance)


def _mean(values: Sequence[Number]) -> Number:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _pearson(pairs: Sequence[tuple[float, float]]) -> Number:
    if len(pairs) < 3:
        return None
    x, y = (_centred(values) for values in zip(*pairs, strict=True))
    under = math.sqrt(sum(v * v for v in x) * sum(v * v for v in y))
    return None if under < 1e-12 else sum(a * b for a, b in zip(x, y, strict=True)) / under


def _centred(values: Sequence[float]) -> list[float]:
    mean = sum(values) / len(values)
    return [value - mean for value in values]


def _spearman(pairs: Sequence[tuple[float, float]]) -> Number:
    if len(pairs) < 3:
        return None
    x, y = (_ranks(values) for values in zip(*pairs, strict=True))
    return _pearson(list(zip(x, y, strict=True)))


def _ranks(values: Sequence[float]) -> list[float]:
    """Return ranks; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    for end in range(1, len(values) + 1):
        if end == len(values) or values[order[end]] != values[order[start]]:
            for at in order[start:end]:
                ranks[at] = (start + end - 1) / 2
            start = end
    return ranks


def _estimate(
    items: Sequence[Any],
    of: Callable[[Sequence[Any]], Number],
    within: tuple[float, float] = (-1.0, 1.0),
) -> dict[str, Any]:
    """Return a value with its interval: leaving out one cluster at a time, t distribution.

    The interval is cut at what the value can be.
    """
    from scipy.special import stdtrit

    value = of(items) if items else None
    clusters: dict[str, list[int]] = {}
    for at, item in enumerate(items):
        clusters.setdefault((item[0] if isinstance(item, tuple) else item).cluster, []).append(at)
    found = {"value": value, "low": None, "high": None, "n": len(items), "clusters": len(clusters)}
    if value is None or len(clusters) < 2:
        return found
    without = [
        of([item for at, item in enumerate(items) if at not in out])
        for out in map(frozenset, clusters.values())
    ]
    if any(left is None for left in without):
        return found
    spread = sum(v * v for v in _centred([left for left in without if left is not None]))
    count = len(clusters)
    reach = float(stdtrit(count - 1, 0.975)) * math.sqrt((count - 1) / count * spread)
    low, high = max(value - reach, within[0]), min(value + reach, within[1])
    return found | {"low": low, "high": high}


def show(found: Mapping[str, Any]) -> Any:
    """Return a rich renderable of what `compare` found."""
    from rich.console import Group
    from rich.text import Text

    return Group(*(Text(line) for line in _lines(found)))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    for source in found["sources"]:
        took = [f"{name} {_took(value)}" for name, value in source["took"].items() if value]
        labels = ", ".join(f"{label} {n}" for label, n in source["labels"].items())
        position = source["position"]
        yield printable(source["name"])
        yield f"  judged       {source['judged']:,}, unreadable {source['unreadable']:,}"
        yield printable(f"  labels       {labels or '-'}")
        yield f"  score        {_with_interval(source['mean_score'])}"
        yield f"  length       {_with_interval(source['length_correlation'])} (rank correlation)"
        if position["pairs"]:
            yield (
                f"  position     same label in both orders {number(position['same_label'])}, first "
                f"place gains {number(position['first_gains'], 3)} ({position['pairs']:,} pairs)"
            )
        if took:
            yield f"  took         {', '.join(took)}"
        yield ""
    for pair in found["pairs"]:
        yield printable(f"{pair['a']}  against  {pair['b']}")
        yield f"  in common    {pair['common']:,}, both labelled {pair['labelled']:,}"
        for title, name in _SHOWN.items():
            yield f"  {title:<12} {_with_interval(pair[name])}"
        yield ""


_SHOWN = {
    "agreement": "agreement",
    "kappa": "kappa",
    "pearson": "pearson",
    "spearman": "spearman",
    "difference": "a_minus_b",
    "to length": "a_favours_length",
}


def _with_interval(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "-"
    interval = f" ({number(found['low'])} to {number(found['high'])})"
    return number(found["value"]) + (interval if found["low"] is not None else "")


def _took(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def to_json(found: Mapping[str, Any]) -> str:
    """Return what `compare` found as JSON."""
    return json.dumps(found, indent=1)
