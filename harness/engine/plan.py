"""What is asked of the model, and how it is cut into rows and batches that fit a token budget.

A path is one token sequence to be read: a prompt to continue, or a prompt with one candidate. A
group is all paths about the same images. A row is one root (image and shared prefix) with a tree
of branches behind it. A batch is several rows in one forward pass. All orders are functions of
the input alone. May import torch (for the types of image tensors).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from harness.engine.tree import Tree, build, common

BRANCH_TOKENS = 2048
"""Branch tokens of one row beyond which attention among them costs more than the shared prefix
saves (where the prefix is longer than that, it may be as many as the prefix)."""


@dataclass(frozen=True, slots=True, eq=False)
class Vision:
    """The tensors of one group's images, as the processor returned them (on the CPU)."""

    tensors: Mapping[str, torch.Tensor]

    @property
    def bytes(self) -> int:
        """Return the size in memory."""
        return sum(t.numel() * t.element_size() for t in self.tensors.values())


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """One token sequence to be read: a prompt to continue, or a prompt with one candidate."""

    sample: int
    """Position of the sample in the sequence that was asked."""
    choice: int
    """Which of its choices; -1: generate."""
    id: str
    """Of the sample; seeds its draws."""
    tokens: tuple[int, ...]
    start: int
    """First token of the candidate; the length of `tokens` where nothing is ranked."""
    head: int
    """One past the last image token; 0 without images. No tree may branch before it."""
    vision: Vision | None = None
    extras: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Other inputs with one value per token (token types)."""

    @property
    def fed(self) -> tuple[int, ...]:
        """Return the tokens that the model reads: the last token of a candidate is only scored."""
        return self.tokens if self.choice < 0 else self.tokens[:-1]

    @property
    def packable(self) -> bool:
        """Return whether it has a token behind its images for the tree."""
        return len(self.fed) > 0 and self.head < len(self.fed)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One root and the tree of what is asked behind it."""

    root: tuple[int, ...]
    paths: tuple[Path, ...]
    tree: Tree
    heads: tuple[int, ...]
    """The tree's tokens whose next-token distribution is needed, in preorder."""


def row(paths: Sequence[Path]) -> Row:
    """Put `paths` (packable, about the same images) behind the longest root that they share."""
    fed = [path.fed for path in paths]
    # The token before a candidate stays out of the root: its next-token distribution is needed.
    root = min(common(fed), min(path.start - 1 for path in paths))
    tree = build([f[root:] for f in fed])
    heads = sorted(
        {
            trail[position - root]
            for path, trail in zip(paths, tree.trails, strict=True)
            for position in scored(path)
        }
    )
    return Row(fed[0][:root], tuple(paths), tree, tuple(heads))


def scored(path: Path) -> range:
    """Return the positions whose next-token distribution `path` needs."""
    return range(path.start - 1, len(path.fed))


def rows(paths: Sequence[Path], new: int, budget: int) -> Iterator[Row]:
    """Cut packable `paths` into rows of at most `budget` tokens (one path may exceed it).

    Args:
        paths: In any order; paths with the same images and head share rows.
        new: Tokens that each branch may still add.
        budget: Tokens of a row, room for new ones included.
    """
    groups: dict[object, list[Path]] = {}
    for path in paths:
        groups.setdefault((id(path.vision), path.tokens[: path.head]), []).append(path)
    for group in groups.values():
        for part in _cut(sorted(group, key=lambda p: (p.fed, p.sample, p.choice)), new, budget):
            yield row(part)


def _cut(paths: Sequence[Path], new: int, limit: int) -> Iterator[list[Path]]:
    """Fill rows with neighbours in sorted order while they fit `limit`."""
    part: list[Path] = []
    size = 0  # tokens of the merged tree, root included
    for path in paths:
        fresh = len(path.fed) - (common([part[-1].fed, path.fed]) if part else 0)
        shared = common([part[0].fed, path.fed]) if part else 0
        total = size + fresh + (len(part) + 1) * new
        branches = size + fresh - shared + (len(part) + 1) * new
        if part and (total > limit or branches > max(BRANCH_TOKENS, shared)):
            yield part
            part, size, fresh = [], 0, len(path.fed)
        part.append(path)
        size += fresh
    if part:
        yield part


def batches(all_rows: Sequence[Row], new: int, budget: int) -> Iterator[list[Row]]:
    """Put rows of like size together, each batch at most `budget` tokens with its padding."""
    batch: list[Row] = []
    for one in sorted(all_rows, key=lambda r: (len(r.root), len(r.tree.tokens), r.root)):
        trial = [*batch, one]
        if batch and packed_cost(trial, new) > budget:
            yield batch
            trial = [one]
        batch = trial
    if batch:
        yield batch


def packed_cost(some: Sequence[Row], new: int) -> int:
    """Return the tokens of a batch of rows, padding and room for `new` per branch included."""
    root = max(len(r.root) for r in some)
    tree = max(len(r.tree.tokens) for r in some)
    return len(some) * (root + tree + max(len(r.paths) for r in some) * new)


def plain_cost(paths: Sequence[Path], new: int) -> int:
    """Return the tokens of a plain batch, padding and room for `new` per request included."""
    return len(paths) * (max(len(path.tokens) for path in paths) + new)


def plain(paths: Sequence[Path], new: int, budget: int) -> Iterator[list[Path]]:
    """Put paths of like length together for plain batching, longest first."""
    batch: list[Path] = []
    for path in sorted(paths, key=lambda p: (-len(p.tokens), p.sample, p.choice)):
        if batch and plain_cost([*batch, path], new) > budget:
            yield batch
            batch = []
        batch.append(path)
    if batch:
        yield batch
