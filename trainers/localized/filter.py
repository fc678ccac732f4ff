"""Which triples of a scored corpus stay, and what the corpus is made of before and after.

LSKD, section 2.3: instances whose score is higher than the threshold are kept, 0.8 in the paper
(20 % of its corpus). Triples without a score are neither kept nor dropped. Imports harness and the
corpus format.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError
from trainers.localized import triples
from trainers.localized.triples import Triple

THRESHOLD = 0.8
KEPT, DROPPED, UNSCORED = "kept", "dropped", "unscored"


@dataclass
class Statistics:
    """What a part of a corpus is made of."""

    triples: int = 0
    accepted: int = 0
    """Of those that people labelled."""
    labelled: int = 0
    score: float = 0.0
    """Sum of the scores."""
    mentioned: int = 0
    """Sum of the regions mentioned."""
    words: Counter[str] = field(default_factory=Counter)
    """Sum of the tokens of each part."""
    images: set[str] = field(default_factory=set)
    vocabulary: set[str] = field(default_factory=set)

    def add(self, triple: Triple) -> None:
        """Count a triple."""
        self.triples += 1
        self.score += triple.prediction or 0.0
        self.images.add(triple.image)
        parts = {name: getattr(triple, name) for name in triples.PARTS}
        self.mentioned += len(triples.mentioned(*parts.values()))
        for name, tokens in parts.items():
            self.words[name] += len(tokens)
            self.vocabulary.update(token.lower() for token in tokens if isinstance(token, str))
        accept = triple.extra.get("accept")
        if accept in (0, 1):
            self.labelled += 1
            self.accepted += int(accept)

    def told(self) -> dict[str, Any]:
        """Return the statistics as plain JSON values; means are None of nothing."""
        n = self.triples
        return {
            "triples": n,
            "images": len(self.images),
            "mean_score": self.score / n if n else None,
            "regions_per_triple": self.mentioned / n if n else None,
            "words": {name: self.words[name] / n if n else None for name in triples.PARTS},
            "vocabulary": len(self.vocabulary),
            "labelled": self.labelled,
            "accepted": self.accepted / self.labelled if self.labelled else None,
        }


@dataclass(frozen=True)
class Result:
    """What filtering came to."""

    card: dict[str, Any]
    kept: int
    dropped: int
    unscored: int


def kept(triple: Triple, threshold: float) -> bool:
    """Return whether a triple's score is higher than `threshold`."""
    return triple.prediction is not None and triple.prediction > threshold


def apply(
    scored: Path, out: Path, threshold: float = THRESHOLD, *, limit: int = 0, seed: int = 0
) -> Result:
    """Write kept.jsonl and dropped.jsonl to the folder `out`, in the order of the corpus.

    Args:
        scored: Corpus with predictions.
        out: Folder.
        threshold: From 0 to 1; a score must be higher.
        limit: Triples of kept.jsonl at most, drawn by the seed and the id (Figure 4 compares
            thresholds at one size); those that the lot leaves out are in neither file. 0: all.
        seed: Of that lot.

    Raises:
        UsageError: The threshold is no share.
        DataError: No triple has a score.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"--threshold is from 0 to 1, found {threshold:g}")
    fates, every = _fates(triples.read(scored), threshold)
    total = Counter(fates.values())
    if not total[KEPT] and not total[DROPPED]:
        raise DataError(f"{scored}: no triple has a score; `sightline critic score` gives them")
    chosen = _lot([id for id, fate in fates.items() if fate == KEPT], limit, seed)
    parts = {KEPT: Statistics(), DROPPED: Statistics()}
    for name in (KEPT, DROPPED):
        triples.write(
            out / f"{name}.jsonl", _part(triples.read(scored), fates, name, chosen, parts[name])
        )
    card = {
        "schema": 1,
        "threshold": threshold,
        "limit": limit or None,
        "seed": seed,
        "counts": {name: total[name] for name in (KEPT, DROPPED, UNSCORED)},
        "left_by_lot": total[KEPT] - parts[KEPT].triples,
        "retention": total[KEPT] / (total[KEPT] + total[DROPPED]),
        "by": {
            kind: {name: _share(counts) for name, counts in sorted(found.items())}
            for kind, found in every.items()
        },
        "corpus": {name: one.told() for name, one in parts.items()},
    }
    return Result(card, parts[KEPT].triples, total[DROPPED], total[UNSCORED])


def _fates(
    corpus: Iterable[Triple], threshold: float
) -> tuple[dict[str, str], dict[str, dict[str, Counter[str]]]]:
    """Return each triple's fate, and counts of fates per source, style and both."""
    fates: dict[str, str] = {}
    every: dict[str, dict[str, Counter[str]]] = {"source": {}, "style": {}, "source and style": {}}
    for triple in corpus:
        fate = UNSCORED
        if triple.prediction is not None:
            fate = KEPT if kept(triple, threshold) else DROPPED
        fates[triple.id] = fate
        source = triple.source or "none given"
        names = (source, triple.style, f"{source}, {triple.style}")
        for found, name in zip(every.values(), names, strict=True):
            found.setdefault(name, Counter())[fate] += 1
    return fates, every


def _share(counts: Counter[str]) -> dict[str, Any]:
    scored = counts[KEPT] + counts[DROPPED]
    shares = {name: counts[name] for name in (KEPT, DROPPED, UNSCORED)}
    return {**shares, "retention": counts[KEPT] / scored if scored else None}


def _lot(ids: Sequence[str], limit: int, seed: int) -> set[str]:
    if not limit or len(ids) <= limit:
        return set(ids)

    def order(id: str) -> bytes:
        return sha256(f"{seed}/filter/{id}".encode("utf-8", "surrogatepass")).digest()

    return set(sorted(ids, key=order)[:limit])


def _part(
    corpus: Iterable[Triple], fates: dict[str, str], name: str, chosen: set[str], into: Statistics
) -> Iterable[Triple]:
    for triple in corpus:
        if fates[triple.id] == name and (name != KEPT or triple.id in chosen):
            into.add(triple)
            yield triple


def lines(card: dict[str, Any]) -> list[str]:
    """Return a card as lines for people."""
    counts = card["counts"]
    out = [
        f"kept {counts[KEPT]:,} of {counts[KEPT] + counts[DROPPED]:,} scored triples "
        f"({card['retention']:.1%}) with a score above {card['threshold']:g}"
    ]
    if card["left_by_lot"]:
        out.append(f"of these {card['left_by_lot']:,} left out by lot (--limit)")
    if counts[UNSCORED]:
        out.append(f"without a score, neither kept nor dropped: {counts[UNSCORED]:,}")
    for kind, found in card["by"].items():
        if len(found) > 1:
            out += [f"  {kind} {name}: {_told(one)}" for name, one in found.items()]
    for name, one in card["corpus"].items():
        if one["accepted"] is not None:
            out.append(
                f"  {name}: people accepted {one['accepted']:.1%} of {one['labelled']:,} labelled"
            )
    return out


def _told(one: dict[str, Any]) -> str:
    scored = one[KEPT] + one[DROPPED]
    return f"{one['retention']:.1%} of {scored:,}" if scored else "none scored"
