"""The tables that people's votes make: who wins, how good, how far annotators agree.

Pairs (LSKD, Table 5): an item's outcome is what more than half of those asked chose; items without
such a majority are left out and counted, as in the paper. Ratings (Figure 3): an item's rating is
the mean of its votes, a source's the mean of its items. The same functions take a judge model's
verdicts (reports/human/judged.py), so both tables stand side by side. Shares are fractions of 1;
intervals 95 %, clustered by picture. Imports harness.paired and the reports' own parts.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from harness.paired import holm, jackknife
from reports import agreement
from reports.human import agree
from reports.human.answers import Key, Vote
from reports.human.criteria import OUTCOMES, Criterion

SCHEMA = "sightline.human-table/1"
_SIGN = {"a": 1.0, "tie": 0.0, "b": -1.0}


@dataclass(frozen=True)
class Said:
    """Votes on the items of a batch, of people or of a judge."""

    votes: Mapping[str, Sequence[Vote]]
    """By item."""
    each: int
    """Votes that an item was to get."""


def said(votes: Sequence[Vote], each: int) -> Said:
    """Return votes by item."""
    found: dict[str, list[Vote]] = {}
    for vote in votes:
        found.setdefault(vote.item, []).append(vote)
    return Said(found, each)


def table(key: Key, people: Said, judge: tuple[str, Said] | None = None) -> dict[str, Any]:
    """Return everything as plain data; `judge` is its name and what it said."""
    shown = {
        "schema": SCHEMA,
        "batch": key.data["batch"],
        "kind": key.data["kind"],
        "sources": key.sources,
        "votes": people.each,
        "counts": key.data["counts"],
        "criteria": _criteria(key, people),
        "annotators": _annotators(key, people),
    }
    if not key.pairwise:
        shown["accepted"] = _accepted(key, people)
    if judge is not None:
        name, verdicts = judge
        shown["judge"] = {
            "name": name,
            "votes": verdicts.each,
            "criteria": _criteria(key, verdicts),
            "with_people": _together(key, people, verdicts, name),
        }
    return shown


def majority(picks: Sequence[Any], each: int) -> Any:
    """Return what more than half of `each` asked annotators chose; None where nothing was."""
    ranked = Counter(picks).most_common(1)
    return ranked[0][0] if ranked and ranked[0][1] > each / 2 else None


def _criteria(key: Key, votes: Said) -> dict[str, Any]:
    one = _pairs if key.pairwise else _ratings
    found = {criterion.name: one(key, criterion, votes) for criterion in key.criteria}
    if key.pairwise:
        p = {name: row["sign_test"]["p"] for name, row in found.items()}
        for name, adjusted in holm({n: x for n, x in p.items() if x is not None}).items():
            found[name]["sign_test"]["p_holm"] = adjusted
    return found


def _picks(criterion: Criterion, votes: Said, item: str) -> list[Any]:
    cast = votes.votes.get(item, ())
    return [vote.picks[criterion.name] for vote in cast if criterion.name in vote.picks]


def _cluster(key: Key, item: str) -> str:
    return str(key.data["items"][item]["cluster"])


def _agreement(key: Key, criterion: Criterion, votes: Said) -> dict[str, agree.Estimate]:
    options = list(key.values(criterion))
    items = list(key.data["items"])
    tallies = [Counter(_picks(criterion, votes, item)) for item in items]
    counts = [[tally[option] for option in options] for tally in tallies]
    where = [_cluster(key, item) for item in items]
    distance: agree.Distance = "nominal" if key.pairwise else "ordinal"
    return agree.measures(where, counts, votes.each, distance)


def _pairs(key: Key, criterion: Criterion, votes: Said) -> dict[str, Any]:
    """Return win, tie and loss rates over the items with a majority."""
    outcomes, where = [], []
    few = split = 0
    for item in key.data["items"]:
        picks = _picks(criterion, votes, item)
        found = majority(picks, votes.each)
        if found is not None:
            outcomes.append(found)
            where.append(_cluster(key, item))
        elif len(picks) > votes.each / 2:
            split += 1
        else:
            few += 1
    for pair in key.data["same"]:  # the same words: a tie, without asking
        outcomes.append("tie")
        where.append(str(pair["cluster"]))
    rates = {
        name: agree.share(where, [outcome == name for outcome in outcomes]) for name in OUTCOMES
    }
    net = agree.mean(where, [_SIGN[outcome] for outcome in outcomes], (-1.0, 1.0))
    return {
        "n": len(outcomes),
        "no_majority": split,
        "too_few_votes": few,
        **rates,
        "a_minus_b": net,
        "sign_test": _sign_test(where, outcomes),
        **_agreement(key, criterion, votes),
    }


def _sign_test(where: Sequence[str], outcomes: Sequence[str]) -> dict[str, Any]:
    """Return the exact two-sided sign test over pictures; ties, also within one, are left out."""
    from scipy.special import bdtr

    sums: dict[str, float] = {}
    for cluster, outcome in zip(where, outcomes, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + _SIGN[outcome]
    better, worse = sum(s > 0 for s in sums.values()), sum(s < 0 for s in sums.values())
    tried = better + worse
    p = min(1.0, 2.0 * float(bdtr(min(better, worse), tried, 0.5))) if tried else None
    return {"a": better, "b": worse, "p": p, "p_holm": None}


def _ratings(key: Key, criterion: Criterion, votes: Said) -> dict[str, Any]:
    """Return mean rating and majority shares per source, and differences between sources."""
    means: dict[str, float] = {}
    labels: dict[str, Any] = {}
    for item in key.data["items"]:
        if picks := _picks(criterion, votes, item):
            means[item] = sum(picks) / len(picks)
            labels[item] = majority(picks, votes.each)
    rows = []
    for at in range(len(key.sources)):
        items = [item for item in means if at in key.data["items"][item]["sources"]]
        where = [_cluster(key, item) for item in items]
        rows.append({
            "mean": agree.mean(where, [means[i] for i in items], (1.0, len(criterion.options))),
            "majority": {
                label: sum(labels[item] == rating for item in items)
                for rating, label in enumerate(criterion.options, 1)
            },
            "no_majority": sum(labels[item] is None for item in items),
            "unrated": sum(at in i["sources"] for i in key.data["items"].values()) - len(items),
        })  # fmt: skip
    differences = [
        _difference(key, means, a, b) for a, b in combinations(range(len(key.sources)), 2)
    ]
    return {"sources": rows, "differences": differences, **_agreement(key, criterion, votes)}


def _difference(key: Key, values: Mapping[str, float], a: int, b: int) -> dict[str, Any]:
    """Return how much higher source b is than a; pictures that both have are one cluster."""
    every = list(dict.fromkeys(_cluster(key, item) for item in values))

    def sums(at: int) -> Any:
        items = [item for item in values if at in key.data["items"][item]["sources"]]
        rows = [(values[item], 1.0) for item in items]
        where = [_cluster(key, item) for item in items]
        return agree.sums_of(where, rows, agree.ratio, every=every)

    pair = [sums(a), sums(b)]
    change = jackknife(*pair) if all(one.n for one in pair) else None
    low, high = change.interval() if change else (None, None)
    return {
        "a": key.sources[a], "b": key.sources[b], "b_minus_a": change and change.value,
        "low": low, "high": high, "p": change and change.p,
    }  # fmt: skip


def _accepted(key: Key, votes: Said) -> list[agree.Estimate]:
    """Return per source the share of items that nobody rated lowest on any criterion.

    That is the critic's label "accept" (LSKD, section 2.3). Items without votes are left out.
    """
    found = []
    for at in range(len(key.sources)):
        judged = {
            item: [rating for vote in cast for rating in vote.picks.values()]
            for item, cast in votes.votes.items()
            if at in key.data["items"][item]["sources"]
        }
        items = [item for item, ratings in judged.items() if ratings]
        where = [_cluster(key, item) for item in items]
        found.append(agree.share(where, [1 not in judged[item] for item in items]))
    return found


def _annotators(key: Key, votes: Said) -> list[dict[str, Any]]:
    """Return what each annotator did: how much, how fast, towards which side, with the others."""
    by_one: dict[str, list[Vote]] = {form["annotator"]: [] for form in key.data["forms"]}
    for cast in votes.votes.values():
        for vote in cast:
            by_one[vote.annotator].append(vote)
    rows = []
    for form in key.data["forms"]:
        mine = by_one[form["annotator"]]
        seconds = sorted(vote.seconds for vote in mine)
        rows.append({
            "annotator": form["annotator"],
            "asked": len(form["items"]),
            "answered": sum(bool(vote.picks) for vote in mine),
            "unclear": sum(vote.unclear for vote in mine),
            "median_seconds": seconds[len(seconds) // 2] if seconds else None,
            "left": _left(mine) if key.pairwise else None,
            "with_others": _with_others(key, votes, mine),
        })  # fmt: skip
    return rows


def _left(mine: Sequence[Vote]) -> float | None:
    """Return how often the left side won, of all picks that were no tie."""
    won = [
        (pick == "b") == vote.swapped
        for vote in mine
        for pick in vote.picks.values()
        if pick != "tie"
    ]
    return sum(won) / len(won) if won else None


def _with_others(key: Key, votes: Said, mine: Sequence[Vote]) -> float | None:
    """Return how often another annotator of the same item picked the same."""
    same = [
        vote.picks[name] == other.picks[name]
        for vote in mine
        for other in votes.votes[vote.item]
        if other.annotator != vote.annotator
        for name in vote.picks
        if name in other.picks
    ]
    return sum(same) / len(same) if same else None


def _together(key: Key, people: Said, judge: Said, name: str) -> dict[str, Any]:
    """Return how far a judge agrees with people, criterion by criterion, on items both settled."""
    found = {}
    for criterion in key.criteria:
        sides = [
            agreement.Source(who, _judged(key, criterion, votes))
            for who, votes in (("people", people), (name, judge))
        ]
        pair = agreement.compare(sides)["pairs"][0]
        kept = ("common", "labelled", "agreement", "kappa", "pearson")
        found[criterion.name] = {measure: pair[measure] for measure in kept}
    return found


def _judged(key: Key, criterion: Criterion, votes: Said) -> dict[str, agreement.Judged]:
    number: Callable[[Any], float] = _SIGN.__getitem__ if key.pairwise else float
    found = {}
    for item in key.data["items"]:
        if picks := _picks(criterion, votes, item):
            label = majority(picks, votes.each)
            score = sum(map(number, picks)) / len(picks)
            shown = None if label is None else str(label)
            found[item] = agreement.Judged(shown, score, _cluster(key, item))
    return found
