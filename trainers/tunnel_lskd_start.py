"""Where the Q-Former of LSKD's wind tunnel starts: it finds what is drawn, compares it with words.

A BLIP-2 is published after long training on 129 million pictures; one of random weights does not
learn to match in minutes on a CPU. What stands in for that training here is a start, made of two
linear regressions from a trained tower's patches and put into the weights of an ordinary Q-Former:

    words       those that the tower was taught are orthogonal directions; all others, positions and
                what is computed along the way have the directions that are left
    layer 0     a query of a drawn number attends to the patches of that region and takes up which
                words it shows; the last queries take up the whole picture
    layer 1     queries attend to the words of the text and take them away from what they have seen;
                the feed-forward block tells what is left over (said, and not seen) in one direction
    layer 2     as layer 0, weaker
    head        "no match" is that direction

All of it trains afterwards, and what the regressions cannot read (small parts, actions, what may be
concluded) is learned or is not. Imports torch inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import DataError

if TYPE_CHECKING:
    from torch import Generator, Tensor

SPREAD = 0.05
"""Standard deviation of embeddings."""
WAVES = (0.8, 0.4, 0.2, 0.1)
"""Radians from one place of a text to the next; positions are their sines and cosines."""
SHARP = 8.0
"""Gain of looking for a drawn number: the region's patches get nearly all attention."""
TAKE = 10.0
"""Of what is taken up of a region, beside what a query is."""
AWAY = 3.0
"""Of what is taken away where the text says it."""
TEXT = 8.0
"""Gain of attending to text and not to other queries."""
_KEEP, _FAINT = 0.2, 0.1
_NORM = 9.0
"""Of a query behind its norm, nearly all of which is its number."""


@dataclass(frozen=True)
class Sight:
    """Linear maps of a patch behind the tower's last norm."""

    numbers: Tensor
    """Drawn numbers x width: is the patch in the region?"""
    number_bias: Tensor
    words: Tensor
    """Words x width, of a mean of patches; zero for numbers."""
    word_bias: Tensor


def sight(tower: Any, lessons: Any, numbers: int) -> Sight:
    """Return by ridge regression where a number is drawn, and what is to be seen there.

    Args:
        tower: A Blip2VisionModel.
        lessons: From `tunnel_lskd_base.lessons`; the first words are the numbers, and the last
            region of a picture is all of it.
        numbers: How many they are.
    """
    import torch

    from trainers.engine.tower import _normal

    patches = []
    with torch.no_grad():
        for begin in range(0, len(lessons.looks), 64):
            pixels = torch.stack([look.pixels for look in lessons.looks[begin : begin + 64]])
            patches.append(tower(pixel_values=_normal(pixels)).last_hidden_state[:, 1:])
    seen = torch.cat(patches)
    drawn = [_drawn(look, numbers) for look in lessons.looks]
    inside = torch.zeros(len(seen), seen.shape[1], numbers)
    for place, (look, slots) in enumerate(zip(lessons.looks, drawn, strict=True)):
        for slot, region in slots.items():
            share = look.weights[region]
            inside[place, :, slot] = (share > share.max() / 2).float()
    where, bias = _ridge(seen.flatten(0, 1), inside.flatten(0, 1))
    looked = ((seen @ where.T + bias) * SHARP).softmax(1)
    means, told = [], []
    for place, (look, slots) in enumerate(zip(lessons.looks, drawn, strict=True)):
        for slot, region in slots.items():
            means.append(looked[place, :, slot] @ seen[place])
            told.append(look.words[region])
        means.append(seen[place].mean(0))
        told.append(look.words[-1])
    wanted = torch.zeros(len(told), len(lessons.words))
    for row, words in enumerate(told):
        wanted[row, words] = 1.0
    wanted[:, :numbers] = 0
    return Sight(where, bias, *_ridge(torch.stack(means), wanted))


def _drawn(look: Any, numbers: int) -> dict[int, int]:
    """Return drawn number to region."""
    return {w: at for at, words in enumerate(look.words) for w in words if w < numbers}


def _ridge(seen: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    x, y = seen.double(), wanted.double()
    centre, middle = x.mean(0), y.mean(0)
    x = x - centre
    ridge = 1e-2 * x.pow(2).sum() / x.shape[1] * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(x.T @ x + ridge, x.T @ (y - middle)).T
    return weight.float(), (middle - weight @ centre).float()


@dataclass(frozen=True)
class _Space:
    """Orthonormal rows that share out the Q-Former's width."""

    words: Tensor
    """Of the tower's words, the drawn numbers first."""
    text: Tensor
    """What texts have and queries do not (width,)."""
    unseen: Tensor
    """Said and not seen (width,)."""
    unsaid: Tensor
    """Seen and not said (width,)."""
    places: Tensor
    """Of positions."""
    rest: Tensor
    """Of all other words."""


def _space(width: int, words: int, draw: Generator) -> _Space:
    rows = _turn(width, draw)
    waves = 2 * len(WAVES)
    free = rows[words:]
    if len(free) < waves + 3 + 8:
        raise DataError(f"{words} words that the tower knows leave no room in a width of {width}")
    return _Space(rows[:words], free[0], free[1], free[2], free[3 : 3 + waves], free[3 + waves :])


def _turn(width: int, draw: Generator) -> Tensor:
    import torch

    return torch.linalg.qr(torch.randn(width, width, generator=draw))[0]


def settle(
    model: Any, tokenizer: Any, words: Sequence[str], found: Sight, numbers: int, seed: int
) -> None:
    """Write the start into a Blip2ForImageTextRetrieval.

    Args:
        model: With three layers, of which the first and the last look at the picture.
        tokenizer: Its tokenizer.
        words: Of the tower's lessons; the first are the drawn numbers.
        found: From `sight`.
        numbers: How many numbers there are.
        seed: Of all that is drawn.

    Raises:
        DataError: The tower knows more words than the Q-Former's width has room for.
    """
    import torch

    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        width = model.config.qformer_config.hidden_size
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and not name.startswith("vision_model."):
                spread = weight.shape[-1] ** -0.5 if ".layer." in name else SPREAD
                weight.normal_(0, spread, generator=draw)
        space = _space(width, len(words), draw)
        _embed(model, tokenizer, words, space, numbers, draw)
        for number, layer in enumerate(model.qformer.encoder.layer):
            _attend(layer.attention, number, space, numbers, draw)
            if layer.has_cross_attention:
                _look(layer.crossattention, space, found, TAKE if number == 0 else 0.3 * TAKE, draw)
            for block in (layer.output, layer.output_query):
                block.dense.weight.mul_(0.2)
            if number == 1:
                _tell(layer, space)
        for part in (model.vision_projection, model.text_projection):
            torch.nn.init.eye_(part.weight)
        head = model.itm_head.weight.mul_(0.2)
        head[0].add_(space.unseen * 0.3)
        head[1].sub_(space.unseen * 0.3)


def _embed(
    model: Any, tokenizer: Any, words: Sequence[str], space: _Space, numbers: int, draw: Any
) -> None:
    import torch

    table = model.embeddings.word_embeddings.weight
    places = model.embeddings.position_embeddings.weight
    size, rest = SPREAD * table.shape[1] ** 0.5, space.rest

    def others(count: int) -> Tensor:
        found = torch.randn(count, len(rest), generator=draw)
        return found @ rest * size / len(rest) ** 0.5

    table.copy_(others(len(table)))
    for word, row in zip(words, space.words, strict=True):
        table[tokenizer.convert_tokens_to_ids(word)] = row * size
    angles = torch.arange(len(places))[:, None] * torch.tensor(WAVES)[None]
    waves = torch.cat([angles.sin(), angles.cos()], 1) / len(WAVES) ** 0.5
    places.copy_((waves @ space.places + space.text) * size / 2)
    queries = others(model.query_tokens.shape[1]) * 0.3 - space.text * size * 0.6
    slots = space.words[:numbers] * size
    queries[:numbers] += slots
    queries[numbers : numbers + 2] += slots.sum(0) / 2  # whatever is drawn
    model.query_tokens.copy_(queries[None])


def _attend(block: Any, number: int, space: _Space, numbers: int, draw: Any) -> None:
    """Set self-attention: alike to alike (small_start.py, `match`), with what the layer is for."""
    import torch

    part, width = block.attention, len(space.text)
    same = torch.eye(width)
    slots = space.words[:numbers].T @ space.words[:numbers]
    shown = space.words[numbers:].T @ space.words[numbers:]
    alike, passed, sign = 0.7 * same, 0.5 * same, 1
    if number == 0:  # words take up the number that stands near them
        near = space.places.T @ space.places
        alike, passed = 3 * near + 0.3 * slots + _KEEP * same, 0.7 * slots + _FAINT * same
    if number == 1:
        alike, passed, sign = slots + _KEEP * same, AWAY * shown + _FAINT * same, -1
    look, take = _turn(width, draw), _turn(width, draw)
    part.query.weight.copy_(look @ alike)
    part.key.weight.copy_(look @ alike)
    part.value.weight.copy_(take @ passed)
    block.output.dense.weight.copy_(sign * take.T)
    if number == 1:
        part.query.bias.copy_(look @ space.text * TEXT)
        wanted = 3 * space.text + 0.4 * space.words[numbers:].sum(0)
        part.key.weight.add_(look @ torch.outer(space.text, wanted))


def _look(block: Any, space: _Space, found: Sight, take: float, draw: Any) -> None:
    """Set attention to the picture: numbers find their patches, words are what is seen there."""
    part, width = block.attention, len(space.text)
    gain = SHARP / _NORM * part.num_attention_heads * part.attention_head_size**0.5
    look, turn = _turn(width, draw), _turn(width, draw)
    slots = space.words[: len(found.numbers)].T
    part.query.weight.copy_(look)
    part.key.weight.copy_(look @ slots @ found.numbers * gain)
    part.key.bias.copy_(look @ slots @ found.number_bias * gain)
    part.value.weight.copy_(turn @ space.words.T @ found.words * take)
    part.value.bias.copy_(turn @ space.words.T @ found.word_bias * take)
    block.output.dense.weight.copy_(turn.T)


def _tell(layer: Any, space: _Space) -> None:
    """Let a feed-forward block tell what was said and not seen, and what was seen and not said."""
    into, out = layer.intermediate_query.dense, layer.output_query.dense
    count = len(space.words)
    for begin, sign, way, size in (
        (0, -2.0, space.unseen, 1.0),
        (count, 2.0, space.unsaid, 0.4),
    ):
        rows = slice(begin, begin + count)
        into.weight[rows] = sign * space.words
        into.bias[rows] = -3.0  # what is left over of a word that was said and seen is less
        out.weight[:, rows] = way[:, None] * size
