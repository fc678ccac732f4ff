"""Contrastive losses over pairs of images and texts: CLIP's, UniCL's by gamma, SigLIP's.

Liu (dissertation, chapter 2), section 2.3: texts whose vectors have a similarity of at least gamma
count as the same, so that an image is not pushed away from another description of what it shows.
The released code trains with CLIP's loss; both are here, reduced alike (mean of rows and columns),
so that learning rates mean the same. Over several processes the whole batch is compared, features
gathered with their gradients. May import torch at the top.
"""

import torch
from torch import Tensor
from torch.nn import functional

from harness.errors import UsageError


def positives(texts: Tensor, gamma: float) -> Tensor:
    """Return which texts count as the same, [n, n] of booleans; each is its own.

    Args:
        texts: Unit vectors [n, width] of a text tower that does not move: one that is trained could
            draw all texts together into one class.
        gamma: Least similarity, in (0, 1]. The relation is not transitive.

    Raises:
        UsageError: gamma out of range.
    """
    if not 0 < gamma <= 1:
        raise UsageError(f"gamma is a similarity above 0 and at most 1, found {gamma}")
    with torch.no_grad():
        same = texts.float() @ texts.float().T >= gamma
        same.fill_diagonal_(True)  # in half precision a vector's own similarity can miss 1
    return same


def contrast(images: Tensor, texts: Tensor, scale: Tensor, same: Tensor | None = None) -> Tensor:
    """Return the loss of pairs: cross-entropy of rows and of columns, halved.

    Args:
        images: Unit vectors [n, width].
        texts: Unit vectors [n, width]; row i belongs to image i.
        scale: Factor on similarities.
        same: From `positives`; None: only the pair itself (CLIP's loss).
    """
    logits = scale * images @ texts.T
    if same is None:
        same = torch.eye(len(images), dtype=torch.bool, device=images.device)
    return (_one_way(logits, same) + _one_way(logits.T, same)) / 2


def pairwise(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Return SigLIP's loss: each of the n x n pairs is told apart by itself, summed, by n.

    Zhai et al. 2023 (arXiv:2303.15343), algorithm 1.

    Args:
        images: Unit vectors [n, width].
        texts: Unit vectors [n, width]; row i belongs to image i.
        scale: Factor on similarities.
        bias: Added to them; a large negative one at first, since most pairs do not belong together.
    """
    logits = (scale * images @ texts.T + bias).float()
    signs = 2 * torch.eye(len(images), device=images.device) - 1
    return -functional.logsigmoid(signs * logits).sum(1).mean()


def _one_way(logits: Tensor, same: Tensor) -> Tensor:
    shares = same / same.sum(1, keepdim=True)
    return -(shares * functional.log_softmax(logits.float(), dim=1)).sum(1).mean()


def gathered(features: Tensor) -> Tensor:
    """Return the features of all processes, in the order of ranks, with gradients; else as is."""
    import torch.distributed as distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return features
    if distributed.get_world_size() == 1:
        return features
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(features))
