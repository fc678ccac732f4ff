"""Muon for matrices and AdamW for the rest, as one optimizer: `optimizer: muon`.

Muon (Jordan 2024, kellerjordan.github.io/posts/muon) makes the update of a matrix orthogonal. Small
models that learn from nothing get as far in half the steps with it. Both parts are torch's own.
May import torch at the top.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

NAME = "muon"
"""Of a recipe's `optimizer`."""
FASTER = 10.0
"""Rate of matrices, in rates of their group: an orthogonal update of rate 1 has norm 1 in every
direction, where AdamW's has 1 in every element."""
_KIND = "kind"
_INSIDE = re.compile(r"\.(layers?\.\d+|multi_modal_projector)\.")


class MuonAdamW(torch.optim.Optimizer):  # type: ignore[misc]
    """Steps groups of matrices by Muon and the others by AdamW; one state_dict for both."""

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        inner: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        """Take parameter groups as torch's optimizers do.

        Args:
            groups: With `params`, and `lr` or `weight_decay` where they differ.
            inner: The parameters that Muon may have; those of two dimensions get it. Embeddings and
                heads are not for it.
            lr: Rate of AdamW; matrices have FASTER times that of their group.
            betas: Of AdamW.
            eps: Of AdamW.
            weight_decay: Of both.
        """
        allowed = {id(weight) for weight in inner if weight.ndim == 2}
        split: dict[str, list[dict[str, Any]]] = {"muon": [], "adamw": []}
        for group in groups:
            rate = float(group.get("lr", lr))
            for kind, own in (("muon", True), ("adamw", False)):
                weights = [w for w in group["params"] if (id(w) in allowed) is own]
                if weights:
                    told = {"params": weights, "lr": rate * (FASTER if own else 1.0), _KIND: kind}
                    split[kind].append({**group, **told})
        self._parts: dict[str, Any] = {}
        if split["muon"]:
            self._parts["muon"] = torch.optim.Muon(split["muon"], weight_decay=weight_decay)
        if split["adamw"]:
            self._parts["adamw"] = torch.optim.AdamW(
                split["adamw"], lr=lr, betas=betas, eps=eps, weight_decay=weight_decay
            )
        super().__init__([g for part in self._parts.values() for g in part.param_groups], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Let either part step its groups, on the state that both share."""
        loss = closure() if closure is not None else None
        for kind, part in self._parts.items():
            part.state = self.state
            part.param_groups = [g for g in self.param_groups if g[_KIND] == kind]
            part.step()
        return loss


def inner(model: torch.nn.Module) -> list[Any]:
    """Return the matrices of a model's layers and connector: not embeddings, not heads."""
    found = []
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and _INSIDE.search(name):
            found.append(weight)
    return found


def options(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of AdamW's options that MuonAdamW takes."""
    return {name: known[name] for name in ("lr", "betas", "eps") if name in known}
