"""Losses of BLIP-2's first stage: contrast (ITC), matching (ITM) and writing (ITG).

Li et al. 2023 (arXiv:2301.12597), section 3.1, as LAVIS computes them (`blip2_qformer.py`), which
LSKD trains its discriminative student with. All are functions of tensors. What a lot decides is
decided by uniform numbers that come with each item, and a loss comes as a sum with its count, so
that a result does not depend on how many processes share a batch. May import torch at the top.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Summed = tuple[Tensor, Tensor]
"""A loss summed over what counts, and how much that is; both scalars."""
SMOOTHING = 0.1
"""Label smoothing of ITC and ITG."""


def itg_mask(queries: int, text: Tensor) -> Tensor:
    """Return which place sees which, bool [batch, 1, queries + length, queries + length].

    Queries see all queries and no text, so that their output is that of the picture alone; a word
    sees all queries, itself and the words before it. Padding is seen by nobody but itself, so that
    no row is empty.

    Args:
        queries: Number of query tokens; they stand before the text.
        text: 1 for words, 0 for padding, [batch, length].
    """
    batch, length = text.shape
    total = queries + length
    mask = torch.zeros(batch, total, total, dtype=torch.bool, device=text.device)
    mask[:, :, :queries] = True
    before = torch.ones(length, length, dtype=torch.bool, device=text.device).tril()
    mask[:, queries:, queries:] = before & text.bool()[:, None, :]
    alone = torch.eye(length, dtype=torch.bool, device=text.device)
    mask[:, queries:, queries:] |= alone & ~text.bool()[:, None, :]
    return mask[:, None]


def joint_mask(queries: int, text: Tensor) -> Tensor:
    """Return the mask of a joint pass, [batch, queries + length]: all see all but padding."""
    seen = text.new_ones(len(text), queries)
    return torch.cat([seen, text], dim=1)


def similarity(images: Tensor, texts: Tensor) -> Tensor:
    """Return the cosine of each text with the nearest query of each image, [images, texts].

    Args:
        images: Unit vectors [images, queries, width].
        texts: Unit vectors [texts, width].
    """
    return torch.einsum("iqw,tw->itq", images, texts).amax(dim=2)


@dataclass(frozen=True)
class Globe:
    """The batch of all processes, in the order of their ranks, and where this process's part is."""

    images: Tensor
    """Contrastive features of the queries [all, queries, width]."""
    texts: Tensor
    """Contrastive features of the texts [all, width]."""
    pictures: Tensor
    """A number per picture [all]; statements about one picture share it."""
    start: int
    """Place of this process's first item."""


def allowed(own: Tensor, every: Tensor, start: int, same_image: str) -> Tensor:
    """Return which items may be negatives of which, bool [own, all].

    Args:
        own: Picture numbers of this process's items [own].
        every: Picture numbers of all items [all].
        start: Place of the first own item among all.
        same_image: `negatives`: all but the item itself, as LSKD's data sets give each statement
            a number of its own. `masked`: nothing about the same picture either.
    """
    place = start + torch.arange(len(own), device=own.device)
    itself = place[:, None] == torch.arange(len(every), device=own.device)[None]
    if same_image == "masked":
        return own[:, None] != every[None]
    return ~itself


def itc(
    images: Tensor, texts: Tensor, globe: Globe, temperature: Tensor, may: Tensor
) -> tuple[Summed, Tensor, Tensor]:
    """Return the loss, and the similarities [own, all] of images to texts and texts to images.

    Cross-entropy of the own pair against a target smoothed by 0.1, over rows and over columns,
    halved. With `may` narrower than "all but the own pair", the others take no part.

    Args:
        images: Unit query features of this process [own, queries, width].
        texts: Unit text features of this process [own, width].
        globe: Those of all processes.
        temperature: Divides similarities.
        may: From `allowed`.
    """
    to_texts = similarity(images, globe.texts) / temperature
    to_images = similarity(globe.images, texts).T / temperature
    loss = (_own(to_texts, globe.start, may) + _own(to_images, globe.start, may)) / 2
    return (loss, loss.new_tensor(len(texts))), to_texts, to_images


def _own(logits: Tensor, start: int, may: Tensor) -> Tensor:
    """Return the summed smoothed cross-entropy of each row's own pair among what takes part."""
    rows = torch.arange(len(logits), device=logits.device)
    part = may.clone()
    part[rows, start + rows] = True
    logs = logits.float().masked_fill(~part, float("-inf")).log_softmax(dim=1)
    spread = logs.masked_fill(~part, 0.0).sum(dim=1) / part.sum(dim=1)
    return -((1 - SMOOTHING) * logs[rows, start + rows] + SMOOTHING * spread).sum()


def hard(logits: Tensor, may: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one negative per row from the softmax of its logits; near ones are likelier.

    Args:
        logits: Similarities over temperature [own, all]; no gradient flows through the choice.
        may: Which may be drawn [own, all].
        draws: One uniform number in [0, 1) per row [own].

    Returns:
        The places drawn [own] and whether the row had anything to draw from [own]; the place is
        the row's first where it had not.
    """
    with torch.no_grad():
        real = may.any(dim=1)
        exact = torch.float32 if logits.device.type == "mps" else torch.float64
        chosen = logits.to(exact).masked_fill(~may, float("-inf"))
        chosen = torch.where(real[:, None], chosen, torch.zeros_like(chosen))
        share = chosen.softmax(dim=1).cumsum(dim=1)
        goal = draws.to(exact)[:, None] * share[:, -1:]
        place = torch.searchsorted(share, goal, right=True).squeeze(1)
        last = (may.long() * torch.arange(1, may.shape[1] + 1, device=may.device)).argmax(dim=1)
        return torch.where(real, torch.minimum(place, last), torch.zeros_like(place)), real


def itm(logits: Tensor, real: Tensor) -> Summed:
    """Return the cross-entropy of 3B pairs: B that match, then two B that do not.

    Args:
        logits: Mean over queries of the matching head [3B, 2]; class 1 says that they match.
        real: Which pairs count, bool [3B]; a pair without a negative does not.
    """
    labels = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    labels[: len(logits) // 3] = 1
    losses = functional.cross_entropy(logits.float(), labels, reduction="none")
    return (losses * real).sum(), real.sum().to(losses.dtype)


def next_words(tokens: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places [batch, length - 1] that have a next word, and those words [words].

    Args:
        tokens: The text with its start token [batch, length].
        text: 1 for words, 0 for padding [batch, length].
    """
    places = text[:, 1:].bool()
    return places, tokens[:, 1:][places]


def written(logits: Tensor, targets: Tensor, smoothing: float = SMOOTHING) -> Summed:
    """Return the cross-entropy of next words.

    Args:
        logits: [words, vocabulary].
        targets: [words].
        smoothing: Share of the target that is spread over the vocabulary.
    """
    loss = functional.cross_entropy(
        logits.float(), targets, label_smoothing=smoothing, reduction="sum"
    )
    return loss, loss.new_tensor(len(targets))
