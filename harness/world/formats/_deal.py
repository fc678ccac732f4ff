"""Answers that tell nothing by themselves: wrong options and balanced answers for every format.

A model that does not look at the picture must be at chance. `deal` gives each right answer out as
a wrong option exactly as often as every other, as VCR's adversarial matching does (Zellers et al.
2019, section 3.2); `even` thins answers out until none is commoner than the rest; `pairs` joins
equal questions with different answers, as VQAv2 does (Goyal et al. 2017, section 3).
Imports only the standard library.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from math import ceil
from random import Random
from typing import TypeVar

Item = TypeVar("Item")
_TRIES = 60
"""Swaps tried before a receiver counts as one that cannot be served."""
_ROUNDS = 40
_SAMPLE = 24
"""Partners on which it is measured how hard a receiver or a card is to match."""

_EASY = 4
"""Of these partners so many must be able to take a card, or nobody is bothered with it."""


def deal(
    size: int,
    wrong: Callable[[int, int], Hashable | None],
    rng: Random,
    count: int = 3,
    picky: bool = True,
) -> list[tuple[int, ...] | None]:
    """Deal each of `size` right answers out `count` times as a wrong option.

    `wrong(i, j)` is what the answer of `j` reads like as a wrong option of `i`; None: it cannot be
    one (it is true there, or makes no sense there). `wrong(i, i)` is the right answer itself.
    Returns for each item the items whose answers it gets, all reading differently; None for items
    that cannot be served: they are left out altogether, so that every answer that remains is right
    once and wrong `count` times. `picky`: leave out at once what is wrong for hardly anybody.
    """
    read: dict[tuple[int, int], Hashable | None] = {}

    def reads(i: int, j: int) -> Hashable | None:
        if (i, j) not in read:
            read[i, j] = wrong(i, j)
        return read[i, j]

    table = rng.sample(range(size), min(_SAMPLE, size))
    alive = [
        j for j in range(size) if not picky or sum(reads(i, j) is not None for i in table) >= _EASY
    ]
    for _ in range(_ROUNDS):
        hands, failed = _dealt(alive, reads, rng, count)
        if not failed:
            return [tuple(hands[i]) if i in hands else None for i in range(size)]
        sample = rng.sample(alive, min(_SAMPLE, len(alive)))
        gone = set()
        for receiver, card in failed:  # whichever of the two is harder to match leaves the table
            takes = sum(reads(receiver, j) is not None for j in sample)
            suits = sum(reads(i, card) is not None for i in sample)
            gone.add(receiver if takes < suits else card)
        alive = [i for i in alive if i not in gone]
    return [None] * size


def _dealt(
    alive: Sequence[int],
    reads: Callable[[int, int], Hashable | None],
    rng: Random,
    count: int,
) -> tuple[dict[int, list[int]], list[tuple[int, int]]]:
    """Deal `count` permutations of `alive`; return hands, and (receiver, card) that do not fit."""
    hands: dict[int, list[int]] = {i: [] for i in alive}
    seen: dict[int, set[Hashable | None]] = {i: {None, reads(i, i)} for i in alive}
    failed = []
    for _ in range(count):
        cards = list(alive)
        rng.shuffle(cards)
        at = dict(zip(alive, cards, strict=True))

        def fits(i: int, j: int) -> bool:
            return reads(i, j) not in seen[i]

        for i in alive:
            for _ in range(_TRIES if not fits(i, at[i]) else 0):
                k = alive[rng.randrange(len(alive))]
                if fits(i, at[k]) and (fits(k, at[i]) or not fits(k, at[k])):
                    at[i], at[k] = at[k], at[i]
                    break
        for i in alive:
            if fits(i, at[i]):
                hands[i].append(at[i])
                seen[i].add(reads(i, at[i]))
            else:
                failed.append((i, at[i]))
    return hands, failed


def even(
    items: Iterable[Item],
    key: Callable[[Item], Hashable],
    answer: Callable[[Item], Hashable],
    slack: float = 1.0,
    least: int = 2,
) -> list[Item]:
    """Keep those items of each `key` whose `answer` is not commoner than the others there.

    Of each answer as many remain as the rarest has; with a `slack` above 1, that times the average
    count of all but the commonest. A key with fewer than `least` different answers is dropped.
    """
    listed = list(items)
    counts: dict[Hashable, Counter[Hashable]] = defaultdict(Counter)
    for item in listed:
        counts[key(item)][answer(item)] += 1
    top = {}
    for name, found in counts.items():
        rest = sorted(found.values())[:-1] or [0]
        usual = min(rest) if slack <= 1 else slack * sum(rest) / len(rest)
        top[name] = ceil(usual) if len(found) >= least else 0
    kept: dict[Hashable, Counter[Hashable]] = defaultdict(Counter)
    out = []
    for item in listed:
        name, said = key(item), answer(item)
        if kept[name][said] < top[name]:
            kept[name][said] += 1
            out.append(item)
    return out


def thin(items: Sequence[Item], most: int, rng: Random) -> list[Item]:
    """Keep at most `most` items, drawn by lot, in their order.

    Tasks take a set with half of the published questions or more for a damaged copy of the
    published one, so that no world may have that many.
    """
    if len(items) <= most:
        return list(items)
    return [items[at] for at in sorted(rng.sample(range(len(items)), most))]


def pairs(
    items: Sequence[Item],
    key: Callable[[Item], Hashable],
    answer: Callable[[Item], Hashable],
    rng: Random,
) -> list[tuple[Item, Item]]:
    """Join items of one `key` into pairs with different answers; the rest are left out."""
    by: dict[Hashable, dict[Hashable, list[Item]]] = defaultdict(lambda: defaultdict(list))
    order = list(items)
    rng.shuffle(order)
    for item in order:
        by[key(item)][answer(item)].append(item)
    out = []
    for found in by.values():
        while True:
            ranked = sorted(found.values(), key=len, reverse=True)
            if len(ranked) < 2 or not ranked[1]:
                break
            out.append((ranked[0].pop(), ranked[1].pop()))
    return out
