"""Answer many questions about an image in one row: image and shared prefix once, then a tree.

1. The root (image and shared prefix) is read by the model's own forward pass, several rows at
   once, padded on the right, where causal attention never looks.
2. The tree of questions is read behind it. The 4-D mask lets a token see the root, its ancestors
   and itself; its position is the one that it would have alone.
3. Each step appends one token per live branch, which sees its own path and its own new tokens.

Tokens whose next-token distribution is needed lie last in the row, so that `logits_to_keep` spares
the vocabulary projection of all others. May import torch; transformers inside functions.
"""

from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

import torch

from harness.engine.cache import with_room
from harness.engine.choose import Choose, Ending, Outcome
from harness.engine.lm import LM
from harness.engine.plan import Path, Row

ROOM = 32
"""Decode steps that the cache has room for at first; most answers are shorter."""


def up(count: int, align: int) -> int:
    """Return the next multiple of `align`."""
    return -(-count // align) * align


class _Batch:
    """Rows laid out side by side: indices of shape (rows, tokens), `root` columns first."""

    def __init__(self, lm: LM, rows: Sequence[Row]) -> None:
        self.lm, self.rows = lm, rows
        self.root = up(max(len(row.root) for row in rows), lm.align)
        self.keep = max(len(row.heads) for row in rows)
        inner = max(len(row.tree.tokens) - len(row.heads) for row in rows)
        self.tree = up(inner + self.keep, lm.align)
        self.lanes = max(len(row.paths) for row in rows)
        self.slots = [self._slots(row) for row in rows]
        self.origin, self.positions = self._roots()

    def _slots(self, row: Row) -> list[int]:
        """Return where each token of the tree lies: those that are needed last, the rest first."""
        heads = {node: self.tree - self.keep + i for i, node in enumerate(row.heads)}
        inner = iter(range(self.tree))
        return [heads[n] if n in heads else next(inner) for n in range(len(row.tree.tokens))]

    def _roots(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where each tree's positions start, (axes, rows), and those of the roots."""
        pairs = [self.lm.positions(row.paths[0], len(row.root)) for row in self.rows]
        positions = torch.zeros(len(pairs[0][1]), len(pairs), self.root, dtype=torch.long)
        for i, (position, _) in enumerate(pairs):
            positions[:, i, : position.shape[1]] = position
        origin = torch.stack([start for _, start in pairs], dim=1)
        return self.lm.put(origin), self.lm.put(positions)

    def grid(self, lines: Iterable[Sequence[int]], width: int, fill: int = 0) -> torch.Tensor:
        """Return a (rows, width) tensor on the device with one of `lines` at the left of each."""
        full = [[*line, *[fill] * (width - len(line))] for line in lines]
        return self.lm.put(torch.tensor(full, dtype=torch.long))

    def scatter(self, lines: Iterable[Sequence[int]], fill: int = 0) -> torch.Tensor:
        """Return a (rows, tree) tensor with a value per token of the tree, where it lies."""
        out = torch.full((len(self.rows), self.tree), fill, dtype=torch.long)
        for i, line in enumerate(lines):
            out[i, self.slots[i]] = torch.tensor(line, dtype=torch.long)
        return self.lm.put(out)

    def mask(self) -> torch.Tensor:
        """Return what each token of the tree sees: (rows, tree, root + tree), boolean."""
        order = self.scatter([range(len(row.tree.tokens)) for row in self.rows], -1)
        end = self.scatter([row.tree.end for row in self.rows], -1)
        seen = (order[:, None, :] <= order[:, :, None]) & (order[:, :, None] < end[:, None, :])
        # Padding sees itself: a row of the mask that sees nothing gives not-a-number.
        seen |= torch.eye(self.tree, dtype=torch.bool, device=seen.device)
        lengths = self.lm.put(torch.tensor([len(row.root) for row in self.rows]))
        root = torch.arange(self.root, device=seen.device) < lengths[:, None]
        return torch.cat([root[:, None, :].expand(-1, self.tree, -1), seen], dim=-1)


def rank(lm: LM, rows: Sequence[Row]) -> dict[Path, Outcome]:
    """Return the log-probability of each token of each candidate in `rows`."""
    began = perf_counter()
    batch = _Batch(lm, rows)
    logits, _, _ = _read(lm, batch, room=0)
    norm = torch.stack([line.float().logsumexp(-1) for line in logits])
    at: list[tuple[int, int, int]] = []
    for i, row in enumerate(rows):
        column = {node: c for c, node in enumerate(row.heads)}
        for path, trail in zip(row.paths, row.tree.trails, strict=True):
            first = path.start - len(row.root)
            for offset, token in enumerate(path.tokens[path.start :]):
                at.append((i, column[trail[first - 1 + offset]], token))
    r, c, t = lm.put(torch.tensor(at)).unbind(-1)
    values = iter((logits[r, c, t].float() - norm[r, c]).tolist())
    paths = [path for row in rows for path in row.paths]
    each = (perf_counter() - began) / len(paths)
    return {
        path: Outcome(logprobs=tuple(next(values) for _ in path.tokens[path.start :]), seconds=each)
        for path in paths
    }


def generate(
    lm: LM, rows: Sequence[Row], choose: Choose, ending: Ending, trace: bool = False
) -> dict[Path, Outcome]:
    """Continue every path of `rows`.

    Args:
        lm: The model.
        rows: What to read.
        choose: Takes logits (..., vocabulary), who they are for (...), counted over the paths of
            all rows in order, and the step; returns the tokens.
        ending: When a branch is over; its limit is the number of steps.
        trace: Keep the distributions that were chosen from.
    """
    began = perf_counter()
    batch = _Batch(lm, rows)
    steps = ending.limit - 1
    logits, cache, mask = _read(lm, batch, room=min(steps, ROOM) * batch.lanes)
    lanes = _Lanes(batch, choose, ending)
    logits = logits.gather(1, lanes.column[:, :, None].expand(-1, -1, logits.shape[-1]))
    mask = mask.gather(
        1, (lanes.column + batch.tree - batch.keep)[:, :, None].expand(-1, -1, mask.shape[-1])
    )
    lanes.add(logits, 0, trace)
    step = 1
    while step <= steps and lanes.settle():
        mask = lanes.compact(mask, cache)
        count = min(lm.stretch, steps - step + 1)
        own = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device).repeat(1, count)
        mask = torch.cat([mask, own.expand(mask.shape[0], -1, -1)], dim=-1)
        extra = lm.additive(mask)
        seen = mask.shape[-1] - count * mask.shape[1]
        for _ in range(count):
            seen += mask.shape[1]
            logits = lm.model(
                input_ids=lanes.last,
                attention_mask=extra[..., :seen],
                position_ids=lm.squeeze(lanes.origin[:, :, None] + lanes.depth + step - 1),
                past_key_values=cache,
                use_cache=True,
            ).logits
            lanes.add(logits, step, trace)
            step += 1
    lanes.settle()
    each = (perf_counter() - began) / len(lanes.paths)
    return {path: lanes.outcome(i, each) for i, path in enumerate(lanes.paths)}


def _read(lm: LM, batch: _Batch, room: int) -> tuple[torch.Tensor, Any, torch.Tensor]:
    """Read roots and trees. Returns logits (rows, keep, vocabulary), the cache, and the mask."""
    cache = with_room(lm.model, batch.root + batch.tree + room)
    if batch.root:
        first = [row.paths[0] for row in batch.rows]
        extras = {
            key: batch.grid([r.paths[0].extras[key][: len(r.root)] for r in batch.rows], batch.root)
            for key in first[0].extras
            if lm.takes(key)
        }
        lm.model(
            input_ids=batch.grid([row.root for row in batch.rows], batch.root, lm.pad),
            position_ids=lm.squeeze(batch.positions),
            past_key_values=cache,
            use_cache=True,
            **lm.keep(1),
            **extras,
            **lm.merge([path.vision for path in first]),
        )
    mask = batch.mask()
    depth = batch.scatter([row.tree.depth for row in batch.rows])
    logits = lm.model(
        input_ids=batch.scatter([row.tree.tokens for row in batch.rows], lm.pad),
        attention_mask=lm.additive(mask),
        position_ids=lm.squeeze(batch.origin[:, :, None] + depth),
        past_key_values=cache,
        use_cache=True,
        **lm.keep(batch.keep),
    ).logits
    return logits[:, -batch.keep :], cache, mask


class _Lanes:
    """The branches that are being continued: one lane per path, (rows, lanes) tensors."""

    def __init__(self, batch: _Batch, choose: Choose, ending: Ending) -> None:
        lm, rows = batch.lm, batch.rows
        self.lm, self.choose, self.ending = lm, choose, ending
        self.paths = [path for row in rows for path in row.paths]
        numbers = iter(range(len(self.paths)))
        named = [[next(numbers) for _ in row.paths] for row in rows]
        self.who_host = [[*line, *[-1] * (batch.lanes - len(line))] for line in named]
        """Which path each lane continues; -1: none, it is padding."""
        self.who = lm.put(torch.tensor(self.who_host))
        leaves = [[row.heads.index(t[-1]) for t in row.tree.trails] for row in rows]
        self.column = batch.grid(leaves, batch.lanes)
        """Where among the logits each lane's first distribution is."""
        self.origin = batch.origin
        self.depth = batch.grid(
            [[len(p.fed) - len(r.root) for p in r.paths] for r in rows], batch.lanes
        )
        self.done = [False] * len(self.paths)
        self.tokens: list[list[int]] = [[] for _ in self.paths]
        self.traces: list[list[torch.Tensor]] = [[] for _ in self.paths]
        self.last = self.who
        self.fresh: list[torch.Tensor] = []

    def add(self, logits: torch.Tensor, step: int, trace: bool) -> None:
        """Choose the next tokens from `logits` (rows, lanes, vocabulary)."""
        self.last = self.choose(logits, self.who, step)
        self.fresh.append(self.last)
        if trace:
            self._trace(logits.float().log_softmax(-1).cpu())

    def _trace(self, logprobs: torch.Tensor) -> None:
        for i, line in enumerate(self.who_host):
            for j, name in enumerate(line):
                if name >= 0:
                    self.traces[name].append(logprobs[i, j])

    def settle(self) -> bool:
        """Read what was chosen since the last look; return whether a branch is still alive."""
        if self.fresh:
            new = torch.stack(self.fresh, dim=-1).tolist()
            self.fresh = []
            for line, tokens in zip(self.who_host, new, strict=True):
                for name, chosen in zip(line, tokens, strict=True):
                    if name >= 0 and not self.done[name]:
                        self.tokens[name] += chosen
                        self.done[name] = self.ending.cut(self.tokens[name]) is not None
        return not all(self.done)

    def compact(self, mask: torch.Tensor, cache: Any) -> torch.Tensor:
        """Drop rows and lanes that have ended once they are half of the work."""
        live = [
            [j for j, n in enumerate(line) if n >= 0 and not self.done[n]] for line in self.who_host
        ]
        rows = [i for i, line in enumerate(live) if line]
        lanes = max(map(len, live))
        if len(rows) * lanes * 2 > len(live) * len(self.who_host[0]):
            return mask
        # A lane may be listed twice to fill a row; its second copy belongs to nobody.
        pick = [[*live[i], *[live[i][0]] * lanes][:lanes] for i in rows]
        self.who_host = [
            [self.who_host[i][j] if k < len(live[i]) else -1 for k, j in enumerate(line)]
            for i, line in zip(rows, pick, strict=True)
        ]
        r = self.lm.put(torch.tensor(rows))
        if len(rows) < len(live):
            cache.batch_select_indices(r)
        p = self.lm.put(torch.tensor(pick))
        self.origin = self.origin[:, r]
        self.who, self.depth, self.last = (
            t[r].gather(1, p) for t in (self.who, self.depth, self.last)
        )
        return mask[r].gather(1, p[:, :, None].expand(-1, -1, mask.shape[-1]))

    def outcome(self, name: int, seconds: float) -> Outcome:
        """Return what path `name` became."""
        trace = torch.stack(self.traces[name]) if self.traces[name] else None
        return Outcome(tokens=tuple(self.tokens[name]), seconds=seconds, trace=trace)
