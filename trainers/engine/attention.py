"""Attention over packed rows: each sample sees itself only, without a mask in memory.

Registered with transformers as `packed`. On a GPU it is torch's variable-length kernel where there
is one; elsewhere one causal attention per sample, which is the block-diagonal mask by construction
and costs the sum of the squares of the lengths rather than the square of their sum.
May import torch at the top.
"""

from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "packed"


def register() -> None:
    """Make `packed` known to transformers; can be called again."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, no_mask)


def no_mask(*_: Any, **__: Any) -> None:
    """Return no mask: the boundaries come with the batch."""


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within samples.

    Args:
        module: The attention layer; unused, as transformers' interface has it.
        query: [1, heads, tokens, size]; key and value may have fewer heads (grouped queries).
        key: See `query`.
        value: See `query`.
        attention_mask: Must be None.
        dropout: Probability.
        scaling: Of the products; None: 1 / sqrt(size).
        cu_seq_lens_q: int32 [samples + 1], where each sample begins, and the end.
        max_length_q: Length of the longest sample.

    Returns:
        [1, tokens, heads, size], and None for the weights.
    """
    if attention_mask is not None or cu_seq_lens_q is None or query.shape[0] != 1:
        raise ValueError("packed attention takes one row, its boundaries, and no mask")
    groups = query.shape[1] // key.shape[1]
    varlen = _varlen() if query.is_cuda and not dropout else None
    if varlen is not None and query.dtype in (torch.bfloat16, torch.float16):
        flat = [x.squeeze(0).transpose(0, 1).contiguous() for x in (query, key, value)]
        longest = int(max_length_q or query.shape[2])
        bounds = (cu_seq_lens_q, cu_seq_lens_q, longest, longest)
        causal = (-1, 0)  # how far back and ahead; -1: without limit
        out = varlen(*flat, *bounds, window_size=causal, scale=scaling, enable_gqa=groups > 1)
        return out.unsqueeze(0), None
    edges = cu_seq_lens_q.tolist()
    parts = [
        scaled_dot_product_attention(
            query[:, :, a:b], key[:, :, a:b], value[:, :, a:b],
            is_causal=True, dropout_p=dropout, scale=scaling, enable_gqa=groups > 1,
        )
        for a, b in pairwise(edges)
    ]  # fmt: skip
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _varlen() -> Any:
    """Return torch's variable-length attention where it can be called as above, else None."""
    try:
        import inspect

        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    return varlen_attn if {"window_size", "scale", "enable_gqa"} <= set(known) else None
