"""BLEU, ROUGE-L and CIDEr of tokenized captions, for all captions at once.

The definitions are those of pycocoevalcap 1.2 (`bleu_scorer.py` with the closest reference length,
`rouge.py`, `cider_scorer.py`), which counts n-grams of one caption after the other in Python
dictionaries; here the n-grams of all captions are numbered and counted by sorting. Results are
equal to rounding. Captions are given as tokens joined by spaces. Imports the standard library;
numpy inside functions.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

ORDERS = 4
_SIGMA = 6.0
_BETA = 1.2
_SCALE = 10.0


def rouge(said: str, references: Sequence[str]) -> float:
    """Return ROUGE-L; precision and recall may come from two references, as in the package."""
    words = said.split(" ")  # an empty caption is one empty word, there and here
    where: dict[str, int] = {}
    for at, word in enumerate(words):
        where[word] = where.get(word, 0) | 1 << at
    full = (1 << len(words)) - 1
    precision = recall = 0.0
    for reference in references:
        row, others = full, reference.split(" ")
        for word in others:  # bit-parallel (Hyyro 2004): the zeros of `row` count the subsequence
            if match := where.get(word, 0) & row:
                row = (row + match | row - match) & full
        common = len(words) - row.bit_count()
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(others))
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


class Counted:
    """All n-grams of all captions, n = 1 to 4, counted once.

    Captions are numbered, hypotheses first, then references. Where an item has no hypothesis its
    references still enter the document frequencies of its split.
    """

    def __init__(
        self, items: Sequence[tuple[str | None, Sequence[str]]], splits: Sequence[str] = ()
    ) -> None:
        """Count the n-grams of `items`; `splits` names the split of each, all one when empty."""
        import numpy as np

        self._asked = np.array([i for i, (said, _) in enumerate(items) if said is not None], int)
        """The item of each hypothesis."""
        self._sizes = np.array([len(references) for _, references in items], np.int64)
        self._item = np.concatenate([self._asked, np.repeat(np.arange(len(items)), self._sizes)])
        """The item of each caption."""
        names = {name: number for number, name in enumerate(dict.fromkeys(splits))}
        self._split = np.array([names[name] for name in splits] or [0] * len(items), np.int64)
        said = [said for said, _ in items if said is not None]
        words = [text.split() for text in (*said, *(r for _, refs in items for r in refs))]
        self._lengths = np.array([len(found) for found in words], np.int64)
        self._levels = list(self._counted(words))
        """For each n: caption, n-gram number and count of every pair that occurs."""

    def _counted(self, words: Sequence[Sequence[str]]) -> "Iterator[tuple[Ints, Ints, Ints]]":
        import numpy as np

        numbers: dict[str, int] = {}
        codes = np.array(
            [numbers.setdefault(word, len(numbers)) for found in words for word in found], np.int64
        )
        captions = np.repeat(np.arange(len(words)), self._lengths)
        ends = np.cumsum(self._lengths)[captions]
        grams, starts = codes, np.arange(len(codes))
        for n in range(1, ORDERS + 1):
            if n > 1:
                inside = starts + n <= ends[starts]
                starts = starts[inside]
                grams = grams[inside] * len(numbers) + codes[starts + n - 1]
                grams = np.unique(grams, return_inverse=True)[1]  # small again: no overflow
            size = _size(grams)
            pairs, counts = np.unique(captions[starts] * size + grams, return_counts=True)
            yield pairs // size, pairs % size, counts

    def bleu(self) -> list[tuple[int, ...]]:
        """Return per hypothesis the numbers of harness.metrics.captions.BLEU_LENGTH."""
        import numpy as np

        lengths = self._lengths[: len(self._asked)]
        columns = [lengths, self._closest()]
        columns += [np.maximum(lengths - n, 0) for n in range(ORDERS)]
        for captions, grams, counts in self._levels:
            said = captions < len(self._asked)
            keys = self._item[captions] * _size(grams) + grams
            order = np.argsort(keys[~said], kind="stable")
            known, first = np.unique(keys[~said][order], return_index=True)
            most = np.maximum.reduceat(counts[~said][order], first) if len(first) else first
            at, there = _find(known, keys[said])
            clipped = np.minimum(counts[said], np.where(there, most[at] if len(most) else 0, 0))
            columns.append(np.bincount(captions[said], clipped, len(self._asked)).astype(np.int64))
        return [tuple(row) for row in np.stack(columns, axis=1).tolist()]

    def _closest(self) -> "Ints":
        """Return for each hypothesis the reference length next to its own; ties: the shorter."""
        import numpy as np

        own = np.zeros(len(self._sizes), np.int64)
        own[self._asked] = self._lengths[: len(self._asked)]
        items, lengths = self._item[len(self._asked) :], self._lengths[len(self._asked) :]
        order = np.lexsort((lengths, np.abs(lengths - own[items]), items))
        firsts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])
        return np.asarray(lengths[order][firsts][self._asked])

    def cider(self) -> list[float]:
        """Return CIDEr per hypothesis: 1.0 is what papers print as 100."""
        import numpy as np

        asked, total = len(self._asked), len(self._lengths)
        bigrams = np.maximum(self._lengths - 1, 0)  # the package's length counts bigrams
        hypothesis = np.full(len(self._sizes), -1)
        hypothesis[self._asked] = np.arange(asked)
        partner = hypothesis[self._item]
        """For each caption the hypothesis of its item; -1: none."""
        apart = (bigrams[partner] - bigrams).astype(np.float64)
        likeness = np.exp(-(apart**2) / (2 * _SIGMA**2))
        sums = np.zeros(total)
        for captions, grams, counts in self._levels:
            weights = counts * self._rarity(captions, grams)
            norms = np.sqrt(np.bincount(captions, weights**2, total))
            size, said = _size(grams), captions < asked
            paired = ~said & (partner[captions] >= 0)
            keys = partner[captions[paired]] * size + grams[paired]
            at, there = _find(captions[said] * size + grams[said], keys)
            other = np.where(there, weights[said][at] if said.any() else 0.0, 0.0)
            product = np.minimum(other, weights[paired]) * weights[paired]
            value = np.bincount(captions[paired], product, total)
            scale = norms * norms[partner]
            sums += np.divide(value, scale, out=np.zeros(total), where=scale > 0) * likeness
        theirs = np.arange(total) >= asked
        compared = theirs & (partner >= 0)
        each = np.bincount(partner[compared], sums[compared], asked)
        found: list[float] = (each / ORDERS / self._sizes[self._asked] * _SCALE).tolist()
        return found

    def _rarity(self, captions: "Ints", grams: "Ints") -> "Floats":
        """Return the inverse document frequency, within the item's split, of each entry."""
        import numpy as np

        size = _size(grams)
        referred = captions >= len(self._asked)
        pairs = np.unique(self._item[captions[referred]] * size + grams[referred])
        cells = self._split[pairs // size] * size + pairs % size
        known, frequency = np.unique(cells, return_counts=True)
        splits = self._split[self._item[captions]]
        at, there = _find(known, splits * size + grams)
        seen = np.where(there, frequency[at] if len(frequency) else 1, 1)
        documents = np.bincount(self._split).astype(np.float64)
        rarity: Floats = np.log(documents)[splits] - np.log(seen)
        return rarity


def _size(grams: "Ints") -> int:
    return int(grams.max()) + 1 if len(grams) else 1


def _find(known: "Ints", wanted: "Ints") -> "tuple[Ints, NDArray[np.bool_]]":
    """Return where each of `wanted` stands in the sorted `known`, and whether it does."""
    import numpy as np

    at = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
    there = known[at] == wanted if len(known) else np.zeros(len(wanted), bool)
    return at, there
