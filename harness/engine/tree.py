"""A prefix tree of token sequences, laid out as one row that a transformer reads in one pass.

Requests about one image share its tokens and often much of the question. Every shared token is
stored once; a token may look at its ancestors and at itself, so each path from the root is read
exactly as if it stood alone. Imports only the standard library.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tree:
    """Tokens in preorder. Token j is an ancestor of i (or i itself) iff j <= i < end[j]."""

    tokens: tuple[int, ...]
    depth: tuple[int, ...]
    """How many tokens of the same path come before it (the root that all share not counted)."""
    end: tuple[int, ...]
    """One past the last descendant."""
    trails: tuple[tuple[int, ...], ...]
    """For each sequence, in the order given: the tree's token for each of its tokens."""


def common(sequences: Sequence[tuple[int, ...]]) -> int:
    """Return the length of the longest prefix that all `sequences` share."""
    low, high = min(sequences), max(sequences)
    for i, (a, b) in enumerate(zip(low, high, strict=False)):
        if a != b:
            return i
    return min(len(low), len(high))


def build(sequences: Sequence[tuple[int, ...]]) -> Tree:
    """Merge the common prefixes of non-empty token `sequences`; equal ones share every token."""
    tokens: list[int] = []
    depth: list[int] = []
    parents: list[int] = []
    trails: dict[tuple[int, ...], tuple[int, ...]] = {}
    last: tuple[int, ...] = ()
    trail: list[int] = []
    # In sorted order a sequence shares its longest known prefix with its predecessor, so new
    # tokens are created in preorder.
    for sequence in sorted(set(sequences)):
        del trail[common([last, sequence]) :]
        for token in sequence[len(trail) :]:
            parents.append(trail[-1] if trail else -1)
            depth.append(len(trail))
            trail.append(len(tokens))
            tokens.append(token)
        last = sequence
        trails[sequence] = tuple(trail)
    end = [i + 1 for i in range(len(tokens))]
    for i in reversed(range(len(tokens))):
        if parents[i] >= 0:
            end[parents[i]] = max(end[parents[i]], end[i])
    return Tree(tuple(tokens), tuple(depth), tuple(end), tuple(trails[s] for s in sequences))
