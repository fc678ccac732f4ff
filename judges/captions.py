"""Scores of captions against references: BLEU-1 to 4, METEOR, ROUGE-L and CIDEr.

The numbers are those of pycocoevalcap 1.2 (Chen et al. 2015, arXiv 1504.00325) with one hypothesis
per item: its tokenizer and its METEOR jar are run as they are (judges/_ptb.py, judges/_meteor.py);
BLEU, ROUGE-L and CIDEr are computed for all items at once (judges/_ngrams.py) and equal to that
package's to rounding. Everything is tokenized once. What comes out are statistics per item, of
which harness/metrics/captions.py and plain means make the corpus numbers.

    from judges.captions import score, summary
    summary(score([("a dog runs", ["the dog is running", "a dog"])]))

Needs the extra `captions`. Imports the standard library, harness.metrics.captions and the two
runners; numpy inside functions.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from harness.errors import DataError, RunStopped, SightlineError
from harness.metrics.captions import bleu_of, meteor_of, meteor_terms
from judges import _java, _meteor, _ptb
from judges._ngrams import ORDERS, Counted, rouge

Item = tuple[str | None, Sequence[str]]
"""A hypothesis and its references, as they were written."""
_ASKED_AGAIN = 500
"""Captions whose scores are compared with the jar's: all of them would take a third longer."""
_AGREED = 1e-9


@dataclass(frozen=True, slots=True)
class Scored:
    """One item: statistics that sum to corpus metrics, and scores that are averaged."""

    meteor: tuple[int, ...]
    """harness.metrics.captions.METEOR_LENGTH numbers."""
    bleu: tuple[int, ...]
    """harness.metrics.captions.BLEU_LENGTH numbers."""
    rouge: float
    cider: float
    """As the package returns it: 1.0 is what papers print as 100."""
    segment: float
    """METEOR of this item alone."""

    def stats(self) -> dict[str, Any]:
        """Return what a record keeps of it (`Score.stats`)."""
        return {
            "meteor": list(self.meteor),
            "bleu": list(self.bleu),
            "rouge": self.rouge,
            "cider": self.cider,
        }


def require() -> None:
    """Raise MissingExtra unless captions can be scored here."""
    _java.require()


def warm_up() -> None:
    """Start METEOR's process, which takes 6 s to be ready, and return at once.

    Never fails: what is wrong with the process is said when it is needed.
    """
    with suppress(SightlineError):
        _meteor.shared()


def score(items: Sequence[Item], splits: Sequence[str] = ()) -> list[Scored]:
    """Score hypotheses against their references.

    Args:
        items: A hypothesis and one or more references each. Where the hypothesis is None nothing
            is scored, but the references count in the document frequencies of CIDEr.
        splits: The split of each item; CIDEr's frequencies are those of a split. Empty: one split.

    Returns:
        One Scored per hypothesis, in order.

    Raises:
        DataError: an item has no reference. MissingExtra: no extra `captions`. RunStopped: a Java
            process broke.
    """
    for at, (said, references) in enumerate(items):
        if not references or isinstance(references, str):
            raise DataError(f"caption {at} ({(said or '')[:60]!r}) has no list of references")
    if all(said is None for said, _ in items):
        return []
    meteor = _meteor.shared()  # loads its table while the captions are tokenized
    cut = _tokenized(items, splits)
    asked = [(said, references) for said, references in cut if said is not None]
    with ThreadPoolExecutor(1, thread_name_prefix="meteor") as worker:
        pending = worker.submit(_segments, meteor, asked)
        counted = Counted(cut, splits)
        bleus, ciders = counted.bleu(), counted.cider()
        rouges = [rouge(said, references) for said, references in asked]
        meteors, segments = pending.result()
    return [Scored(*parts) for parts in zip(meteors, bleus, rouges, ciders, segments, strict=True)]


def summary(scored: Sequence[Scored]) -> dict[str, float]:
    """Return the corpus numbers as the package prints them: bleu1 to 4, meteor, rouge, cider."""
    import numpy as np

    if not scored:
        return {}
    bleu = np.array([s.bleu for s in scored], np.float64).sum(axis=0, keepdims=True)
    found = {f"bleu{n}": float(bleu_of(bleu, n)[0]) for n in range(1, ORDERS + 1)}
    meteor = meteor_terms(np.array([s.meteor for s in scored], np.float64))
    found["meteor"] = float(meteor_of(meteor.sum(axis=0, keepdims=True))[0])
    found["rouge"] = float(np.mean([s.rouge for s in scored]))
    found["cider"] = float(np.mean([s.cider for s in scored]))
    return found


def _tokenized(items: Sequence[Item], splits: Sequence[str]) -> list[Item]:
    """Return items as tokens: of each split the references together, and the hypotheses."""
    places: dict[str, list[int]] = {}
    for at, split in enumerate(splits or [""] * len(items)):
        places.setdefault(split, []).append(at)
    files: list[list[str]] = []
    for members in places.values():
        files.append([text for at in members for text in items[at][1]])
        files.append([said for at in members if (said := items[at][0]) is not None])
    tokens = iter(_ptb.tokenize(*files))
    found: list[Item] = list(items)
    for members in places.values():
        references, hypotheses = iter(next(tokens)), iter(next(tokens))
        for at in members:
            said = None if items[at][0] is None else next(hypotheses)
            found[at] = said, [next(references) for _ in items[at][1]]
    return found


def _segments(
    meteor: _meteor.Meteor, items: Sequence[tuple[str, Sequence[str]]]
) -> tuple[list[_meteor.Statistics], list[float]]:
    """Return the jar's statistics of each caption, and the scores that follow from them.

    The record holds statistics and no jar, so the jar is asked whether they give its own scores.
    Raises RunStopped where they do not, as with another version of the jar.
    """
    import numpy as np

    statistics = meteor.statistics(items)
    terms = meteor_terms(np.array(statistics, np.float64))
    scores: list[float] = meteor_of(terms).tolist()
    asked = statistics[:_ASKED_AGAIN]
    each, together = meteor.evaluate(asked)
    ours = [*scores[: len(asked)], float(meteor_of(terms[: len(asked)].sum(axis=0)))]
    apart = max(abs(a - b) for a, b in zip(ours, [*each, together], strict=True))
    if apart > _AGREED:
        raise RunStopped(
            f"METEOR's jar gives {together:.6f} for {len(asked):,} captions, its statistics "
            f"{ours[-1]:.6f}, and captions differ by {apart:.2g}: not pycocoevalcap 1.2's jar"
        )
    return statistics, scores
